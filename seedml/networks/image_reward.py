"""ImageReward (Xu et al. 2023), from its own file of weights, on transformers' BLIP. No code of its own is run.

A BLIP reads picture and prompt together; a linear head turns the first token into a reward, about standard normal
over the pictures that it was trained on. Its vision tower is timm's, its text tower BERT with cross-attention to the
picture.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from seedml.networks.files import Weights, fill
from seedml.networks.pictures import CLIP, normalised, resized_and_cropped

MEAN, DEVIATION = 0.16717362830052426, 1.0333394966054072
"""Of rewards on the training pictures (``ImageReward.py``)."""
LONGEST = 35
"""Tokens of a prompt that are read."""
_VISION, _TEXT, _HEAD = "blip.visual_encoder.", "blip.text_encoder.", "mlp.layers."
_CHANNELS = 64
"""Of an attention head."""
_RENAMED = (
    (r"^cls_token$", "embeddings.class_embedding"), (r"^pos_embed$", "embeddings.position_embedding"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embedding."), (r"^norm\.", "post_layernorm."),
    (r"^blocks\.(\d+)\.norm([12])\.", r"encoder.layers.\1.layer_norm\2."),
    (r"^blocks\.(\d+)\.attn\.qkv\.", r"encoder.layers.\1.self_attn.qkv."),
    (r"^blocks\.(\d+)\.attn\.proj\.", r"encoder.layers.\1.self_attn.projection."),
    (r"^blocks\.(\d+)\.mlp\.", r"encoder.layers.\1.mlp."),
)  # fmt: skip


def is_image_reward(weights: Weights) -> bool:
    """Whether a checkpoint is ImageReward's."""
    return {f"{_VISION}pos_embed", f"{_TEXT}embeddings.word_embeddings.weight", f"{_HEAD}0.weight"} <= (
        weights.tensors.keys()
    )


class ImageReward(nn.Module):
    """The reward model, on the CPU.

    Args:
        key: configuration key, for errors.
        weights: a checkpoint for which :func:`is_image_reward` holds; sizes follow from its shapes.

    Raises:
        UserError: weights are missing or too many.

    """

    def __init__(self, key: str, weights: Weights) -> None:
        super().__init__()
        with torch.device("meta"):
            self.vision: Any = _vision_tower(weights)
            self.text: Any = _text_tower(weights, self.vision.config.hidden_size)
            self.head = _head(weights.starting_with(_HEAD))
        fill(key, self, _renamed(weights), "ImageReward", "take ImageReward.pt of THUDM/ImageReward")
        self.side: int = self.vision.config.image_size

    def forward(self, images: Tensor, tokens: Tensor, attention: Tensor) -> Tensor:
        """``N × 3 × H × W`` uint8 with ``N × L`` tokens and their mask -> ``N`` float32."""
        seen = self.vision(normalised(resized_and_cropped(images, self.side), CLIP)).last_hidden_state
        everywhere = torch.ones(seen.shape[:2], dtype=torch.long, device=seen.device)
        read = self.text(
            tokens, attention_mask=attention, encoder_hidden_states=seen, encoder_attention_mask=everywhere
        )
        rewards: Tensor = self.head(read.last_hidden_state[:, 0].float())[:, 0]
        return (rewards - MEAN) / DEVIATION


def _renamed(weights: Weights) -> Weights:
    """The weights in the names of :class:`ImageReward`; the two projections that BLIP was trained with are left out."""
    tensors = {}
    for name, tensor in weights.starting_with(_VISION).tensors.items():
        new = name
        for pattern, replacement in _RENAMED:
            new = re.sub(pattern, replacement, new)
        tensors[f"vision.{new}"] = tensor
    for name, tensor in weights.starting_with(_TEXT).tensors.items():
        if not name.endswith("position_ids"):
            tensors[f"text.{name}"] = tensor
    tensors |= {f"head.{name}": tensor for name, tensor in weights.starting_with(_HEAD).tensors.items()}
    return weights._replace(tensors=tensors)


def _vision_tower(weights: Weights) -> Any:
    from transformers import BlipVisionConfig, BlipVisionModel

    own = weights.starting_with(_VISION).tensors
    width, _, patch, _ = own["patch_embed.proj.weight"].shape
    grid = round((own["pos_embed"].shape[1] - 1) ** 0.5)
    config = BlipVisionConfig(
        hidden_size=width, intermediate_size=own["blocks.0.mlp.fc1.weight"].shape[0],
        num_hidden_layers=sum(name.endswith("norm1.weight") for name in own),
        num_attention_heads=max(1, width // _CHANNELS), image_size=patch * grid, patch_size=patch,
        layer_norm_eps=1e-6,  # timm's; transformers' own BLIP has 1e-5
    )  # fmt: skip
    return BlipVisionModel(config)


def _text_tower(weights: Weights, vision_width: int) -> Any:
    from transformers import BlipTextConfig
    from transformers.models.blip.modeling_blip_text import BlipTextModel

    own = weights.starting_with(_TEXT).tensors
    vocabulary, width = own["embeddings.word_embeddings.weight"].shape
    config = BlipTextConfig(
        vocab_size=vocabulary, hidden_size=width, encoder_hidden_size=vision_width,
        intermediate_size=own["encoder.layer.0.intermediate.dense.weight"].shape[0],
        num_hidden_layers=sum(name.endswith("intermediate.dense.weight") for name in own),
        num_attention_heads=max(1, width // _CHANNELS),
        max_position_embeddings=len(own["embeddings.position_embeddings.weight"]),
    )  # fmt: skip
    return BlipTextModel(config, add_pooling_layer=False)


def _head(weights: Weights) -> nn.Sequential:
    """Linear layers at the places they have in the file; between them was dropout, and no activation."""
    shapes = {int(name.split(".")[0]): t.shape for name, t in weights.tensors.items() if name.endswith("weight")}
    return nn.Sequential(
        *(
            nn.Linear(shapes[place][1], shapes[place][0]) if place in shapes else nn.Identity()
            for place in range(max(shapes) + 1)
        )
    )
