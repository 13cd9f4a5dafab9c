"""What a picture's surface is like, wherever things are: Gram matrices of a network's early layers.

Style as in Gatys, Ecker & Bethge 2016 ("Image style transfer using convolutional neural networks", CVPR): which
channels of early layers are active together, averaged over the picture. The default takes the scene parser's first
levels, since these come with the package; they saw drawn scenes only, so their style is colour, contrast, grain and
edge direction, not schools of painting. :func:`with_network` takes vectors of CLIP, CSD or DINOv2 instead.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from seedml.errors import UserError
from seedml.hub import load_transformer
from seedml.networks.files import find_file, is_file_name, read_weights
from seedml.networks.open_clip import is_style_model, style_model
from seedml.networks.pictures import CLIP, normalised, resized_and_cropped

if TYPE_CHECKING:
    from seedml.models.bundled.parser import SceneParser, SceneReading

DIMENSION = 256
"""Length of a style vector: distances of the 800 Gram entries survive within about 1/√(2 · 256) = 4 % (standard
deviation; Johnson & Lindenstrauss 1984)."""
PROJECTION_SEED = 0
"""Of numpy's default generator, which draws the projection."""
AT_ONCE = 8
"""Pictures that go through a network of the hub together, whatever the batch."""
_KEY = "measure.networks.style"
_KINDS = {
    "clip": "projection_dim", "clip_vision_model": "projection_dim", "dinov2": "hidden_size",
    "dinov2_with_registers": "hidden_size", "dinov3_vit": "hidden_size",
}  # fmt: skip
"""Kind of network -> where its configuration says how long a vector is."""


