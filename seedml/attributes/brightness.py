"""How light the picture is."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from seedml.attributes import Attribute, AttributeBatch


def measure(batch: AttributeBatch) -> Mapping[str, Tensor]:
    """Mean lightness.

    ``brightness``: mean CIELAB L* of the coarse picture (``AttributeBatch.lab``), 0 (black) to 100 (white); equal steps
    look equal. Source: CIE 15:2004.
    """
    return {"brightness": batch.lab[:, 0].flatten(1).mean(1)}


ATTRIBUTE = Attribute(("brightness",), measure)
