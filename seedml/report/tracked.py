"""The page's galleries, ranks and heat map as pictures and a table, for the tracker: W&B shows neither SVG nor HTML."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from seedml.report.attribute_sections import attribute_sections
from seedml.report.classifier_open_set import attention_part
from seedml.report.galleries import best_and_worst
from seedml.report.galleries import grid as grid_of
from seedml.report.inputs import Run, SeedRow
from seedml.report.likeness_section import MARK, score_table
from seedml.report.pictures import SIDE, CellKey, Picture
from seedml.tracking import Tracker

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

    from seedml.report.galleries import Frame, GridRow, PictureGrid
    from seedml.report.likeness_section import ScoreTable

Pixels = NDArray[np.uint8]

_GAP, _LABEL, _HEAD = 4, 150, 20
_CELL = 12
_BELOW, _MEAN, _ABOVE = (11, 90, 135), (233, 236, 239), (179, 84, 30)
_PLOT_HEIGHT, _PLOT_WIDTH, _MARGIN = 320, 1200, 24
_OF_VERDICT = {"golden": _BELOW, "inferior": _ABOVE}
_OTHERS = (134, 142, 150)


def tell_pictures(run: Run, pictures: Mapping[CellKey, Picture], tracker: Tracker) -> None:
    """Golden and inferior seeds, ranks, attributes' strips, maps of attention; the heat map also as a table."""
    tracker.uses("per-seed-table", "classifier", "seedbook")
    for name, seeds in zip(("golden", "inferior"), best_and_worst(run), strict=True):
        if pictures and seeds:
            title = f"{name.capitalize()} seeds" if run.chosen(name) else f"Seeds at the {name} end of FID"
            tracker.image(f"gallery/{name}", strips((grid_of(run, pictures, seeds, title),)), title)
    ranked = sorted((row for row in run.seeds if row.rank is not None and row.fid), key=lambda row: row.rank or 0)
    if ranked:
        caption = "FID of the seeds by rank, with intervals; blue: golden, orange: inferior"
        tracker.image("ranks", rank_pixels(ranked), caption)
    for section in attribute_sections(run, pictures):
        if pictures and section.grids:
            tracker.image(f"strips/{section.anchor.removeprefix('attribute-')}", strips(section.grids), section.title)
    attention = attention_part(run, pictures)
    if attention is not None and attention.grids:
        tracker.image("strips/grad_cam", strips(attention.grids), " ".join(attention.findings))
    table = score_table(run)
    if table is not None:
        caption = "Seeds (columns) by attributes (rows): " + ", ".join(a.column for a in table.attributes)
        tracker.image("heat_map", heat_pixels(table), caption)
        tracker.table("heat_map", _frame_of(run, table))


def rank_pixels(rows: Sequence[SeedRow]) -> Pixels:
    """FID by rank as bars from low to high with a dot, ``H × W × 3`` uint8; the best seed is on the left.

    Args:
        rows: in the order of their ranks, each with its FID.

    """
    from PIL import Image, ImageDraw

    values = [row.fid for row in rows if row.fid is not None]
    lows = [value.low if value.low is not None else value.value for value in values]
    highs = [value.high if value.high is not None else value.value for value in values]
    bottom, top = min(lows), max(highs)
    pitch = max(3, min(24, _PLOT_WIDTH // len(rows)))
    sheet = Image.new("RGB", (2 * _MARGIN + pitch * len(rows), _PLOT_HEIGHT), "white")
    pen = ImageDraw.Draw(sheet)

    def height(value: float) -> float:
        share = (value - bottom) / (top - bottom) if top > bottom else 0.5
        return _PLOT_HEIGHT - _MARGIN - share * (_PLOT_HEIGHT - 2 * _MARGIN)

    for place, (row, value, low, high) in enumerate(zip(rows, values, lows, highs, strict=True)):
        colour, x = _OF_VERDICT.get(row.verdict, _OTHERS), _MARGIN + pitch * place + pitch // 2
        pen.line((x, height(low), x, height(high)), fill=colour)
        pen.ellipse((x - 1, height(value.value) - 1, x + 1, height(value.value) + 1), fill="black")
    pen.text((2, 4), f"FID {top:.3g}", fill="black")
    pen.text((2, _PLOT_HEIGHT - 16), f"{bottom:.3g}", fill="black")
    return np.asarray(sheet)


def strips(grids: tuple[PictureGrid, ...]) -> Pixels:
    """Grids below each other, ``H × W × 3`` uint8: a caption each, a row a seed with its number and note."""
    from PIL import Image, ImageDraw

    across = max(len(row.frames) for grid in grids for row in grid.rows)
    rows = sum(len(grid.rows) for grid in grids)
    size = (_LABEL + across * (SIDE + _GAP), len(grids) * _HEAD + rows * (SIDE + _GAP))
    sheet, y = Image.new("RGB", size, "white"), 0
    pen = ImageDraw.Draw(sheet)
    for grid in grids:
        pen.text((4, y + 4), grid.caption, fill="black")
        y += _HEAD
        for row in grid.rows:
            _draw_row(sheet, row, y)
            y += SIDE + _GAP
    return np.asarray(sheet)


def _draw_row(sheet: Image.Image, row: GridRow, top: int) -> None:
    from PIL import ImageDraw

    note = row.note.replace(" (", "\n(").replace(", q", "\nq")
    ImageDraw.Draw(sheet).text((4, top + 4), f"seed {row.seed}\n{row.verdict}\n{note}", fill="black")
    for place, frame in enumerate(row.frames):
        if frame.picture is not None:
            sheet.paste(_opened(frame), (_LABEL + place * (SIDE + _GAP), top))


def _opened(frame: Frame) -> Image.Image:
    from PIL import Image

    assert frame.picture is not None, "the caller looked"
    return Image.open(io.BytesIO(base64.b64decode(frame.picture.uri.partition(",")[2]))).convert("RGB")


def heat_pixels(table: ScoreTable) -> Pixels:
    """Scores as colours, ``12 A × 12 S × 3`` uint8: blue below, orange above the mean, full at three deviations."""
    strength = np.clip(np.nan_to_num(table.scores.T), -3, 3)[:, :, None] / 3
    ends = np.where(strength < 0, np.array(_BELOW, float), np.array(_ABOVE, float))
    colours = np.array(_MEAN, float) + np.abs(strength) * (ends - _MEAN)
    return np.asarray(colours.round().astype(np.uint8).repeat(_CELL, axis=0).repeat(_CELL, axis=1))


def _frame_of(run: Run, table: ScoreTable) -> pd.DataFrame:
    import pandas as pd

    columns: dict[str, list[object]] = {"seed": list(table.seeds)}
    for place, attribute in enumerate(table.attributes):
        columns[attribute.column] = [float(score) for score in table.scores[:, place]]
        q_values = [row.q_values.get(attribute.column, np.nan) for seed in table.seeds if (row := run.row(seed))]
        columns[f"{attribute.column}_marked"] = [bool(q <= MARK) for q in q_values]
    return pd.DataFrame(columns)
