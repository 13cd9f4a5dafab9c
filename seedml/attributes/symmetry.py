"""Are the left and the right half each other's mirror image?"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from seedml.attributes import Attribute, AttributeBatch

FLAT = 0.2
"""Units of L*, half a level of 255: a picture whose lightness deviates by less tells nothing of symmetry."""


def measure(batch: AttributeBatch) -> Mapping[str, Tensor]:
    """Likeness of the picture and its mirror image.

    ``symmetry``: Pearson correlation of L* with L* mirrored left to right, over the coarse picture
    (``AttributeBatch.lab``): 1 (the same), 0 (unrelated), -1 (light where the other is dark). NaN for a picture of one
    lightness. A plain horizon is symmetric. Source: ours.
    """
    light = batch.lab[:, 0] - batch.lab[:, 0].mean((1, 2), keepdim=True)
    power = light.square().mean((1, 2))
    likeness = (light * light.flip(2)).mean((1, 2)) / power.clamp(min=1e-6)
    return {"symmetry": torch.where(power < FLAT**2, torch.nan, likeness.clamp(-1, 1))}


ATTRIBUTE = Attribute(("symmetry",), measure)
