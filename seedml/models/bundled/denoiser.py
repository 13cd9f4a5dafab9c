"""seedling's text encoder and U-Net, and their training: v-prediction with zero terminal signal.

Zero terminal SNR and trailing steps follow Lin et al. 2023 (arXiv 2305.08891); v-prediction follows Salimans and Ho
2022 (arXiv 2202.00512). Captions are dropped with probability 0.1, so classifier-free guidance works.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, UNet2DConditionModel
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from seedml.captions import TEMPLATES, Caption, phrase
from seedml.models.bundled.optimisation import Schedule, adamw
from seedml.models.bundled.words import build_tokenizer

DROPOUT = 0.1
"""Share of captions replaced by the empty one in training."""
EARLIEST = 50
"""First time, of 1,000, that is trained on: before it a picture is clean but for what the decoder forgives."""
WIDTH = 128


def build_scheduler() -> DDIMScheduler:
    """The noise schedule of training, as the deterministic sampler that ships with the model."""
    return DDIMScheduler(
        num_train_timesteps=1000, beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012,
        prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing", clip_sample=False,
        set_alpha_to_one=True, steps_offset=1,
    )  # fmt: skip


def build_unet() -> UNet2DConditionModel:
    """An untrained U-Net for 4 × 16 × 16 latents; attention only from 8 × 8 down, where it is cheap."""
    return UNet2DConditionModel(
        sample_size=16, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(64, 96, 128),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH, attention_head_dim=4, norm_num_groups=4,
    )  # fmt: skip


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """An untrained two-layer CLIP text encoder for ``tokenizer``."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_hidden_layers=2,
        num_attention_heads=4, projection_dim=WIDTH, max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return CLIPTextModel(config)


class CaptionTokens(nn.Module):
    """Token ids of every caption in every training phrasing, so that no step tokenises text."""

    table: Tensor

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        texts = [
            phrase(Caption(o, c, g), template)
            for o in range(10) for c in range(10) for g in range(6) for template in TEMPLATES
        ]  # fmt: skip
        ids = _token_ids(tokenizer, [*texts, ""])
        self.register_buffer("table", ids, persistent=False)

    def forward(self, captions: Tensor) -> Tensor:
        """Ids N×L of captions N×3, the phrasing drawn anew each time, empty with probability 0.1."""
        n, device = len(captions), self.table.device
        phrasing = torch.randint(len(TEMPLATES), (n,), device=device)
        row = ((captions[:, 0] * 10 + captions[:, 1]) * 6 + captions[:, 2]) * len(TEMPLATES) + phrasing
        empty = torch.rand(n, device=device) < DROPOUT
        return self.table[torch.where(empty, len(self.table) - 1, row)]


def _token_ids(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    encoded = tokenizer(
        texts, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    )
    ids: Tensor = encoded.input_ids
    return ids


class DenoiserTraining(LightningModule):
    """Text encoder and U-Net, trained together on scaled latents of the autoencoder.

    Args:
        schedule: learning rate and length of the training.

    """

    alphas_cumprod: Tensor

    def __init__(self, schedule: dict[str, Any]) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.schedule = Schedule(**schedule)
        tokenizer = build_tokenizer()
        self.tokens = CaptionTokens(tokenizer)
        self.text_encoder = build_text_encoder(tokenizer)
        self.unet = build_unet()
        self.register_buffer("alphas_cumprod", build_scheduler().alphas_cumprod, persistent=False)

    def velocity(self, noisy: Tensor, timesteps: Tensor, ids: Tensor) -> Tensor:
        """The U-Net's v for noisy latents under captions given as token ids."""
        words = self.text_encoder(ids).last_hidden_state
        v: Tensor = self.unet(noisy, timesteps, words).sample
        return v.float()

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> Tensor:
        """Mean squared error of v at a random time; latents and their noise N×4×16×16, captions N×3."""
        clean, noise, captions = batch
        timesteps = torch.randint(EARLIEST, len(self.alphas_cumprod), (len(clean),), device=clean.device)
        signal, sigma = rates(self.alphas_cumprod, timesteps)
        target = signal * noise - sigma * clean
        v = self.velocity(signal * clean + sigma * noise, timesteps, self.tokens(captions))
        loss = F.mse_loss(v, target)
        self.log("loss", loss.detach())
        return loss

    def configure_optimizers(self):  # type: ignore[no-untyped-def]  # noqa: D102 (Lightning's own type)
        return adamw([p for p in self.parameters() if p.requires_grad], self.schedule)


def rates(alphas_cumprod: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """Signal rate √ᾱ and noise rate √(1-ᾱ) at N times, N×1×1×1; a time below 0 is the clean picture (1, 0)."""
    kept = torch.where(timesteps >= 0, alphas_cumprod[timesteps.clamp(min=0)], 1.0)[:, None, None, None]
    return kept.sqrt(), (1 - kept).sqrt()
