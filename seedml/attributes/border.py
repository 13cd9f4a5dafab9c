"""Is the picture framed? By runs of constant colour that end in straight edges, on opposite sides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from seedml.attributes import Attribute, AttributeBatch
from seedml.colour import srgb_to_lab

STRICT, LENIENT = 10.0, 30.0
"""Mean deviation from the side's colour, in levels of 255, up to which a line of pixels belongs to the frame.

The lenient one, for frames that a decoder has smeared, only counts where the scene parser sees a border too.
"""
NARROWEST, NARROWEST_SMEARED = 0.007, 0.02
"""A frame is at least this wide, as a fraction of the side: one pixel of 128, four of 512."""
WIDEST = 0.25
"""A frame around the picture is at most this wide on half of its sides: what is wider is a plain background."""
WIDEST_BAR = 0.35
"""And so are bars on two or three sides: those of 21:9 in a square are 0.29."""
EDGE = 16.0
"""Deviation from the side's colour, in levels of 255, from which a pixel is not the frame's."""
STRAIGHT = 0.6
"""Share of the inner edge along which the picture differs from the frame: a plain background ends where the object
reaches out, at a few pixels; a frame ends along its whole length."""
VISIBLE = 0.3
"""Share of the edge that has to be seen at least, of all four sides together or of one of a pair of bars: a white
frame may run on into snow at the bottom."""
WHITE, BLACK, COLOURLESS = 85.0, 20.0, 12.0
"""CIELAB L* from which a frame is white, and up to which it is black; and the C* of both."""
_REACH = 0.36
"""How far from each side is looked, as a fraction of the side."""


class Sides(NamedTuple):
    """What is along the four sides of N pictures, in the order left, right, top, bottom."""

    colour: Tensor
    """``N × 4 × 3``, levels: the median of the side's outermost line."""
    width: Tensor
    """``N × 4``: the run of lines of that colour, as a fraction of the picture's width or height."""
    edge: Tensor
    """``N × 4``: share of the edge, between the other sides' runs, along which the picture just inside differs."""


def measure(batch: AttributeBatch) -> Mapping[str, Tensor]:
    """Presence, width and colour of a frame of near-constant colour, whatever the colour.

    ``border``: 1 where two opposite sides, three or all four have lines of one colour that end in a straight edge, else
    0 (:func:`_judge`). Bars above and below count; a plain sky or ground, or a plain background, does not.
    ``border_width``: (lower) median width of the framed sides as a fraction of the picture's width or height, 0..0.35;
    0 without a frame. ``border_left``, ``border_right``, ``border_top``, ``border_bottom``: the same of each side; 0
    where it is not framed.
    ``border_white``, ``border_black``: 1 where there is a frame whose mean colour has a CIELAB L* of at least
    :data:`WHITE` or at most :data:`BLACK` and a C* below :data:`COLOURLESS`, else 0; a frame that is neither is gray or
    coloured. Not the lightness itself, which most pictures have not. Source: ours; calibrated on rendered scenes and
    crops of two photographs.
    """
    sides = _look(batch.images, STRICT)
    framed, width = _judge(sides)
    if batch.reading is not None:
        missed = ((batch.reading.border > 0.5) & ~framed.any(1)).nonzero()[:, 0]
        smeared_width = _look(batch.images[missed], LENIENT).width
        framed[missed] = _runs_around(smeared_width, NARROWEST_SMEARED)[:, None]
        width[missed] = smeared_width.minimum(_median(smeared_width)[:, None])
    return _columns(sides.colour, framed, width)


def _columns(colour: Tensor, framed: Tensor, width: Tensor) -> Mapping[str, Tensor]:
    """Of the sides' colours (``N × 4 × 3``), which are framed, and how wide (``N × 4``)."""
    present = framed.any(1)
    widths = torch.where(framed, width, torch.nan)
    mean = (colour * framed[:, :, None]).sum(1) / framed.sum(1, keepdim=True).clamp(min=1)
    light, a, b = srgb_to_lab(mean[:, :, None])[:, :, 0].unbind(1)
    colourless = present & (torch.hypot(a, b) < COLOURLESS)
    left, right, top, bottom = widths.nan_to_num(0.0).unbind(1)
    return {
        "border": present.float(), "border_width": widths.nanmedian(1).values.nan_to_num(0.0),
        "border_left": left, "border_right": right, "border_top": top, "border_bottom": bottom,
        "border_white": (colourless & (light >= WHITE)).float(),
        "border_black": (colourless & (light <= BLACK)).float(),
    }  # fmt: skip


