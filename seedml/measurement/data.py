"""Tiles that are not measured yet -> batches of their images, shared out between ranks and workers by whole tiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import pytorch_lightning as pl
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from seedml.measurement.module import TileBatch
from seedml.shards.reader import read_batches


class TileImages(IterableDataset[TileBatch]):
    """Batches of each tile in turn, in the tile's order; no batch mixes tiles.

    Lightning would give every rank everything of an iterable data set, so rank and world size are told.
    """

    def __init__(self, shards: Sequence[Path], batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        self.shards, self.batch_size = list(shards), batch_size
        self.rank, self.world_size = rank, world_size

    def __iter__(self) -> Iterator[TileBatch]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        share = islice(self.shards, self.rank * workers + number, None, self.world_size * workers)
        for shard in share:
            for samples in read_batches([shard], self.batch_size):
                yield TileBatch(shard.stem, samples)


class TileData(pl.LightningDataModule):
    """:class:`TileImages` as Lightning wants it, with the trainer's rank."""

    def __init__(self, shards: Sequence[Path], batch_size: int, num_workers: int = 0) -> None:
        super().__init__()
        self.shards, self.batch_size, self.num_workers = list(shards), batch_size, num_workers

    def predict_dataloader(self) -> DataLoader[TileBatch]:
        """Batches of this rank."""
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        images = TileImages(self.shards, self.batch_size, rank, world_size)
        return DataLoader(images, batch_size=None, num_workers=self.num_workers)
