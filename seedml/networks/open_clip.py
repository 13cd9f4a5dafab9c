"""Checkpoints in the names of OpenAI's CLIP and of open_clip -> transformers' CLIP. HPS v2.1 and CSD are such.

Sizes follow from the weights' shapes. Heads have 64 channels, but in the vision towers of ViT-H, -g and -bigG, which
have 16 heads (open_clip's ``head_width``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from seedml.networks.files import Weights, fill

_HEAD = 64
_WIDE = {1280: 16, 1408: 16, 1664: 16}
"""Width of a vision tower -> its heads, where these are no 64 channels."""
_LAYER = re.compile(r"transformer\.resblocks\.(\d+)\.(.+)")
_IN_LAYER = (
    ("ln_1.", "layer_norm1."), ("ln_2.", "layer_norm2."), ("attn.out_proj.", "self_attn.out_proj."),
    ("mlp.c_fc.", "mlp.fc1."), ("mlp.c_proj.", "mlp.fc2."),
)  # fmt: skip
_VISION = {
    "class_embedding": "embeddings.class_embedding", "positional_embedding": "embeddings.position_embedding.weight",
    "conv1.weight": "embeddings.patch_embedding.weight", "ln_pre.weight": "pre_layrnorm.weight",
    "ln_pre.bias": "pre_layrnorm.bias", "ln_post.weight": "post_layernorm.weight",
    "ln_post.bias": "post_layernorm.bias",
}  # fmt: skip
_TEXT = {
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight", "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}  # fmt: skip
_PATCHES = "visual.conv1.weight"


def is_clip(weights: Weights) -> bool:
    """Whether a checkpoint has both towers of a CLIP with a vision transformer, in these names."""
    return {_PATCHES, "visual.proj", "token_embedding.weight", "text_projection"} <= weights.tensors.keys()


def clip_model(key: str, weights: Weights, activation: str = "gelu") -> Any:
    """The whole CLIP, on the CPU.

    Args:
        key: configuration key, for errors.
        weights: a checkpoint for which :func:`is_clip` holds.
        activation: ``gelu``, or ``quick_gelu`` in what OpenAI trained.

    Raises:
        UserError: weights are missing or too many.

    """
    from transformers import CLIPConfig, CLIPModel

    tensors = weights.tensors
    width = tensors["ln_final.weight"].shape[0]
    text = {
        "hidden_size": width, "intermediate_size": tensors["transformer.resblocks.0.mlp.c_fc.weight"].shape[0],
        "num_hidden_layers": _layers(tensors, "transformer."), "num_attention_heads": max(1, width // _HEAD),
        "vocab_size": len(tensors["token_embedding.weight"]), "hidden_act": activation,
        "max_position_embeddings": len(tensors["positional_embedding"]),
        "eos_token_id": 2,  # to transformers: the end is at the highest token
    }  # fmt: skip
    towers = _tower(weights.starting_with("visual.").tensors, _VISION, "vision_model.")
    own = {name: tensor for name, tensor in tensors.items() if not name.startswith("visual.")}
    towers |= _tower(own, _TEXT, "text_model.")
    towers["visual_projection.weight"] = tensors["visual.proj"].T.contiguous()
    towers["text_projection.weight"] = tensors["text_projection"].T.contiguous()
    towers["logit_scale"] = tensors["logit_scale"].reshape(())
    vision = _vision_config(weights.starting_with("visual.").tensors, activation)
    with torch.device("meta"):
        config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=tensors["text_projection"].shape[1])
        model = CLIPModel(config)
    fill(key, model, weights._replace(tensors=towers), "a CLIP", "take the file as its authors published it")
    return model


def style_model(key: str, weights: Weights) -> Any:
    """CSD's vision tower with its style head in the place of CLIP's projection, on the CPU.

    Raises:
        UserError: weights are missing or too many.

    """
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    own = weights.starting_with("backbone.").tensors
    head = weights.tensors["last_layer_style"]
    towers = _tower({name: tensor for name, tensor in own.items() if name != "proj"}, _VISION, "vision_model.")
    towers["visual_projection.weight"] = head.T.contiguous()
    with torch.device("meta"):
        config = CLIPVisionConfig(**_vision_config(own, "quick_gelu"), projection_dim=head.shape[1])
        model = CLIPVisionModelWithProjection(config)
    fill(key, model, weights._replace(tensors=towers), "CSD", "take the checkpoint as its authors published it")
    return model


def is_style_model(weights: Weights) -> bool:
    """Whether a checkpoint is CSD's."""
    return {"last_layer_style", "backbone.conv1.weight"} <= weights.tensors.keys()


def _vision_config(tensors: Mapping[str, Tensor], activation: str) -> dict[str, Any]:
    """What a vision tower's shapes say; names without their prefix."""
    width, _, patch, _ = tensors["conv1.weight"].shape
    grid = round((len(tensors["positional_embedding"]) - 1) ** 0.5)
    return {
        "hidden_size": width, "intermediate_size": tensors["transformer.resblocks.0.mlp.c_fc.weight"].shape[0],
        "num_hidden_layers": _layers(tensors, "transformer."),
        "num_attention_heads": _WIDE.get(width, max(1, width // _HEAD)),
        "image_size": patch * grid, "patch_size": patch, "hidden_act": activation,
    }  # fmt: skip


def _layers(tensors: Mapping[str, Tensor], prefix: str) -> int:
    return sum(name.startswith(prefix) and name.endswith("ln_1.weight") for name in tensors)


def _tower(tensors: Mapping[str, Tensor], plain: Mapping[str, str], prefix: str) -> dict[str, Tensor]:
    """One tower's weights in transformers' names. Projections, the logit scale and buffers are left out."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        inside = _LAYER.fullmatch(name)
        if inside:
            found |= _layer(f"{prefix}encoder.layers.{inside[1]}.", inside[2], tensor)
        elif name in plain:
            found[prefix + plain[name]] = tensor
    return found


def _layer(prefix: str, name: str, tensor: Tensor) -> dict[str, Tensor]:
    """One tensor of a layer; queries, keys and values are stacked in one there and are three here."""
    if name.startswith("attn.in_proj_"):
        end = name.removeprefix("attn.in_proj_")
        parts = zip(("q", "k", "v"), tensor.chunk(3), strict=True)
        return {f"{prefix}self_attn.{part}_proj.{end}": values.contiguous() for part, values in parts}
    for old, new in _IN_LAYER:
        if name.startswith(old):
            return {prefix + new + name.removeprefix(old): tensor}
    return {prefix + name: tensor}  # unknown: named where the weights are compared
