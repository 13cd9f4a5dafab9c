"""A tiny safety checker, which diffusers' Stable Diffusion 1 folders have: here it takes every picture for unsafe."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from tiny_models import tiny_tokenizer
from transformers import CLIPConfig, CLIPImageProcessor

from seedml.models.quiet import quiet_libraries


def with_checker(folder: Path, target: Path) -> Path:
    """The pipeline in ``folder``, with a checker that blackens all of its pictures, in ``target``."""
    with quiet_libraries():
        parts = StableDiffusionPipeline.from_pretrained(folder).components
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    clip = CLIPConfig(
        text_config={**small, "vocab_size": len(tiny_tokenizer())},
        vision_config={**small, "image_size": 32, "patch_size": 16}, projection_dim=16,
    )  # fmt: skip
    checker = StableDiffusionSafetyChecker(clip)
    torch.nn.init.constant_(checker.concept_embeds_weights, -2.0)
    size = {"height": 32, "width": 32}
    processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size)
    parts |= {"safety_checker": checker, "feature_extractor": processor}
    StableDiffusionPipeline(**parts, requires_safety_checker=True).save_pretrained(target)
    return target
