"""Arithmetic of full-size denoisers and decoders, counted without computing: `seedml plan` estimates GPU hours by it.

    python benchmarks/arithmetic.py

Networks without weights on PyTorch's device ``meta``, counted by its FlopCounterMode (a multiplication and an addition
are two). Prints 10^12 operations for one call with one image. The architectures are those of the published
configurations; tokens of text: 77.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode

TOKENS = 77


def counted(call: Callable[[], object]) -> float:
    """10^12 operations."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call()
    return round(counter.get_total_flops() / 1e12, 3)


def stable_diffusion(text: int, heads: int | tuple[int, ...]) -> UNet2DConditionModel:
    """The U-Net of Stable Diffusion 1.5 and 2."""
    return UNet2DConditionModel(
        sample_size=64, block_out_channels=(320, 640, 1280, 1280), cross_attention_dim=text, attention_head_dim=heads,
        down_block_types=(*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
        up_block_types=("UpBlock2D", *("CrossAttnUpBlock2D",) * 3), use_linear_projection=text == 1024,
    )  # fmt: skip


def sdxl() -> UNet2DConditionModel:
    """The U-Net of SDXL and SDXL Turbo."""
    return UNet2DConditionModel(
        sample_size=128, block_out_channels=(320, 640, 1280), cross_attention_dim=2048, attention_head_dim=(5, 10, 20),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), use_linear_projection=True,
        transformer_layers_per_block=(1, 2, 10), addition_embed_type="text_time", addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )  # fmt: skip


def decoder() -> AutoencoderKL:
    """The autoencoder of all of them."""
    return AutoencoderKL(
        latent_channels=4, block_out_channels=(128, 256, 512, 512), layers_per_block=2,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip


def arithmetic(unet: UNet2DConditionModel, text: int, pixels: int) -> dict[str, Any]:
    """One call of the denoiser and one of the decoder at a size."""
    latent = torch.empty(1, 4, pixels // 8, pixels // 8)
    more = {"text_embeds": torch.empty(1, 1280), "time_ids": torch.empty(1, 6)} if text == 2048 else None
    return {
        "pixels": pixels,
        "denoiser": counted(lambda: unet(latent, torch.empty(1), torch.empty(1, TOKENS, text), added_cond_kwargs=more)),
        "decoder": counted(lambda: decoder().decode(latent)),
    }


def main() -> None:
    """Print the table."""
    with torch.device("meta"):
        second = stable_diffusion(1024, (5, 10, 20, 20))
        found = {
            "sd15": arithmetic(stable_diffusion(768, 8), 768, 512),
            "sd2": arithmetic(second, 1024, 512),
            "sd2_768": arithmetic(second, 1024, 768),
            "sdxl": arithmetic(sdxl(), 2048, 1024),
            "sdxl_turbo": arithmetic(sdxl(), 2048, 512),
        }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