class Network:
    """Gram matrices of the scene parser's stem and first two levels, projected to 256 numbers.

    Of each level's ``C`` channels at ``h × w`` positions: ``G = X Xᵀ / (h w)``, its upper triangle, signed square root
    (else the few strongest channels decide alone; Lin et al. 2015, "Bilinear CNN models"), divided by ``C``; all three
    side by side (16, 16 and 32 channels: 800 numbers), then a Gaussian random projection with a fixed seed. Unit: none.
    """

    name = "style"
    dimension = DIMENSION
    resize = "bilinear, antialiased, to 128 x 128, where the size differs"
    needs_reading = False
    version = "1"

    def __init__(self) -> None:
        self._device = torch.device("cpu")

    @cached_property
    def _weights(self) -> tuple[SceneParser, Tensor]:
        """The parser and the projection, loaded when they are first needed: many a step only asks for the name."""
        from seedml.models.bundled.parser import load_parser

        parser = load_parser().folded()
        a, b, *_ = parser.channels
        sizes = torch.tensor([c for c in (a, a, b) for _ in range(c * (c + 1) // 2)])
        scaled = projection(len(sizes), self.dimension) / sizes[:, None]
        return parser.to(self._device), scaled.to(self._device)

    def to(self, device: torch.device) -> Network:
        """Where the weights are to be."""
        self._device = device
        self.__dict__.pop("_weights", None)
        return self

    def __call__(self, images: Tensor, reading: SceneReading | None) -> Tensor:
        """``N × 256`` float32; where the parser has read the images already, its Gram matrices are taken."""
        parser, scaled = self._weights
        known = None if reading is None else reading.grams
        entries = parser.grams(images) if known is None else known
        return (entries.sign() * entries.abs().sqrt()) @ scaled


def projection(before: int, after: int) -> Tensor:
    """``before × after`` float32, Gaussian with variance 1 / ``after``: keeps squared distances in the mean."""
    drawn = np.random.default_rng(PROJECTION_SEED).standard_normal((before, after))
    return torch.from_numpy((drawn / np.sqrt(after)).astype(np.float32))


class HubNetwork:
    """Vectors of a network of the hub or of a folder, each of length 1, so that distances are of directions.

    - CLIP (a whole ``CLIPModel``, or ``CLIPVisionModelWithProjection``): projected image embedding. More of content
      than of style.
    - CSD saved as a ``CLIPVisionModelWithProjection``; see :class:`StyleDescriptor` for its own file.
    - DINOv2, DINOv3: the class token after the last norm.

    Args:
        name_or_path: hub id or folder.

    Raises:
        UserError: it cannot be loaded or is of another kind.

    """

    name = "style"
    needs_reading = False
    resize = "as the checkpoint's own processor resizes and crops"

    def __init__(self, name_or_path: str) -> None:
        loaded = load_transformer(_KEY, name_or_path, ("CLIPVisionModelWithProjection", "AutoModel"))
        config = loaded.model.config
        if config.model_type not in _KINDS:
            raise UserError(
                f"{_KEY}: another kind of network", given=f"{name_or_path} ({config.model_type})",
                legal=", ".join(_KINDS), remedy="choose a CLIP, CSD or DINOv2 checkpoint",
            )  # fmt: skip
        self._model, self._processor = loaded.model, loaded.processor
        self.dimension: int = getattr(config, _KINDS[config.model_type])
        self.weights = loaded.version
        self.version = f"1 {loaded.version}"

    def to(self, device: torch.device) -> HubNetwork:
        """Move the weights."""
        self._model.to(device)
        return self

    @torch.inference_mode()
    def __call__(self, images: Tensor, reading: SceneReading | None) -> Tensor:
        """``N × D`` float32."""
        parts = [self._embed(part) for part in torch.split(images, AT_ONCE)]
        return torch.nn.functional.normalize(torch.cat(parts).float(), dim=1)

    def _embed(self, images: Tensor) -> Tensor:
        pixels = self._processor(images=list(images), return_tensors="pt")["pixel_values"].to(images.device)
        if self._model.config.model_type == "clip":
            found: Tensor = self._model.get_image_features(pixels).pooler_output
        elif self._model.config.model_type == "clip_vision_model":
            found = self._model(pixels).image_embeds
        else:
            found = self._model(pixels).pooler_output
        return found


class StyleDescriptor:
    """CSD (Somepalli et al. 2024, "Measuring style similarity in diffusion models") from its authors' file.

    A CLIP whose projection gave way to a style head; vectors are of length 1.

    Args:
        given: path of the checkpoint, or a file of the hub.

    Raises:
        UserError: it cannot be loaded or is another network's.

    """

    name = "style"
    needs_reading = False

    def __init__(self, given: str) -> None:
        weights = read_weights(_KEY, find_file(_KEY, given), given)
        if not is_style_model(weights):
            raise UserError(
                f"{_KEY}: the file holds another network than CSD", given=given,
                remedy="take CSD's checkpoint, or name the hub id or folder of a CLIP or DINOv2",
            )  # fmt: skip
        self._model = style_model(_KEY, weights)
        self._side: int = self._model.config.image_size
        self.resize = f"shorter side bicubic, antialiased, to {self._side}, square from the middle"
        self.dimension: int = self._model.config.projection_dim
        self.weights = weights.sha256
        self.version = f"1 {weights.sha256[:16]}"

    def to(self, device: torch.device) -> StyleDescriptor:
        """Move the weights."""
        self._model.to(device)
        return self

    @torch.inference_mode()
    def __call__(self, images: Tensor, reading: SceneReading | None) -> Tensor:
        """``N × D`` float32."""
        parts = [
            self._model(normalised(resized_and_cropped(part, self._side), CLIP)).image_embeds
            for part in torch.split(images, AT_ONCE)
        ]
        return torch.nn.functional.normalize(torch.cat(parts).float(), dim=1)


def with_network(given: str) -> HubNetwork | StyleDescriptor:
    """Vectors of another network instead: a file is CSD's, all else a hub id or folder."""
    return StyleDescriptor(given) if is_file_name(given) else HubNetwork(given)