def _judge(sides: Sides) -> tuple[Tensor, Tensor]:
    """Which sides are framed, and how wide: ``N × 4`` bool, ``N × 4``.

    A frame all around: four runs of one colour, at least one straight edge, and an edge that can be seen along
    :data:`VISIBLE` of all. A pair of bars: two opposite runs of one colour whose edges are straight on average and can
    be seen on both; a third side like these joins them. Where the edge of a frame is not straight, the run may have
    gone on into the picture: that side is as wide as the median of the others.
    """
    wide = sides.width >= NARROWEST
    straight = wide & (sides.edge >= STRAIGHT)
    alike = _alike(sides.colour)  # N × 4 × 4
    around = wide.all(1) & alike.all(2).all(1) & straight.any(1) & (sides.edge.mean(1) >= VISIBLE)
    width = _straightened(sides.width, straight)
    around &= _median(width) <= WIDEST
    opposite = torch.tensor([1, 0, 3, 2], device=wide.device)
    edge_of_pair = (sides.edge + sides.edge[:, opposite]) / 2
    bar = wide & (sides.width <= WIDEST_BAR) & (sides.edge >= VISIBLE) & (edge_of_pair >= STRAIGHT)
    paired = bar & bar[:, opposite] & alike[:, torch.arange(4, device=bar.device), opposite]
    joined = bar & (alike & paired[:, None, :]).any(2)
    return around[:, None] | joined, torch.where(around[:, None], width, sides.width)


def _straightened(width: Tensor, straight: Tensor) -> Tensor:
    """Widths ``N × 4``, those without a straight edge no wider than the median of those with one."""
    usual = torch.where(straight, width, torch.nan).nanmedian(1, keepdim=True).values.nan_to_num(1.0)
    return torch.where(straight, width, width.minimum(usual))


def _alike(colour: Tensor) -> Tensor:
    """Which sides have one colour: ``N × 4 × 3`` levels -> ``N × 4 × 4`` bool."""
    return (colour[:, :, None] - colour[:, None]).abs().amax(3) <= STRICT


def _runs_around(width: Tensor, narrowest: float) -> Tensor:
    """Four runs that are not too wide: ``N × 4`` -> N bool."""
    return (width.amin(1) >= narrowest) & (_median(width) <= WIDEST)


def _median(width: Tensor) -> Tensor:
    """Lower median of the four sides."""
    return width.median(1).values


def _look(images: Tensor, tolerance: float) -> Sides:
    """Each side by itself: ``N × 3 × H × W`` uint8 -> its colour, run and edge, as far as :data:`_REACH`."""
    height, width = images.shape[2:]
    upright = images.transpose(2, 3)
    rows, columns = _lines(height), _lines(width)
    margins = [
        upright[:, :, :columns],
        upright[:, :, -columns:].flip(2),
        images[:, :, :rows],
        images[:, :, -rows:].flip(2),
    ]
    looked = [
        _look_from(margin, size, tolerance)
        for margin, size in zip(margins, (width, width, height, height), strict=True)
    ]
    colour, run, differs = (torch.stack(parts, 1) for parts in zip(*looked, strict=True))
    corners = run.clamp(max=WIDEST).view(-1, 2, 2).sum(2).flip(1).repeat_interleave(2, 1)  # the other pair's ends
    return Sides(colour, run, (differs / (1 - corners)).clamp(max=1))


def _lines(size: int) -> int:
    """How many lines of ``size`` are looked at."""
    return min(size, int(size * _REACH) + 2)


def _look_from(margin: Tensor, size: int, tolerance: float) -> tuple[Tensor, Tensor, Tensor]:
    """One side, whose outermost line comes first.

    Args:
        margin: ``N × 3 × D × L`` uint8: D lines of L pixels.
        size: lines that the whole picture has.
        tolerance: mean deviation of a line that belongs to the run, levels.

    Returns:
        Colour ``N × 3``, run ``N`` as a fraction of ``size``, and ``N``: share of L that differs just inside the run.

    """
    colour = margin[:, :, 0].median(2).values
    plain = colour[:, :, None, None]
    away = torch.maximum(margin, plain) - torch.minimum(margin, plain)  # |difference|, in uint8
    away = away.amax(1)  # N × D × L: in the worst channel
    inside = (away.float().mean(2) <= tolerance).float().cumprod(1).sum(1).long()
    step = max(1, round(0.01 * size))  # an edge may be soft
    lines = (inside[:, None] + torch.arange(step + 1, device=margin.device)).clamp(max=margin.shape[2] - 1)
    behind = away.gather(1, lines[:, :, None].expand(-1, -1, margin.shape[3])).amax(1)
    return colour.float(), inside / size, (behind > EDGE).float().mean(1)


ATTRIBUTE = Attribute(
    (
        "border", "border_width", "border_left", "border_right", "border_top", "border_bottom",
        "border_white", "border_black",
    ),
    measure,
    shares=("border", "border_white", "border_black"),
    version="2",
)  # fmt: skip
