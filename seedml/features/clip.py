"""CMMD's vectors: CLIP's image embeddings. Take ``statistics.distances=[fid,cmmd]`` with them.

Jayasumana et al. 2024, "Rethinking FID: towards a better evaluation metric for image generation" (CVPR). Published
numbers are made with ViT-L/14 at 336 pixels (``openai/clip-vit-large-patch14-336``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seedml.errors import UserError
from seedml.hub import load_transformer
from seedml.networks.pictures import CLIP, cropped, normalised

if TYPE_CHECKING:
    from seedml.models.bundled.parser import SceneReading

WEIGHTS = "hub id or folder of a CLIP checkpoint, such as openai/clip-vit-large-patch14-336 (1.7 GB)"
AT_ONCE = 32
"""Pictures that go through the network together, whatever the batch."""
_KEY = "measure.networks.clip"
_KINDS = ("clip", "clip_vision_model")


class ClipFeatures:
    """Projected image embeddings, of whatever length: CMMD's kernel divides by it.

    Args:
        name_or_path: hub id or folder: a whole CLIP, or its vision tower with projection.

    Raises:
        UserError: it cannot be loaded or is of another kind.

    """

    name = "clip"
    needs_reading = False

    def __init__(self, name_or_path: str) -> None:
        loaded = load_transformer(_KEY, name_or_path, ("CLIPVisionModelWithProjection", "AutoModel"), None)
        config = loaded.model.config
        if config.model_type not in _KINDS:
            raise UserError(
                f"{_KEY}: another kind of network", given=f"{name_or_path} ({config.model_type})",
                legal=", ".join(_KINDS), remedy="choose a CLIP, such as openai/clip-vit-large-patch14-336",
            )  # fmt: skip
        self._model: Any = loaded.model
        self._whole = config.model_type == "clip"
        self._side: int = config.vision_config.image_size if self._whole else config.image_size
        self.resize = f"square from the middle, bicubic, antialiased, in 8 bits, to {self._side} x {self._side}"
        self.dimension: int = config.projection_dim
        self.weights = loaded.version
        self.version = f"1 {loaded.version}"

    def to(self, device: torch.device) -> ClipFeatures:
        """Move the weights."""
        self._model.to(device)
        return self

    @torch.inference_mode()
    def __call__(self, images: Tensor, reading: SceneReading | None) -> Tensor:
        """``N × D`` float32."""
        return torch.cat([self._embed(part) for part in torch.split(images, AT_ONCE)]).float()

    def _embed(self, images: Tensor) -> Tensor:
        pixels = normalised(cropped(images, self._side), CLIP)
        found: Tensor = (
            self._model.get_image_features(pixels).pooler_output if self._whole else self._model(pixels).image_embeds
        )
        return found


def with_network(given: str) -> ClipFeatures:
    """The network with these weights; see :class:`ClipFeatures`."""
    return ClipFeatures(given)
