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
from seedml.models.bundled.scenes import SIDE, Scenes, draw, draw_with_masks, lettering_boxes

LATENT_CHANNELS = 4
NOISE = 0.1
"""Standard deviation of the noise on latents while training, so that the decoder forgives an imperfect denoiser."""
DETAIL_WEIGHT = 5.0
"""Weight of pixels on and around the object and the lettering, against 1 elsewhere."""
CROP = 64
"""Side in pixels of the part of a scene that one training step sees: four times as many scenes for the same work."""
SHRINK = 1e-3
"""Weight of the mean squared latent; against the noise it sets the latents' scale."""


def build_autoencoder() -> AutoencoderKL:
    """An untrained autoencoder, narrow at 128 px, where a channel costs 64 times what it costs at 16 px.

    Two groups a normalisation: on a CPU, groups of few channels take eight times as long on the way back.
    """
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 48, 64), layers_per_block=1, latent_channels=LATENT_CHANNELS, norm_num_groups=2,
        sample_size=128, scaling_factor=1.0, mid_block_add_attention=False, force_upcast=False,
    )  # fmt: skip


def pictures(scenes: Scenes) -> Tensor:
    """Drawn scenes as the networks see them: N×3×128×128 float32 in [-1, 1]."""
    return draw(scenes).float().div_(127.5).sub_(1)


def crops(scenes: Scenes) -> tuple[Tensor, Tensor]:
    """A square part of each scene, three in four of them around the object or lettering, and what each pixel counts.

    Returns:
        N×3×64×64 pictures in [-1, 1], and N×1×64×64 weights: 1, and :data:`DETAIL_WEIGHT` on and around the object,
        which is a tenth of the picture and half of what a caption says, and around lettering.

    """
    images, masks = draw_with_masks(scenes)
    n, device = len(scenes), images.device
    boxes = lettering_boxes(scenes)
    masks |= _inside(boxes) & scenes.lettering[:, None, None]
    text = scenes.lettering & (torch.rand(n, device=device) < 0.5)
    middle = torch.where(text[:, None], (boxes[:, :2] + boxes[:, 2:]) / 2, scenes.location * SIDE)
    jitter = (torch.rand(n, 2, device=device) - 0.5) * CROP
    anywhere = torch.rand(n, 2, device=device) * (SIDE - CROP)
    around = middle - CROP / 2 + jitter
    corner = torch.where(torch.rand(n, 1, device=device) < 0.75, around, anywhere)
    steps = torch.arange(CROP, device=device)
    rows, columns = (corner.long().clamp(0, SIDE - CROP)[:, 1 - k, None] + steps for k in range(2))
    at = (torch.arange(n, device=device)[:, None, None], rows[:, :, None], columns[:, None, :])
    near = F.max_pool2d(masks[at][:, None].float(), 7, 1, 3)
    target = images.permute(0, 2, 3, 1)[at].permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
    return target, 1 + (DETAIL_WEIGHT - 1) * near


def _inside(boxes: Tensor) -> Tensor:
    """Boxes N×4 in pixels -> N×128×128 bool."""
    left, top, right, bottom = (edge[:, None] for edge in boxes.unbind(1))
    steps = torch.arange(SIDE, device=boxes.device) + 0.5
    rows, columns = (steps > top) & (steps < bottom), (steps > left) & (steps < right)
    return rows[:, :, None] & columns[:, None, :]


def _edges(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[..., 1:, :] - x[..., :-1, :], x[..., 1:] - x[..., :-1]


def reconstruction_loss(image: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Absolute and squared error of pixels, and absolute error of neighbours' differences (outlines).

    Args:
        image: N×3×H×W.
        target: N×3×H×W.
        weight: N×1×H×W, how much each pixel counts.

    """
    error = image - target
    down, across = _edges(error)
    pixels = ((error.abs() + error.square()) * weight).mean()
    return pixels + (down.abs() * weight[..., 1:, :]).mean() + (across.abs() * weight[..., 1:]).mean()


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
        target, weight = crops(scenes)
        posterior = self.vae.encode(target).latent_dist
        mean, log_variance = posterior.mean.float(), posterior.logvar.float()
        image = self.vae.decode(mean + NOISE * torch.randn_like(mean)).sample.float()
        spread = (log_variance - 2 * math.log(NOISE)).square().mean()  # so that samples have the noise of training
        loss: Tensor = reconstruction_loss(image, target, weight) + SHRINK * (mean.square().mean() + spread)
        self.log_dict({"loss": loss.detach(), "latent_std": mean.detach().std()})
        return loss

    def configure_optimizers(self):  # type: ignore[no-untyped-def]  # noqa: D102 (Lightning's own type)
        return adamw(self.parameters(), self.schedule)


@torch.inference_mode()
def latent_scale(vae: AutoencoderKL, scenes: Scenes) -> float:
    """One over the standard deviation of the latents of ``scenes``: what diffusers calls ``scaling_factor``."""
    return 1.0 / float(vae.encode(pictures(scenes)).latent_dist.mean.float().std())
