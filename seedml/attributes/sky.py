"""How much of the picture is sky: by the scene parser's horizon."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from seedml.attributes import Attribute, AttributeBatch


def measure(batch: AttributeBatch) -> Mapping[str, Tensor]:
    """Sky as a fraction of the picture.

    ``sky``: share of the picture's height above the horizon, 0..1; hills and the object that stand out above the
    horizon count as sky. Source: the parser's horizon, trained on rendered scenes with exact labels.
    """
    return {"sky": batch.unknown() if batch.reading is None else batch.reading.horizon.clamp(0, 1)}


ATTRIBUTE = Attribute(("sky",), measure, needs_reading=True)
