"""How big the object is: by the scene parser."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from seedml.attributes import Attribute, AttributeBatch


def measure(batch: AttributeBatch) -> Mapping[str, Tensor]:
    """Size of the object.

    ``size``: square root of the area of its box as a fraction of the picture's side, 0..1.
    Source: the parser's size, trained on rendered scenes with exact labels.
    """
    return {"size": batch.unknown() if batch.reading is None else batch.reading.size.clamp(0, 1)}


ATTRIBUTE = Attribute(("size",), measure, needs_reading=True)
