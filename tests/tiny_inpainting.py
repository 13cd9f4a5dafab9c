"""A tiny randomly initialised inpainting checkpoint: a U-Net of 9 channels that sees mask and masked picture."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import StableDiffusionInpaintPipeline, StableDiffusionPipeline, UNet2DConditionModel
from tiny_models import tiny_stable_diffusion


def tiny_inpainting(folder: Path, seed: int = 0) -> Path:
    """A ``StableDiffusionInpaintPipeline`` (32 × 32 pixels, latents 4 × 16 × 16, DDIM) in ``folder``."""
    plain = StableDiffusionPipeline.from_pretrained(tiny_stable_diffusion(folder.with_name(f"{folder.name}-plain")))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet = UNet2DConditionModel.from_config({**plain.unet.config, "in_channels": 9, "out_channels": 4})
    parts = {**plain.components, "unet": unet}
    StableDiffusionInpaintPipeline(**parts, requires_safety_checker=False).save_pretrained(folder)
    return folder
