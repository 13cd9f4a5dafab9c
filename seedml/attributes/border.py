"""Is the picture framed? By a run of constant colour along all four sides."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from seedml.attributes import Attribute, AttributeBatch

STRICT, LENIENT = 10.0, 30.0
"""Mean deviation from the frame's colour, in levels of 255, up to which a line of pixels belongs to the frame.

The lenient one, for frames that a decoder has smeared, only counts where the scene parser sees a border too.
"""
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
    deviation = _frame_deviation(batch.images)
    framed, width = _judge(deviation, STRICT)
    if batch.reading is not None:
        seen, smeared_width = _judge(deviation, LENIENT)
        smeared = seen & (batch.reading.border > 0.5) & ~framed
        framed, width = framed | smeared, torch.where(smeared, smeared_width, width)
    return {"border": framed.float(), "border_width": torch.where(framed, width, 0.0)}


def _judge(deviation: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """Whether there is a frame (N bool), and how wide (N)."""
    widths = _frame_widths(deviation, tolerance)
    middle = widths.median(1).values
    return (widths.amin(1) >= NARROWEST) & (middle <= WIDEST), middle


def _frame_deviation(images: Tensor) -> Tensor:
    """``N × 3 × H × W`` uint8 -> ``N × H × W`` levels: distance from the frame's colour in the worst channel.

    The frame's colour is the median of the outermost pixels.
    """
    pixels = images.float()
    rim = torch.cat([pixels[:, :, 0], pixels[:, :, -1], pixels[:, :, :, 0], pixels[:, :, :, -1]], 2)
    return (pixels - rim.median(2).values[:, :, None, None]).abs().amax(1)


def _frame_widths(deviation: Tensor, tolerance: float) -> Tensor:
    """Runs of lines within tolerance from left, right (fractions of W), top and bottom (of H): ``N × 4``."""
    columns, rows = deviation.mean(1), deviation.mean(2)
    return torch.stack([_run(side, tolerance) for side in (columns, columns.flip(1), rows, rows.flip(1))], 1)


def _run(lines: Tensor, tolerance: float) -> Tensor:
    """Leading lines within tolerance as a fraction of all: mean deviations ``N × L`` -> ``N``."""
    return (lines <= tolerance).float().cumprod(1).mean(1)


ATTRIBUTE = Attribute(("border", "border_width"), measure, shares=("border",))
