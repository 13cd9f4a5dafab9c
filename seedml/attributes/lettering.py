"""Letters that nobody asked for: by the scene parser."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from seedml.attributes import Attribute, AttributeBatch


def measure(batch: AttributeBatch) -> Mapping[str, Tensor]:
    """Presence of lettering.

    ``lettering``: 1 where the parser finds it likelier than not that there are letters, else 0.
    Source: the parser's flag, trained on rendered scenes with exact labels. It counts no letters and reads none.
    """
    if batch.reading is None:
        return {"lettering": batch.unknown()}
    return {"lettering": (batch.reading.lettering > 0.5).float()}


ATTRIBUTE = Attribute(("lettering",), measure, shares=("lettering",), needs_reading=True)
