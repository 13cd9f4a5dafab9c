"""The order of work: tiles -> batches of cells. Every tile is cut into batches of one shape, whoever makes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from torch.utils.data import IterableDataset

from seedml.generation.work import Work
from seedml.grid import Cell


class CellBatch(NamedTuple):
    """One forward pass of a tile."""

    work: Work
    cells: list[Cell]
    """All of one length, the sampler's batch size."""
    real: int
    """The first so many cells are asked for; the rest repeat the last one, to keep the shape."""
    last: bool
    """Whether this batch ends its tile."""


class WorkBatches(IterableDataset[CellBatch | None]):
    """The batches of each piece of work in turn; ``None`` where there is nothing to do at the moment.

    Holds cells, not images: iterate it in the main process. Lightning asks for a batch while the one before is still
    to be computed, so the work must not wait in between for what this process itself has in hand: hence the ``None``.
    """

    def __init__(self, work: Iterable[Work | None], batch_size: int) -> None:
        self._work, self._batch_size = work, batch_size

    def __iter__(self) -> Iterator[CellBatch | None]:
        for item in self._work:
            if item is None:
                yield None
            else:
                yield from work_batches(item, self._batch_size)


def work_batches(work: Work, batch_size: int) -> Iterator[CellBatch]:
    """The cells in their order in batches of exactly ``batch_size``: the last one repeats its last cell.

    The shape of a batch changes pixels by rounding, so a tile's bytes follow only from batches of one shape.
    """
    assert batch_size >= 1, "a batch holds at least one cell"
    for start in range(0, len(work.cells), batch_size):
        cells = list(work.cells[start : start + batch_size])
        real = len(cells)
        cells += [cells[-1]] * (batch_size - real)
        yield CellBatch(work, cells, real, last=start + batch_size >= len(work.cells))
