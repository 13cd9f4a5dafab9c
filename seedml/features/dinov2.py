"""FD-DINOv2: vectors of DINOv2, which see shapes and scenes where Inception sees textures.

Stein et al. 2023, "Exposing flaws of generative model evaluation metrics and their unfair treatment of diffusion
models" (NeurIPS). Published numbers are made with ViT-L/14 (``facebook/dinov2-large``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seedml.errors import UserError
from seedml.hub import load_transformer
from seedml.networks.pictures import IMAGENET, normalised, squashed

if TYPE_CHECKING:
    from seedml.models.bundled.parser import SceneReading

WEIGHTS = "hub id or folder of a DINOv2 checkpoint, such as facebook/dinov2-large (1.2 GB)"
SIDE = 224
AT_ONCE = 32
"""Pictures that go through the network together, whatever the batch."""
_KEY = "measure.networks.dinov2"
_OFFSET = 0.1
"""What DINOv2's own code adds to the number of patches a side where it stretches its position embeddings."""
_KINDS = ("dinov2", "dinov2_with_registers")


class DinoFeatures:
    """The class token after the last norm.

    Position embeddings are stretched as DINOv2's own code does it, with which the published numbers were made, and not
    as transformers does it.

    Args:
        name_or_path: hub id or folder.

    Raises:
        UserError: it cannot be loaded or is of another kind.

    """

    name = "dinov2"
    needs_reading = False
    resize = "bicubic, antialiased, in 8 bits, to 224 x 224"

    def __init__(self, name_or_path: str) -> None:
        loaded = load_transformer(_KEY, name_or_path, ("AutoModel",), None)
        config = loaded.model.config
        if config.model_type not in _KINDS:
            raise UserError(
                f"{_KEY}: another kind of network", given=f"{name_or_path} ({config.model_type})",
                legal=", ".join(_KINDS), remedy="choose a DINOv2 checkpoint, such as facebook/dinov2-large",
            )  # fmt: skip
        self._model: Any = loaded.model
        self._side: int = SIDE // config.patch_size * config.patch_size
        if config.model_type == "dinov2":
            embeddings = self._model.embeddings
            stretched = stretched_positions(embeddings.position_embeddings, self._side // config.patch_size)
            embeddings.position_embeddings = nn.Parameter(stretched, requires_grad=False)
        self.dimension: int = config.hidden_size
        self.weights = loaded.version
        self.version = f"1 {loaded.version}"

    def to(self, device: torch.device) -> DinoFeatures:
        """Move the weights."""
        self._model.to(device)
        return self

    @torch.inference_mode()
    def __call__(self, images: Tensor, reading: SceneReading | None) -> Tensor:
        """``N × D`` float32."""
        parts = [
            self._model(normalised(squashed(part, self._side), IMAGENET)).last_hidden_state[:, 0]
            for part in torch.split(images, AT_ONCE)
        ]
        return torch.cat(parts).float()


def stretched_positions(embeddings: Tensor, side: int) -> Tensor:
    """Position embeddings for another number of patches, bicubic: ``1 × (1 + n²) × D`` -> ``1 × (1 + side²) × D``.

    The first one, the class token's, stays. Source: ``interpolate_pos_encoding`` of DINOv2's own code.
    """
    before = round((embeddings.shape[1] - 1) ** 0.5)
    if before == side:
        return embeddings.detach()
    grid = embeddings[:, 1:].detach().reshape(1, before, before, -1).permute(0, 3, 1, 2)
    scale = (side + _OFFSET) / before
    wide = F.interpolate(grid, scale_factor=(scale, scale), mode="bicubic")
    assert wide.shape[2:] == (side, side), "the offset is less than a patch"
    return torch.cat([embeddings[:, :1].detach(), wide.flatten(2).mT], 1)


def with_network(given: str) -> DinoFeatures:
    """The network with these weights; see :class:`DinoFeatures`."""
    return DinoFeatures(given)
