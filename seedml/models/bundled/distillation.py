"""Progressive distillation: a student that does in one step what its teacher does in two, guidance included.

Salimans and Ho 2022 (arXiv 2202.00512), algorithm 2, with seedling's v-prediction and trailing steps; the first
teacher is guided as in Meng et al. 2023 (arXiv 2210.03142), so that the student needs no second pass. Guidance acts in
a limited interval of times only (Kynkäänniemi et al. 2024, arXiv 2404.07724): before it the layout is decided, after it
the finish, and both are left to the noise. The student keeps the teacher's map from noise to picture, so what a
seed means survives.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from seedml.models.bundled.denoiser import DenoiserTraining, rates

GUIDED = (300, 750)
"""Times, of 1,000, between which the teacher is guided."""


class Distillation(DenoiserTraining):
    """Halve the number of sampling steps of a trained denoiser.

    Args:
        schedule: learning rate and length of the training.
        teacher: folder that holds the teacher's ``unet`` and ``text_encoder``.
        steps: sampling steps of the student; its teacher takes twice as many.
        guidance: classifier-free guidance scale of the teacher; 1 = none.

    """

    def __init__(self, schedule: dict[str, Any], teacher: str, steps: int, guidance: float) -> None:
        super().__init__(schedule)
        self.save_hyperparameters()
        self.steps, self.guidance = steps, guidance
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
            nothing = self.text_encoder(self.tokens.table[-1:]).last_hidden_state.expand_as(words)
            target = self._target(noisy, words, nothing, start, middle, end)
        v = self.unet(noisy, start, words).sample.float()
        loss: Tensor = (v - target).square().mean()
        self.log("loss", loss.detach())
        return loss

    def _time(self, k: Tensor) -> Tensor:
        """Time of the k-th of the teacher's 2 N steps, as trailing spacing has it; -1 for the clean picture."""
        return (k * len(self.alphas_cumprod) / (2 * self.steps)).round().long() - 1

    def _ddim(self, noisy: Tensor, words: Tensor, nothing: Tensor, now: Tensor, then: Tensor) -> Tensor:
        """One deterministic step of the teacher, guided where it is to be, from time ``now`` to time ``then``."""
        v = self.teacher(noisy, now, words).sample.float()
        guided = ((now > GUIDED[0]) & (now < GUIDED[1])).nonzero()[:, 0]
        if self.guidance > 1 and len(guided):
            without = self.teacher(noisy[guided], now[guided], nothing[guided]).sample.float()
            v[guided] = without + self.guidance * (v[guided] - without)
        signal, sigma = rates(self.alphas_cumprod, now)
        picture, noise = signal * noisy - sigma * v, sigma * noisy + signal * v
        signal, sigma = rates(self.alphas_cumprod, then)
        landed: Tensor = signal * picture + sigma * noise
        return landed

    def _target(
        self, noisy: Tensor, words: Tensor, nothing: Tensor, start: Tensor, middle: Tensor, end: Tensor
    ) -> Tensor:
        """The v with which one step from ``start`` lands where the teacher's two steps do."""
        halfway = self._ddim(noisy, words, nothing, start, middle)
        landed = self._ddim(halfway, words, nothing, middle, end)
        signal, sigma = rates(self.alphas_cumprod, start)
        signal_end, sigma_end = rates(self.alphas_cumprod, end)
        ratio = sigma_end / sigma
        picture = (landed - ratio * noisy) / (signal_end - ratio * signal)
        return (signal * noisy - picture) / sigma
