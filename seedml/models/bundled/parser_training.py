"""Training of the scene parser on rendered scenes."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from pytorch_lightning import LightningModule
from torch import Tensor

from seedml.captions import COLOURS, GROUNDS, OBJECTS
from seedml.models.bundled.autoencoder import NOISE
from seedml.models.bundled.optimisation import Schedule, adamw
from seedml.models.bundled.parser import SceneParser
from seedml.models.bundled.scenes import Scenes, draw_with_masks

RECONSTRUCTED = 0.25
"""Share of training pictures that went through the autoencoder: what the parser reads in a study has."""
BLUR = 0.35
"""Share of training pictures that are blurred or made noisy a little, as a decoder would."""


def measures_of(scenes: Scenes) -> Tensor:
    """The labels of the parser's measures: N×6 (horizon, time of day, x, y, size, depth)."""
    return torch.cat(
        [
            scenes.horizon[:, None], scenes.time_of_day[:, None], scenes.location, scenes.size[:, None],
            scenes.depth[:, None],
        ], 1,
    )  # fmt: skip


def roughen(images: Tensor, share: float) -> Tensor:
    """Blur and add noise to a share of the pictures, N×3×H×W in [-1, 1], as an imperfect decoder does."""
    n, device = len(images), images.device
    blurred = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
    strength = torch.rand(n, 1, 1, 1, device=device) * (torch.rand(n, 1, 1, 1, device=device) < share)
    noise = torch.randn_like(images) * 0.06 * torch.rand(n, 1, 1, 1, device=device)
    return torch.lerp(images, blurred, strength).add_(noise * (strength > 0)).clamp_(-1, 1)


class ParserTraining(LightningModule):
    """Cross-entropy for what is said, absolute error for what is measured, cross-entropy and overlap for the mask.

    Args:
        schedule: learning rate and length of the training.
        autoencoder: folder of the trained autoencoder.
        channels: the parser's widths.

    """

    def __init__(
        self, schedule: dict[str, Any], autoencoder: str, channels: tuple[int, int, int, int] = (16, 32, 64, 128)
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.schedule = Schedule(**schedule)
        self.parser = SceneParser(channels)
        self.vae = AutoencoderKL.from_pretrained(autoencoder).requires_grad_(False).eval()

    def training_step(self, scenes: Scenes, batch_idx: int) -> Tensor:
        """The loss on one batch of scenes."""
        images, masks = draw_with_masks(scenes)
        x = images.float().div_(127.5).sub_(1).contiguous(memory_format=torch.channels_last)
        passed = int(RECONSTRUCTED * len(x))
        x = torch.cat([self._reconstructed(x[:passed]), roughen(x[passed:], BLUR)])
        x = x.contiguous(memory_format=torch.channels_last)
        _, categories, measures, mask = self.parser(x)
        loss = category_loss(categories.float(), scenes) + mask_loss(mask.float(), masks.float())
        loss = loss + 4 * F.l1_loss(measures.float(), measures_of(scenes))
        self.log("loss", loss.detach())
        return loss

    @torch.no_grad()
    def _reconstructed(self, images: Tensor) -> Tensor:
        """The pictures through the autoencoder, with the noise on the latents that its decoder was trained to bear."""
        latents = self.vae.encode(images).latent_dist.mean
        decoded: Tensor = self.vae.decode(latents + NOISE * torch.randn_like(latents)).sample
        return decoded.float().clamp_(-1, 1)

    def configure_optimizers(self):  # type: ignore[no-untyped-def]  # noqa: D102 (Lightning's own type)
        return adamw(self.parser.parameters(), self.schedule)


def category_loss(logits: Tensor, scenes: Scenes) -> Tensor:
    """Sum of the cross-entropies of object, colour, ground and the four flags; logits N×30."""
    sizes = [len(OBJECTS), len(COLOURS), len(GROUNDS), 4]
    objects, colours, grounds, flags = torch.split(logits, sizes, 1)
    said = ((objects, scenes.object), (colours, scenes.colour), (grounds, scenes.ground))
    loss = torch.stack([F.cross_entropy(*pair) for pair in said]).sum()
    has_border = scenes.border > 0
    present = torch.stack([scenes.grayscale, has_border, scenes.lettering], 1).float()
    loss = loss + F.binary_cross_entropy_with_logits(flags[:, [0, 1, 3]], present)
    white = F.binary_cross_entropy_with_logits(flags[:, 2], (scenes.border == 1).float(), weight=has_border.float())
    return loss + white


def mask_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy plus one minus the soft overlap (intersection over union), N×128×128 each."""
    p = logits.sigmoid()
    intersection = (p * masks).sum((1, 2))
    union = p.sum((1, 2)) + masks.sum((1, 2)) - intersection
    return 4 * F.binary_cross_entropy_with_logits(logits, masks) + (1 - intersection / (union + 1)).mean()
