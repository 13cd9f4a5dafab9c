"""Where the object is: by the scene parser."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from seedml.attributes import Attribute, AttributeBatch


def measure(batch: AttributeBatch) -> Mapping[str, Tensor]:
    """Centre of the object's box.

    ``location_x``, ``location_y``: fractions of the width from the left and of the height from the top, 0..1.
    Source: the parser's location, trained on rendered scenes with exact labels.
    """
    if batch.reading is None:
        return {"location_x": batch.unknown(), "location_y": batch.unknown()}
    x, y = batch.reading.location.clamp(0, 1).unbind(1)
    return {"location_x": x, "location_y": y}


ATTRIBUTE = Attribute(("location_x", "location_y"), measure, needs_reading=True)
