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

if TYPE_CHECKING:
    from seedml.models.bundled.parser import SceneParser, SceneReading

DIMENSION = 256
"""Length of a style vector: distances of the 800 Gram entries survive within about 1/√(2 · 256) = 4 % (standard
deviation; Johnson & Lindenstrauss 1984)."""
PROJECTION_SEED = 0
"""Of numpy's default generator, which draws the projection."""


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

        parser = load_parser()
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
