"""seedling's autoencoder: 128 × 128 pixels to 4 × 16 × 16 latents and back (diffusers ``AutoencoderKL``)."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from pytorch_lightning import LightningModule
from torch import Tensor

from seedml.models.bundled.optimisation import Schedule, adamw
from seedml.models.bundled.scenes import SIDE, Scenes, draw

LATENT_CHANNELS = 4
NOISE = 0.1
"""Standard deviation of the noise on latents while training, so that the decoder forgives an imperfect denoiser."""
CROP = 64
"""Side in pixels of the part of a scene that one training step sees: four times as many scenes for the same work."""
SHRINK = 1e-3
"""Weight of the mean squared latent; against the noise it sets the latents' scale."""


def build_autoencoder() -> AutoencoderKL:
    """An untrained autoencoder, narrow at 128 px, where a channel costs 64 times what it costs at 16 px."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 48, 64), layers_per_block=1, latent_channels=LATENT_CHANNELS, norm_num_groups=8,
        sample_size=128, scaling_factor=1.0, mid_block_add_attention=False, force_upcast=False,
    )  # fmt: skip


def pictures(scenes: Scenes) -> Tensor:
    """Drawn scenes as the networks see them: N×3×128×128 float32 in [-1, 1]."""
    return draw(scenes).float().div_(127.5).sub_(1)


def _edges(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., 1:, :] - x[..., :-1, :], x[..., 1:] - x[..., :-1]


def reconstruction_loss(image: Tensor, target: Tensor) -> Tensor:
    """Absolute and squared error of pixels, and absolute error of neighbours' differences (outlines); N×3×H×W each."""
    across, down = (F.l1_loss(a, b) for a, b in zip(_edges(image), _edges(target), strict=True))
    return F.l1_loss(image, target) + F.mse_loss(image, target) + across + down


class AutoencoderTraining(LightningModule):
    """Reconstruct crops of scenes through noisy latents.

    Args:
        schedule: learning rate and length of the training.

    """

    def __init__(self, schedule: dict[str, Any]) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.schedule = Schedule(**schedule)
        self.vae = build_autoencoder()

    def training_step(self, scenes: Scenes, batch_idx: int) -> Tensor:
        """The loss on one batch of scenes."""
        top, left = (int(torch.randint(SIDE - CROP + 1, ())) for _ in range(2))
        target = pictures(scenes)[..., top : top + CROP, left : left + CROP]
        target = target.contiguous(memory_format=torch.channels_last)
        posterior = self.vae.encode(target).latent_dist
        mean, log_variance = posterior.mean.float(), posterior.logvar.float()
        image = self.vae.decode(mean + NOISE * torch.randn_like(mean)).sample.float()
        spread = (log_variance - 2 * math.log(NOISE)).square().mean()  # so that samples have the noise of training
        loss: Tensor = reconstruction_loss(image, target) + SHRINK * (mean.square().mean() + spread)
        latents = mean
        self.log_dict({"loss": loss.detach(), "latent_std": latents.detach().std()}, prog_bar=True)
        return loss

    def configure_optimizers(self):  # type: ignore[no-untyped-def]  # noqa: D102 (Lightning's own type)
        return adamw(self.parameters(), self.schedule)


@torch.inference_mode()
def latent_scale(vae: AutoencoderKL, scenes: Scenes) -> float:
    """One over the standard deviation of the latents of ``scenes``: what diffusers calls ``scaling_factor``."""
    return 1.0 / float(vae.encode(pictures(scenes)).latent_dist.mean.float().std())
