"""A tile whose failed cells were made again: what was whole is copied, what is new takes its place."""

from __future__ import annotations

from seedml.generation.work import Work
from seedml.grid import Cell
from seedml.shards.dataset import ShardDataset
from seedml.shards.format import Marker, Record
from seedml.shards.reader import read_shard
from seedml.shards.writer import ShardWriter


class RetriedShard:
    """Like a :class:`~seedml.shards.writer.ShardWriter`, but takes the new cells only and adds the old ones itself.

    Args:
        dataset: holds the tile as it was.
        work: the tile, and its cells that were made again.

    """

    def __init__(self, dataset: ShardDataset, work: Work) -> None:
        self._dataset, self._work = dataset, work
        self._new: dict[Cell, Record] = {}

    def add(self, record: Record) -> None:
        """Take one new cell."""
        self._new[record.cell] = record

    def commit(self) -> Marker:
        """Write the whole tile in its order and make it exist in place of the old one."""
        tile = self._work.tile
        shard = ShardWriter(self._dataset.folder, tile.name, self._dataset.image_format, self._dataset.fingerprint)
        try:
            old = self._old()
            for cell in tile.cells():
                shard.add(self._new.get(cell) or old[cell])
            return shard.commit()
        finally:
            shard.abort()

    def abort(self) -> None:
        """Forget the new cells; the tile stays as it was."""
        self._new.clear()

    def _old(self) -> dict[Cell, Record]:
        size = self._dataset.model["height"], self._dataset.model["width"]
        old = {}
        for sample in read_shard(self._dataset.shard(self._work.tile), check_hash=True):
            cell = Cell(sample.seed, sample.prompt_id)
            old[cell] = Record(cell, sample.prompt, sample.split, sample.noise_sha256, *size, sample.encoded)
        return old
