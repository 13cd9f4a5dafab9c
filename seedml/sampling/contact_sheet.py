"""Pictures of a prompt on one sheet: a row or more for each group of seeds, the seed below each picture."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

SIDE = 256
"""Longest side of a picture on the sheet, px; larger ones are reduced, smaller ones stay."""
ACROSS = 8
"""Pictures in a row at most."""
_GAP, _TEXT = 8, 14
_LINE = _TEXT + 6
_INK, _PAPER = "black", "white"


class Captioned(NamedTuple):
    """A picture and what is written below it."""

    pixels: NDArray[np.uint8]
    """H × W × 3, 0..255."""
    caption: str


def contact_sheet(title: str, groups: Mapping[str, Sequence[Captioned]]) -> Image.Image:
    """The sheet. All pictures are of one size.

    Args:
        title: above all, in as many lines as it takes.
        groups: heading -> pictures, in order; no group is empty.

    """
    thumbs = {heading: [_small(item.pixels) for item in items] for heading, items in groups.items()}
    width, height = next(iter(thumbs.values()))[0].size
    across = min(ACROSS, max(len(items) for items in groups.values()))
    full = _GAP + across * (width + _GAP)
    font = ImageFont.load_default(_TEXT)
    lines = textwrap.wrap(title, max(10, int(full / (_TEXT * 0.55)))) or [""]
    rows = sum(-(-len(items) // across) for items in groups.values())
    step = height + _LINE + _GAP
    sheet = Image.new("RGB", (full, _GAP + _LINE * (len(lines) + len(groups)) + rows * step), _PAPER)
    pen, top = ImageDraw.Draw(sheet), _GAP
    for line in lines:
        pen.text((_GAP, top), line, _INK, font)
        top += _LINE
    for heading, items in groups.items():
        pen.text((_GAP, top), heading, _INK, font)
        top += _LINE
        for at, (thumb, item) in enumerate(zip(thumbs[heading], items, strict=True)):
            left, above = _GAP + at % across * (width + _GAP), top + at // across * step
            sheet.paste(thumb, (left, above))
            pen.text((left, above + height), _cut(item.caption, width, font), _INK, font)
        top += -(-len(items) // across) * step
    return sheet


def _small(pixels: NDArray[np.uint8]) -> Image.Image:
    image = Image.fromarray(pixels)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return image


def _cut(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """As much of the text as fits in ``width`` px."""
    while text and font.getlength(text) > width:
        text = text[:-1]
    return text
