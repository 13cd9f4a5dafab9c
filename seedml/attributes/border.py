"""Is the picture framed? By a run of constant colour along all four sides."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from seedml.attributes import Attribute, AttributeBatch

TOLERANCE = 10.0
"""Mean deviation from the frame's colour, in levels of 255, up to which a line of pixels belongs to the frame."""
NARROWEST = 0.02
"""A frame is at least this wide, as a fraction of the side."""
WIDEST = 0.25
"""And at most this wide: a picture of one colour has no frame."""


def measure(batch: AttributeBatch) -> Mapping[str, Tensor]:
    """Presence and width of a frame of near-constant colour, whatever the colour.

    ``border``: 1 where all four sides have lines of the frame's colour, at least :data:`NARROWEST` of the side wide,
    and no wider than :data:`WIDEST` on at least half of the sides (a white frame may run on into snow); else 0. A plain
    sky or ground reaches three sides at most.
    ``border_width``: (lower) median width of the four sides as a fraction of the side, 0..0.25; 0 without a frame.
    Source: ours; thresholds are calibrated on rendered scenes.
    """
    widths = frame_widths(batch.images)
    middle = widths.median(1).values
    framed = (widths.amin(1) >= NARROWEST) & (middle <= WIDEST)
    return {"border": framed.float(), "border_width": torch.where(framed, middle, 0.0)}


def frame_widths(images: Tensor) -> Tensor:
    """Width of the run of frame-coloured lines from each side: ``N × 3 × H × W`` uint8 -> ``N × 4`` float32.

    Left, right (fractions of W), top, bottom (fractions of H). The frame's colour is the median of the outermost
    pixels; a line of pixels belongs to it by its mean deviation, in the channel that deviates most.
    """
    pixels = images.float()
    colour = _rim(pixels).median(2).values
    deviation = (pixels - colour[:, :, None, None]).abs().amax(1)
    columns, rows = deviation.mean(1), deviation.mean(2)
    return torch.stack([_run(columns), _run(columns.flip(1)), _run(rows), _run(rows.flip(1))], 1)


def _rim(pixels: Tensor) -> Tensor:
    """The outermost pixels: ``N × 3 × P``."""
    return torch.cat([pixels[:, :, 0], pixels[:, :, -1], pixels[:, :, :, 0], pixels[:, :, :, -1]], 2)


def _run(lines: Tensor) -> Tensor:
    """Leading lines within tolerance as a fraction of all: mean deviations ``N × L`` -> ``N``."""
    return (lines <= TOLERANCE).float().cumprod(1).mean(1)


ATTRIBUTE = Attribute(("border", "border_width"), measure, shares=("border",))
