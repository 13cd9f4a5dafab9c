"""Progressive distillation: a student that does in one step what its teacher does in two.

Salimans and Ho 2022 (arXiv 2202.00512), algorithm 2, with seedling's v-prediction and trailing steps. The student
keeps the teacher's map from noise to picture, so what a seed means survives.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from seedml.models.bundled.denoiser import DenoiserTraining, rates


class Distillation(DenoiserTraining):
    """Halve the number of sampling steps of a trained denoiser.

    Args:
        schedule: learning rate and length of the training.
        teacher: folder that holds the teacher's ``unet`` and ``text_encoder``.
        steps: sampling steps of the student; its teacher takes twice as many.

    """

    def __init__(self, schedule: dict[str, Any], teacher: str, steps: int) -> None:
        super().__init__(schedule)
        self.save_hyperparameters()
        self.steps = steps
        self.unet = UNet2DConditionModel.from_pretrained(teacher, subfolder="unet")
        self.teacher = UNet2DConditionModel.from_pretrained(teacher, subfolder="unet").requires_grad_(False).eval()
        words = type(self.text_encoder).from_pretrained(teacher, subfolder="text_encoder")
        self.text_encoder = words.requires_grad_(False).eval()

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> Tensor:
        """Squared error of the student's picture, weighted by 1 + SNR (that is, of its v)."""
        clean, noise, captions = batch
        grid = torch.randint(1, self.steps + 1, (len(clean),), device=clean.device)
        start, middle, end = (self._time(2 * grid - k) for k in range(3))
        signal, sigma = rates(self.alphas_cumprod, start)
        noisy = signal * clean + sigma * noise
        ids = self.tokens(captions)
        with torch.no_grad():
            words = self.text_encoder(ids).last_hidden_state
            target = self._target(noisy, words, start, middle, end)
        v = self.unet(noisy, start, words).sample.float()
        loss: Tensor = (v - target).square().mean()
        self.log("loss", loss.detach(), prog_bar=True)
        return loss

    def _time(self, k: Tensor) -> Tensor:
        """Time of the k-th of the teacher's 2 N steps, as trailing spacing has it; -1 for the clean picture."""
        return (k * len(self.alphas_cumprod) / (2 * self.steps)).round().long() - 1

    def _ddim(self, noisy: Tensor, words: Tensor, now: Tensor, then: Tensor) -> Tensor:
        """One deterministic step of the teacher from time ``now`` to time ``then``."""
        v = self.teacher(noisy, now, words).sample.float()
        signal, sigma = rates(self.alphas_cumprod, now)
        picture, noise = signal * noisy - sigma * v, sigma * noisy + signal * v
        signal, sigma = rates(self.alphas_cumprod, then)
        landed: Tensor = signal * picture + sigma * noise
        return landed

    def _target(self, noisy: Tensor, words: Tensor, start: Tensor, middle: Tensor, end: Tensor) -> Tensor:
        """The v with which one step from ``start`` lands where the teacher's two steps do."""
        landed = self._ddim(self._ddim(noisy, words, start, middle), words, middle, end)
        signal, sigma = rates(self.alphas_cumprod, start)
        signal_end, sigma_end = rates(self.alphas_cumprod, end)
        ratio = sigma_end / sigma
        picture = (landed - ratio * noisy) / (signal_end - ratio * signal)
        return (signal * noisy - picture) / sigma
