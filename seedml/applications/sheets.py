"""Contact sheets: small pictures in rows and columns with a label before each row. Knows no seeds and no prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from seedml.files import atomic_path

SIDE = 128
"""Longest side of a picture on a sheet, px."""
_GAP, _LABEL, _HEAD = 4, 130, 20

Pixels = NDArray[np.uint8]
"""H × W × 3, 0..255."""


def thumbnail(picture: Pixels) -> Pixels:
    """A copy of at most :data:`SIDE` × :data:`SIDE` px."""
    image = Image.fromarray(picture)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return np.asarray(image)


def contact_sheet(
    rows: Sequence[tuple[str, Sequence[Pixels | None]]], headings: Sequence[str] = (), cut: int = 20
) -> Pixels:
    """Pictures in a grid.

    Args:
        rows: each a label (lines end with a line feed) and its pictures; ``None`` leaves a gap.
        headings: above the columns; longer ones are cut.
        cut: letters of a heading that are shown.

    """
    across = max(len(pictures) for _, pictures in rows)
    size = (_LABEL + across * (SIDE + _GAP), _HEAD + len(rows) * (SIDE + _GAP))
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for column, heading in enumerate(headings):
        pen.text((_LABEL + column * (SIDE + _GAP), 4), heading[:cut], fill="black")
    for place, (label, pictures) in enumerate(rows):
        top = _HEAD + place * (SIDE + _GAP)
        pen.text((4, top + 4), label, fill="black")
        for column, picture in enumerate(pictures):
            if picture is not None:
                sheet.paste(Image.fromarray(thumbnail(picture)), (_LABEL + column * (SIDE + _GAP), top))
    return np.asarray(sheet)


def write_sheet(path: Path, sheet: Pixels) -> None:
    """The sheet as PNG; the file is there whole or not at all."""
    with atomic_path(path) as temporary:
        Image.fromarray(sheet).save(temporary, "PNG", optimize=True)
