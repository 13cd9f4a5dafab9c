"""The table of all seeds: every cell carries the number it sorts by beside the text it shows."""

from __future__ import annotations

from typing import NamedTuple

from seedml.report.inputs import Run, SeedRow
from seedml.report.numbers import Estimate, interval, percent, shown, text
from seedml.report.vocabulary import wording


class Column(NamedTuple):
    """A column: its heading, what it means, whether a first click sorts it downwards, and the name of its number."""

    title: str
    meaning: str
    descending: bool = False
    key: str = ""


class Cell(NamedTuple):
    """A cell: what it shows, what it sorts by (empty: always last), its interval, whether it differs beyond doubt."""

    text: str
    key: str
    bounds: str = ""
    differs: bool = False


class TableRow(NamedTuple):
    """One seed with its cells, in the order of the columns."""

    seed: int
    verdict: str
    cells: tuple[Cell, ...]


class SeedTable(NamedTuple):
    """Columns after the seed and its verdict, and a row per seed."""

    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]

    @property
    def tested(self) -> tuple[Column, ...]:
        """Columns in which some seed differs from the average seed beyond doubt."""
        return tuple(
            column for place, column in enumerate(self.columns) if any(row.cells[place].differs for row in self.rows)
        )


def seed_table(run: Run) -> SeedTable:
    """The table, by FID where there is one, else by seed."""
    columns = [
        Column("Rank", "1 is the lowest FID", key="fid_rank"),
        Column("FID", "Fréchet distance to the reference; lower is better", key="fid"),
        Column("Images", "images that the row's numbers rest on", descending=True, key="n"),
    ]
    with_accuracy = any(row.accuracy is not None for row in run.seeds)
    if with_accuracy:
        meaning = "share of the held-out pictures in which the classifier names this seed"
        columns.append(Column("Recognised", meaning, key="recognised"))
    for attribute in run.attributes:
        words = wording(attribute.column, attribute.share)
        columns.append(Column(words.title, words.reading, descending=True, key=attribute.column))
    ranked = sorted(run.seeds, key=lambda row: (row.rank is None, row.rank or 0, row.seed))
    return SeedTable(tuple(columns), tuple(_row(run, row, with_accuracy) for row in ranked))


def _row(run: Run, row: SeedRow, with_accuracy: bool) -> TableRow:
    cells = [_count(row.rank), _cell(row.fid)._replace(differs=run.differs(row, "fid")), _count(row.n)]
    if with_accuracy:
        cells.append(Cell(percent(row.accuracy), "" if row.accuracy is None else repr(row.accuracy)))
    for attribute in run.attributes:
        cell = _cell(row.values.get(attribute.column), attribute.share)
        cells.append(cell._replace(differs=run.differs(row, attribute.column)))
    return TableRow(row.seed, row.verdict, tuple(cells))


def _count(value: int | None) -> Cell:
    return Cell(text(value, 0), "" if value is None else str(value))


def _cell(entry: Estimate | None, share: bool = False) -> Cell:
    return Cell(shown(entry, share), "" if entry is None else repr(entry.value), interval(entry, share))
