"""The scene parser's own features: 64 numbers, no download.

The parser was trained to read object, colour, ground, flags, horizon, location, size and depth in rendered scenes, so
its last common layer sees what a seedling picture can differ in. It knows no photographs: Fréchet distances in these
features rank the seeds of seedling, and are comparable with no published FID.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from seedml.models.bundled.parser import SceneReading


class Network:
    """Takes the vectors from the parser's reading, which attributes share: the parser runs once an image."""

    name = "bundled"
    dimension = 64
    resize = "bilinear, antialiased, to 128 x 128, where the size differs"
    needs_reading = True
    version = "1"

    def to(self, device: torch.device) -> Network:
        """Nothing to move: the parser holds the weights."""
        return self

    def __call__(self, images: Tensor, reading: SceneReading | None) -> Tensor:
        """``N × 64`` float32."""
        assert reading is not None, "the bundled features come from the scene parser's reading"
        features: Tensor = reading.features
        return features.float()
