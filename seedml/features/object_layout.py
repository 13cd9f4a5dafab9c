"""Where the object is: the scene parser's mask on an 8 × 8 grid. Of pictures of seedling's world only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

if TYPE_CHECKING:
    from seedml.models.bundled.parser import SceneReading

GRID = 8
"""Cells along each side."""


class Network:
    """Share of each cell that the object covers, 0..1, rows from the top: ``vector.reshape(8, 8)`` is a small mask.

    Averaged over the pictures of a seed it says how often the object covers the cell. NaN where the parser did not run.
    """

    name = "object_layout"
    dimension = GRID * GRID
    resize = "bilinear, antialiased, to 128 x 128, where the size differs"
    needs_reading = True
    version = "1"

    def to(self, device: torch.device) -> Network:
        """Nothing to move: the parser holds the weights."""
        return self

    def __call__(self, images: Tensor, reading: SceneReading | None) -> Tensor:
        """``N × 64`` float32."""
        if reading is None:
            return torch.full((len(images), self.dimension), torch.nan, device=images.device)
        return adaptive_avg_pool2d(reading.mask.float(), GRID).flatten(1)
