"""What there is to make, and which part of it comes next, whoever else is at work on the same folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from seedml.grid import Cell, Tile
from seedml.shards.claims import Claims
from seedml.shards.dataset import ShardDataset

POLL_SECONDS = 0.5
"""Between two looks at tiles that other processes make."""


@dataclass(frozen=True)
class Work:
    """A tile, or those cells of it that failed before."""

    tile: Tile
    cells: tuple[Cell, ...]
    """Sorted by (seed, prompt_id)."""

    @property
    def retries(self) -> bool:
        """Whether the tile exists and only failed cells of it are made again."""
        return len(self.cells) < len(self.tile)


def find_work(dataset: ShardDataset, tiles: Sequence[Tile], *, retry_failed: bool) -> list[Work]:
    """What is missing and, where asked for, what failed; in the tiles' order."""
    done = dataset.markers(tiles)
    work = []
    for tile in tiles:
        marker = done.get(tile)
        if marker is None:
            work.append(Work(tile, tuple(tile.cells())))
        elif retry_failed and marker.count < marker.cells:
            work.append(Work(tile, tuple(dataset.failed(tile))))
    return work


class Progress:
    """Which of the given tiles were finished, by anybody, since this was made: their markers are new."""

    def __init__(self, dataset: ShardDataset, work: Sequence[Work]) -> None:
        self._paths = {item.tile.name: dataset.shard(item.tile).with_suffix(".json") for item in work}
        self._before = {name: _written(path) for name, path in self._paths.items()}

    def is_done(self, tile: str) -> bool:
        """Whether the tile's marker was written since."""
        return _written(self._paths[tile]) not in (None, self._before[tile])


def _written(marker: Path) -> int | None:
    try:
        return marker.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def next_work(
    work: Sequence[Work], claims: Claims, progress: Progress, on_elsewhere: Callable[[Work], None]
) -> Iterator[Work | None]:
    """Claimed pieces of work, one after another, until all are done by somebody; ``None``: look again in a moment.

    A process that has nothing to do waits for the others, and takes over what a dead one leaves.

    Args:
        work: what was to do at the beginning.
        claims: of this process.
        progress: knows what is done.
        on_elsewhere: called with each piece that another process has finished.

    """
    left = {item.tile.name: item for item in work}
    while left:
        for name in [name for name in left if progress.is_done(name)]:
            on_elsewhere(left.pop(name))
        claimed = next((item for name, item in left.items() if claims.take(name)), None)
        if claimed is not None:
            del left[claimed.tile.name]
        elif left:
            time.sleep(POLL_SECONDS)
        if claimed is not None or left:
            yield claimed
