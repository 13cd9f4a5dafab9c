"""Tiny randomly initialised pipelines of the other families: 32 × 32 pixels, real classes, no download."""

from __future__ import annotations

import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from tiny_models import LATENT, LOUDER, SIZE, text_config, tiny_sdxl, tiny_stable_diffusion, tiny_tokenizer
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

_LETTERS = [*string.ascii_letters, *string.digits, *string.punctuation]


def tiny_t5_tokenizer() -> T5Tokenizer:
    """One token a letter."""
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), ("▁", -2.0), *((letter, -3.0) for letter in _LETTERS)]
    return T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=512)


def _t5(width: int) -> T5EncoderModel:
    size = len(tiny_t5_tokenizer())
    config = T5Config(
        vocab_size=size, d_model=width, d_kv=8, d_ff=37, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu"
    )
    return T5EncoderModel(config).eval()


def _vae(**more: Any) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8), norm_num_groups=8, latent_channels=4, sample_size=SIZE,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, **more,
    )  # fmt: skip


def _flow_vae() -> AutoencoderKL:
    return _vae(use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.06, scaling_factor=1.5)


def _louder(denoiser: torch.nn.Module, *parts: str) -> None:
    """Make the prompt matter: a freshly initialised network hardly hears it."""
    with torch.no_grad():
        for name, weight in denoiser.named_parameters():
            if any(part in name for part in parts):
                weight.mul_(LOUDER)


def _saved(make: Callable[[], Any], folder: Path, seed: int) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        pipeline = make()
    pipeline.save_pretrained(folder)
    return folder


def tiny_sd3(folder: Path, seed: int = 0) -> Path:
    """A ``StableDiffusion3Pipeline``: two CLIP text encoders and a T5, patches of 2 × 2 latent positions."""

    def make() -> StableDiffusion3Pipeline:
        tokenizer = tiny_tokenizer()
        transformer = SD3Transformer2DModel(
            sample_size=LATENT, patch_size=2, in_channels=4, out_channels=4, num_layers=2, attention_head_dim=8,
            num_attention_heads=4, caption_projection_dim=32, joint_attention_dim=64, pooled_projection_dim=64,
            pos_embed_max_size=16,
        )  # fmt: skip
        _louder(transformer, "context_embedder", "text_embedder")
        return StableDiffusion3Pipeline(
            transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0), vae=_flow_vae(),
            text_encoder=CLIPTextModelWithProjection(text_config(tokenizer)).eval(), tokenizer=tokenizer,
            text_encoder_2=CLIPTextModelWithProjection(text_config(tokenizer)).eval(), tokenizer_2=tokenizer,
            text_encoder_3=_t5(64), tokenizer_3=tiny_t5_tokenizer(),
        )  # fmt: skip

    return _saved(make, folder, seed)


def tiny_flux(folder: Path, seed: int = 0, guidance: bool = False) -> Path:
    """A ``FluxPipeline`` with packed latents; ``guidance``: the scale is an input of the network, as in Flux dev."""

    def make() -> FluxPipeline:
        tokenizer = tiny_tokenizer()
        transformer = FluxTransformer2DModel(
            patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=(4, 4, 8),
            guidance_embeds=guidance,
        )  # fmt: skip
        _louder(transformer, "context_embedder", "text_embedder")
        scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0 if guidance else 1.0, use_dynamic_shifting=guidance)
        return FluxPipeline(
            transformer=transformer, scheduler=scheduler, vae=_flow_vae(),
            text_encoder=CLIPTextModel(text_config(tokenizer)).eval(), tokenizer=tokenizer,
            text_encoder_2=_t5(32), tokenizer_2=tiny_t5_tokenizer(),
        )  # fmt: skip

    return _saved(make, folder, seed)


def tiny_pixart(folder: Path, seed: int = 0, alpha: bool = False) -> Path:
    """A ``PixArtSigmaPipeline`` or, ``alpha``, a ``PixArtAlphaPipeline``; the network also gives the variance."""

    def make() -> Any:
        transformer = PixArtTransformer2DModel(
            sample_size=LATENT, num_layers=2, patch_size=2, attention_head_dim=8, num_attention_heads=4,
            caption_channels=32, in_channels=4, out_channels=8, cross_attention_dim=32,
        )  # fmt: skip
        _louder(transformer, "attn2.to_v", "attn2.to_out")
        scheduler = DPMSolverMultistepScheduler(beta_schedule="linear", beta_start=0.0001, beta_end=0.02)
        return (PixArtAlphaPipeline if alpha else PixArtSigmaPipeline)(
            tokenizer=tiny_t5_tokenizer(), text_encoder=_t5(32), vae=_vae(), transformer=transformer,
            scheduler=scheduler,
        )  # fmt: skip

    return _saved(make, folder, seed)


