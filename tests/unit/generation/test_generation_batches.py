"""The order of work follows from the tile alone."""

from __future__ import annotations

from seedml.generation.batches import PendingTiles, tile_batches
from seedml.grid import Tile

TILE = Tile("train", 3, (7, 2, 5), (11, 4))


def test_every_batch_has_one_shape_and_the_last_is_padded() -> None:
    batches = list(tile_batches(TILE, 4))
    assert [len(batch.cells) for batch in batches] == [4, 4]
    assert [batch.real for batch in batches] == [4, 2]
    assert [batch.last for batch in batches] == [False, True]
    assert [cell for batch in batches for cell in batch.cells[: batch.real]] == TILE.cells()
    assert batches[1].cells[2:] == [TILE.cells()[-1]] * 2


def test_a_tile_that_fills_its_batches_is_not_padded() -> None:
    assert [(batch.real, batch.last) for batch in tile_batches(TILE, 3)] == [(3, False), (3, True)]
    assert [(batch.real, batch.last) for batch in tile_batches(TILE, 64)] == [(6, True)]


def test_tiles_come_one_after_the_other_and_every_time_alike() -> None:
    other = Tile("test", 0, (1,), (9,))
    work = PendingTiles([TILE, other], 4)
    assert [batch.tile for batch in work] == [TILE, TILE, other]
    assert list(work) == list(work)
