"""How big the object is: by the same box as its location."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from seedml.attributes import Attribute, AttributeBatch
from seedml.attributes.location import ObjectFinder, object_boxes


def measure(batch: AttributeBatch) -> Mapping[str, Tensor]:
    """Size of the object.

    ``size``: square root of the area of its box as a fraction of the picture's, 0..1; NaN where there is no object to
    speak of. ``size_width``, ``size_height``: the box's sides as fractions of the picture's, 0..1.
    Source: ``location.object_boxes``.
    """
    return sizes(object_boxes(batch))


def sizes(boxes: Tensor) -> dict[str, Tensor]:
    """Boxes ``N × 4`` (left, top, right, bottom in fractions) -> this attribute's columns."""
    width, height = (boxes[:, 2:] - boxes[:, :2]).clamp(0, 1).unbind(1)
    return {"size": (width * height).sqrt(), "size_width": width, "size_height": height}


def with_network(given: str) -> Attribute:
    """The size of the object that a detector finds for the prompt's subject; see ``location.ObjectFinder``.

    Where location is measured by the same detector, it runs twice: attributes know nothing of each other.
    """
    finder = ObjectFinder("measure.networks.size", given).eval()

    def detect(batch: AttributeBatch) -> Mapping[str, Tensor]:
        return sizes(finder(batch.images, batch.prompts))

    return Attribute(ATTRIBUTE.columns, detect, version=f"2 {finder.version}", network=finder)


ATTRIBUTE = Attribute(("size", "size_width", "size_height"), measure, needs_reading=True, version="2")
