"""Tiny randomly initialised Stable Diffusion and SDXL folders: real pipelines, no download, images in milliseconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from seedml.config import (
    ModelConfig,
    PromptsConfig,
    RunsConfig,
    SamplerConfig,
    ShardsConfig,
    StudyConfig,
    TrainerConfig,
)

SIZE = 32  # pixels a side
LATENT = 16  # an autoencoder of factor 2: enough positions for a batch to differ, cheap enough for a test
LOUDER = 15.0  # with this a prompt moves pixels by tens of levels


def tiny_tokenizer() -> CLIPTokenizer:
    """CLIP's own tokenizer over single bytes: no merges, so no file to download."""
    symbols = sorted(ByteLevel.alphabet())
    names = [*symbols, *(f"{symbol}</w>" for symbol in symbols), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={name: i for i, name in enumerate(names)}, merges=[], model_max_length=77)


def text_config(tokenizer: CLIPTokenizer, projection: int = 32) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=37, num_hidden_layers=2, num_attention_heads=4,
        projection_dim=projection, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8), norm_num_groups=8, latent_channels=4, sample_size=SIZE,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip


def _listen(unet: UNet2DConditionModel) -> None:
    """Make the prompt matter: freshly initialised attention hardly hears it, and then no test could miss it either."""
    with torch.no_grad():
        for name, weight in unet.named_parameters():
            if name.endswith(("attn2.to_v.weight", "attn2.to_out.0.weight")):
                weight.mul_(LOUDER)


def tiny_stable_diffusion(folder: Path, seed: int = 0) -> Path:
    """A ``StableDiffusionPipeline`` (32 × 32 pixels, latents 4 × 16 × 16, DDIM) in ``folder``."""
    tokenizer = tiny_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        pipeline = StableDiffusionPipeline(
            vae=_vae(), text_encoder=CLIPTextModel(text_config(tokenizer)).eval(), tokenizer=tokenizer,
            unet=UNet2DConditionModel(
                block_out_channels=(8, 16), layers_per_block=1, sample_size=LATENT, norm_num_groups=8,
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=32, attention_head_dim=4,
            ),
            scheduler=DDIMScheduler(
                beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
                set_alpha_to_one=False, steps_offset=1,
            ),
            safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        )  # fmt: skip
    _listen(pipeline.unet)
    pipeline.save_pretrained(folder)
    return folder


def tiny_sdxl(folder: Path, seed: int = 0, turbo: bool = False) -> Path:
    """A ``StableDiffusionXLPipeline`` (32 × 32 pixels) in ``folder``; ``turbo``: Euler ancestral, trailing steps."""
    tokenizer = tiny_tokenizer()
    euler = EulerAncestralDiscreteScheduler if turbo else EulerDiscreteScheduler
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        pipeline = StableDiffusionXLPipeline(
            vae=_vae(), text_encoder=CLIPTextModel(text_config(tokenizer)).eval(), tokenizer=tokenizer,
            text_encoder_2=CLIPTextModelWithProjection(text_config(tokenizer)).eval(), tokenizer_2=tokenizer,
            unet=UNet2DConditionModel(
                block_out_channels=(8, 16), layers_per_block=1, sample_size=LATENT, norm_num_groups=8,
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=64,
                attention_head_dim=(2, 4), use_linear_projection=True, transformer_layers_per_block=(1, 1),
                addition_embed_type="text_time", addition_time_embed_dim=8,
                projection_class_embeddings_input_dim=6 * 8 + 32,
            ),
            scheduler=euler(
                beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1,
                timestep_spacing="trailing" if turbo else "leading",
            ),
        )  # fmt: skip
    _listen(pipeline.unet)
    pipeline.save_pretrained(folder)
    return folder


def tiny_study(root: Path, model: Path, *, name: str = "tiny", **changes: Any) -> StudyConfig:
    """5 seeds × 9 prompts in 6 tiles of 5 to 10 images, in batches of 4, on the model in ``model``."""
    stochastic = "EulerAncestralDiscreteScheduler"
    values = {
        "seeds": "0:5", "model": ModelConfig(path=str(model)),
        "prompts": PromptsConfig(limit=9, splits={"train": 5, "val": 2, "test": 2}),
        "sampler": SamplerConfig(steps=2, guidance_scale=3.0, batch_size=4, scheduler=stochastic),
        "shards": ShardsConfig(root=str(root / "shards"), tile_seeds=5, tile_prompts=2),
        "runs": RunsConfig(root=str(root / "runs")),
        "trainer": TrainerConfig(accelerator="cpu", threads=1),
    }  # fmt: skip
    return StudyConfig(name=name, **(values | changes))
