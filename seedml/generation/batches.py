"""The order of work: tiles -> batches of cells. Every tile is cut into batches of one shape, whoever makes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch.utils.data import IterableDataset

from seedml.grid import Cell, Tile


class CellBatch(NamedTuple):
    """One forward pass of a tile."""

    tile: Tile
    cells: list[Cell]
    """All of one length, the sampler's batch size."""
    real: int
    """The first so many cells are asked for; the rest repeat the last one, to keep the shape."""
    last: bool
    """Whether this batch ends its tile."""


class PendingTiles(IterableDataset[CellBatch]):
    """The batches of the given tiles, tile after tile. Holds cells, not images: iterate it in the main process."""

    def __init__(self, tiles: Sequence[Tile], batch_size: int) -> None:
        self._tiles, self._batch_size = tiles, batch_size

    def __iter__(self) -> Iterator[CellBatch]:
        for tile in self._tiles:
            yield from tile_batches(tile, self._batch_size)


def tile_batches(tile: Tile, batch_size: int) -> Iterator[CellBatch]:
    """The tile's cells by (seed, prompt_id) in batches of exactly ``batch_size``."""
    batches = tile.batches(batch_size)
    for number, cells in enumerate(batches, start=1):
        last = number == len(batches)
        yield CellBatch(tile, cells, batch_size - tile.padding(batch_size) if last else batch_size, last)
