"""The order of work follows from the tile alone."""

from __future__ import annotations

import pytest

from seedml.generation.batches import WorkBatches, work_batches
from seedml.generation.work import Work
from seedml.grid import Cell, Tile

TILE = Tile("train", 3, (7, 2, 5), (11, 4))
WORK = Work(TILE, tuple(TILE.cells()))


def test_every_batch_has_one_shape_and_the_last_is_padded() -> None:
    batches = list(work_batches(WORK, 4))
    assert [len(batch.cells) for batch in batches] == [4, 4]
    assert [batch.real for batch in batches] == [4, 2]
    assert [batch.last for batch in batches] == [False, True]
    assert [cell for batch in batches for cell in batch.cells[: batch.real]] == TILE.cells()
    assert batches[1].cells[2:] == [TILE.cells()[-1]] * 2


@pytest.mark.parametrize("size", [1, 2, 4, 5, 6, 7, 32])
def test_batches_have_one_shape_and_repeat_only_the_last_cell(size: int) -> None:
    tile = Tile("test", 0, (2, 0, 1), (8, 5))
    batches = list(work_batches(Work(tile, tuple(tile.cells())), size))
    assert {len(batch.cells) for batch in batches} == {size}
    flat = [cell for batch in batches for cell in batch.cells]
    assert flat[:6] == tile.cells() == [Cell(s, p) for s in (0, 1, 2) for p in (5, 8)]
    padding = -6 % size
    assert flat[6:] == [Cell(2, 8)] * padding
    assert [batch.real for batch in batches] == [size] * (len(batches) - 1) + [size - padding]


def test_a_tile_that_fills_its_batches_is_not_padded() -> None:
    assert [(batch.real, batch.last) for batch in work_batches(WORK, 3)] == [(3, False), (3, True)]
    assert [(batch.real, batch.last) for batch in work_batches(WORK, 64)] == [(6, True)]


def test_some_cells_of_a_tile_come_alone() -> None:
    failed = (TILE.cells()[1], TILE.cells()[4])
    (batch,) = work_batches(Work(TILE, failed), 4)
    assert (batch.cells, batch.real, batch.last) == ([*failed, failed[1], failed[1]], 2, True)
    assert batch.work.retries
    assert not WORK.retries


def test_work_comes_piece_after_piece_with_pauses_in_between() -> None:
    other = Tile("test", 0, (1,), (9,))
    batches = list(WorkBatches([WORK, None, Work(other, tuple(other.cells()))], 4))
    assert [batch and batch.work.tile for batch in batches] == [TILE, TILE, None, other]
