"""Where light, dark and colour are in the picture: an 8 × 8 grid of mean colours. Of any picture, without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from seedml.colour import srgb_to_lab

if TYPE_CHECKING:
    import torch

    from seedml.models.bundled.parser import SceneReading

GRID = 8
"""Cells along each side."""


class Network:
    """Mean sRGB level of each cell, in CIELAB: L* 0..100, a* and b* about -110..110.

    Channel by channel, rows from the top, so that ``vector.reshape(3, 8, 8)`` is a small picture. The distance of two
    vectors, divided by 8, is the root mean square colour difference ΔE (CIE 1976) of their cells.
    """

    name = "layout"
    dimension = 3 * GRID * GRID
    resize = "mean over each cell of an 8 x 8 grid"
    needs_reading = False
    version = "1"

    def to(self, device: torch.device) -> Network:
        """Nothing to move."""
        return self

    def __call__(self, images: Tensor, reading: SceneReading | None) -> Tensor:
        """``N × 192`` float32."""
        return srgb_to_lab(adaptive_avg_pool2d(images.float(), GRID)).flatten(1)
