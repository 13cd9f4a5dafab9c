"""A tiny Stable Diffusion folder as one file, under the names that the model's first authors gave its weights."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

_RESNET = [("in_layers.0", "norm1"), ("in_layers.2", "conv1"), ("out_layers.0", "norm2"), ("out_layers.3", "conv2"),
           ("emb_layers.1", "time_emb_proj"), ("skip_connection", "conv_shortcut")]  # fmt: skip
_OUTER = [("time_embed.0", "time_embedding.linear_1"), ("time_embed.2", "time_embedding.linear_2"),
          ("input_blocks.0.0", "conv_in"), ("out.0", "conv_norm_out"), ("out.2", "conv_out")]  # fmt: skip
_ATTENTION = [("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out")]
_BLOCKS = 2
"""Of the tiny U-Net and autoencoder, of one layer each."""


def ldm_single_file(folder: Path, path: Path) -> Path:
    """All weights of a ``tiny_stable_diffusion`` in ``path``, which diffusers reads with ``from_single_file``."""
    name = "diffusion_pytorch_model.safetensors"
    unet = {f"model.diffusion_model.{_unet(key)}": value for key, value in load_file(folder / "unet" / name).items()}
    vae = dict(_vae(key, value) for key, value in load_file(folder / "vae" / name).items())
    text = load_file(folder / "text_encoder" / "model.safetensors")
    clip = {f"cond_stage_model.transformer.text_model.{key}": value for key, value in text.items()}
    weights = unet | {f"first_stage_model.{key}": value for key, value in vae.items()} | clip
    save_file({key: value.contiguous() for key, value in weights.items()}, path)
    return path


def _unet(key: str) -> str:
    for theirs, ours in _OUTER:
        if key.startswith(f"{ours}."):
            return key.replace(ours, theirs, 1)
    if ".resnets." in key:
        for theirs, ours in _RESNET:
            key = key.replace(f".{ours}.", f".{theirs}.")
    places = {"mid_block.attentions.0.": "middle_block.1."}
    places |= {f"mid_block.resnets.{j}.": f"middle_block.{2 * j}." for j in range(2)}
    for i in range(_BLOCKS):
        places[f"down_blocks.{i}.downsamplers.0.conv."] = f"input_blocks.{2 * (i + 1)}.0.op."
        places[f"up_blocks.{i}.upsamplers.0."] = f"output_blocks.{2 * i + 1}.{2 if i == 0 else 1}."
        for j in range(2):
            places[f"down_blocks.{i}.resnets.{j}."] = f"input_blocks.{2 * i + j + 1}.0."
            places[f"down_blocks.{i}.attentions.{j}."] = f"input_blocks.{2 * i + j + 1}.1."
            places[f"up_blocks.{i}.resnets.{j}."] = f"output_blocks.{2 * i + j}.0."
            places[f"up_blocks.{i}.attentions.{j}."] = f"output_blocks.{2 * i + j}.1."
    return _moved(key, places)


def _vae(key: str, value: torch.Tensor) -> tuple[str, torch.Tensor]:
    places = {"mid_block.attentions.0.": "mid.attn_1.", "conv_norm_out.": "norm_out."}
    places[".conv_shortcut."] = ".nin_shortcut."
    places |= {f"mid_block.resnets.{j}.": f"mid.block_{j + 1}." for j in range(2)}
    for i in range(_BLOCKS):
        places[f"down_blocks.{i}.downsamplers.0."] = f"down.{i}.downsample."
        places[f"up_blocks.{i}.upsamplers.0."] = f"up.{_BLOCKS - 1 - i}.upsample."
        for j in range(2):
            places[f"down_blocks.{i}.resnets.{j}."] = f"down.{i}.block.{j}."
            places[f"up_blocks.{i}.resnets.{j}."] = f"up.{_BLOCKS - 1 - i}.block.{j}."
    if ".attentions." in key:
        for ours, theirs in _ATTENTION:
            key = key.replace(f".{ours}.", f".{theirs}.")
        value = value[:, :, None, None] if value.ndim == 2 else value  # they were convolutions then
    return _moved(key, places), value


def _moved(key: str, places: dict[str, str]) -> str:
    for ours, theirs in places.items():
        key = key.replace(ours, theirs)
    return key