def tiny_gemma_tokenizer() -> GemmaTokenizer:
    """One token a letter."""
    names = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *_LETTERS]
    return GemmaTokenizer(vocab={name: i for i, name in enumerate(names)}, merges=[], model_max_length=4096)


def tiny_sana(folder: Path, seed: int = 0) -> Path:
    """A ``SanaPipeline``: a Gemma text encoder and an ``AutoencoderDC``."""

    def make() -> SanaPipeline:
        tokenizer = tiny_gemma_tokenizer()
        gemma = Gemma2Config(
            vocab_size=len(tokenizer), hidden_size=16, head_dim=8, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=2, pad_token_id=0, eos_token_id=1, bos_token_id=2,
        )  # fmt: skip
        vae = AutoencoderDC(
            latent_channels=4, attention_head_dim=2, encoder_block_types=("ResBlock", "EfficientViTBlock"),
            decoder_block_types=("ResBlock", "EfficientViTBlock"), encoder_block_out_channels=(8, 8),
            decoder_block_out_channels=(8, 8), encoder_qkv_multiscales=((), (5,)), decoder_qkv_multiscales=((), (5,)),
            encoder_layers_per_block=(1, 1), decoder_layers_per_block=(1, 1), downsample_block_type="conv",
            upsample_block_type="interpolate", decoder_norm_types="rms_norm", decoder_act_fns="silu",
            scaling_factor=0.41407,
        )  # fmt: skip
        transformer = SanaTransformer2DModel(
            patch_size=1, in_channels=4, out_channels=4, num_layers=1, num_attention_heads=2, attention_head_dim=4,
            num_cross_attention_heads=2, cross_attention_head_dim=4, cross_attention_dim=8, caption_channels=16,
            sample_size=LATENT,
        )  # fmt: skip
        _louder(transformer, "attn2.to_v", "attn2.to_out")
        scheduler = DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0, final_sigmas_type="zero"
        )
        return SanaPipeline(
            tokenizer=tokenizer, text_encoder=Gemma2Model(gemma).eval(), vae=vae, transformer=transformer,
            scheduler=scheduler,
        )  # fmt: skip

    return _saved(make, folder, seed)


def tiny_lcm(folder: Path, seed: int = 0) -> Path:
    """A ``LatentConsistencyModelPipeline``: guidance is an input of the U-Net."""
    plain = StableDiffusionPipeline.from_pretrained(tiny_stable_diffusion(folder.with_name(f"{folder.name}-plain")))

    def make() -> LatentConsistencyModelPipeline:
        unet = UNet2DConditionModel.from_config({**plain.unet.config, "time_cond_proj_dim": 32})
        unet.load_state_dict(plain.unet.state_dict(), strict=False)
        parts = {**plain.components, "unet": unet, "scheduler": LCMScheduler.from_config(plain.scheduler.config)}
        return LatentConsistencyModelPipeline(**parts, requires_safety_checker=False)

    return _saved(make, folder, seed)


def tiny_sdxl_inpainting(folder: Path, seed: int = 0) -> Path:
    """A ``StableDiffusionXLInpaintPipeline`` with a U-Net of 9 channels."""
    plain = StableDiffusionXLPipeline.from_pretrained(tiny_sdxl(folder.with_name(f"{folder.name}-plain")))

    def make() -> StableDiffusionXLInpaintPipeline:
        unet = UNet2DConditionModel.from_config({**plain.unet.config, "in_channels": 9, "out_channels": 4})
        return StableDiffusionXLInpaintPipeline(**{**plain.components, "unet": unet})

    return _saved(make, folder, seed)


def tiny_lora(model: Path, folder: Path, seed: int = 0) -> Path:
    """A LoRA for the U-Net of a tiny pipeline, large enough to move pixels by many levels."""
    from peft import LoraConfig, get_peft_model_state_dict

    pipeline = StableDiffusionXLPipeline.from_pretrained(model)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        pipeline.unet.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_v", "to_out.0"]))
        with torch.no_grad():
            for name, weight in pipeline.unet.named_parameters():
                if "lora_B" in name:
                    weight.normal_(std=2.0)
    layers = get_peft_model_state_dict(pipeline.unet)
    StableDiffusionXLPipeline.save_lora_weights(folder, unet_lora_layers=layers)
    return folder / "pytorch_lora_weights.safetensors"
