"""In what diffusers' pipelines differ that do the same: one entry a class. Knows no weights and needs no torch.

Read from the pipelines' source (diffusers 0.42); the tests hold each entry against the pipeline's own call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

PROMPT, NEGATIVE = "prompt_embeds", "negative_prompt_embeds"
POOLED, NEGATIVE_POOLED = "pooled_prompt_embeds", "negative_pooled_prompt_embeds"
MASK, NEGATIVE_MASK = "prompt_attention_mask", "negative_prompt_attention_mask"


@dataclass(frozen=True)
class Family:
    """What has to be known of a pipeline class beside its signatures.

    Attributes:
        steps: that its call takes where none are named.
        guidance_scale: the same.
        encoded: what its ``encode_prompt`` returns, in order, by the names under which its call takes them.
        unconditional: guidance runs on the empty prompt too; else the scale is an input of the network, or nothing.
        packed: latents are given to the call as rows of 2 × 2 positions; they are drawn before they are packed.
        float32_noise: latents stay in float32 whatever the network computes in.
        passes_generator: the call hands the generator on to the scheduler's steps; else seedml does.
        multiple: of pixels, that its call takes as height and width.
        native: positions of a latent along a side that the network was made for; ``None`` = its ``sample_size``.

    """

    steps: int
    guidance_scale: float
    encoded: tuple[str | None, ...]
    unconditional: bool = True
    packed: bool = False
    float32_noise: bool = False
    passes_generator: bool = True
    multiple: int = 8
    native: int | None = None


_SD = Family(50, 7.5, (PROMPT, NEGATIVE))
_SDXL = Family(50, 5.0, (PROMPT, NEGATIVE, POOLED, NEGATIVE_POOLED))
_MASKED = (PROMPT, MASK, NEGATIVE, NEGATIVE_MASK)

TEXT_TO_IMAGE: Mapping[str, Family] = {
    "StableDiffusionPipeline": _SD,
    "StableDiffusionXLPipeline": _SDXL,
    "LatentConsistencyModelPipeline": Family(4, 8.5, (PROMPT, None), unconditional=False),
    "StableDiffusion3Pipeline": replace(_SDXL, steps=28, guidance_scale=7.0, passes_generator=False),
    "FluxPipeline": Family(
        28, 3.5, (PROMPT, POOLED, None), unconditional=False, packed=True, passes_generator=False, native=128
    ),
    "PixArtAlphaPipeline": Family(20, 4.5, _MASKED),
    "PixArtSigmaPipeline": Family(20, 4.5, _MASKED),
    "SanaPipeline": Family(20, 4.5, _MASKED, float32_noise=True, multiple=32),
}
"""Pipelines that make images of prompts."""

INPAINTING: Mapping[str, Family] = {
    "StableDiffusionPipeline": _SD,  # fills masks as well, with a U-Net that knows of no mask
    "StableDiffusionXLPipeline": _SDXL,
    "StableDiffusionInpaintPipeline": _SD,
    "StableDiffusionXLInpaintPipeline": replace(_SDXL, guidance_scale=7.5),
}
"""Pipelines that fill masks."""


def family_of(pipeline: str) -> Family:
    """Of a diffusers class that is among those above."""
    return TEXT_TO_IMAGE.get(pipeline) or INPAINTING[pipeline]
