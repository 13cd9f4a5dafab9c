"""Generated batches -> shards, beside the computation: worker threads encode, one thread writes in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import BasePredictionWriter

from seedml.generation.module import GeneratedBatch
from seedml.generation.retry import RetriedShard
from seedml.generation.stopping import StopRequests
from seedml.generation.work import Work
from seedml.shards.dataset import ShardDataset
from seedml.shards.format import Marker, Record, encode_image
from seedml.shards.mirror import Mirror
from seedml.shards.writer import ShardWriter

WAITING_BATCHES = 4
"""Batches computed but not yet written; the next one waits. Bounds the memory."""


class TileWriter(BasePredictionWriter):
    """Commits each tile when its last batch has come. A tile that is not finished leaves nothing behind.

    Args:
        dataset: where to write.
        requests: whether to stop.
        on_images: called with the number of images computed, in the main thread.
        on_tile: called with each committed piece of work and its tile's marker, in the main thread.
        mirror: gets each committed shard; ``None`` = there is none.

    """

    def __init__(
        self,
        dataset: ShardDataset,
        requests: StopRequests,
        on_images: Callable[[int], None],
        on_tile: Callable[[Work, Marker], None],
        mirror: Mirror | None = None,
    ) -> None:
        super().__init__(write_interval="batch")
        self._queue = ShardQueue(dataset, mirror)
        self._requests, self._on_images, self._on_tile = requests, on_images, on_tile
        self.stopped_by: BaseException | None = None
        """What ended prediction early."""

    def write_on_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        prediction: GeneratedBatch | None,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Hand the images on and return while they are encoded. Stops the run when that was asked for."""
        if prediction is not None:
            self._on_images(len(prediction.cells))
            self._tell(self._queue.put(prediction))
        else:
            self._tell(self._queue.collect())
        self._requests.check()

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Wait for the last tile."""
        self._tell(self._queue.close())

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Let finished tiles be written, drop the unfinished one."""
        self.stopped_by = exception
        self._tell(self._queue.close(after_error=True))

    def _tell(self, committed: list[tuple[Work, Marker]]) -> None:
        for work, marker in committed:
            self._on_tile(work, marker)


class ShardQueue:
    """Encodes in worker threads and writes in one, in the order of :meth:`put`. Their errors come at the next call."""

    def __init__(self, dataset: ShardDataset, mirror: Mirror | None = None) -> None:
        self._dataset, self._mirror = dataset, mirror
        self._encoders = ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="encode")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._jobs: deque[Future[tuple[Work, Marker] | None]] = deque()
        self._shard: ShardWriter | RetriedShard | None = None
        self._failed = self._closed = False

    def put(self, batch: GeneratedBatch) -> list[tuple[Work, Marker]]:
        """Queue a batch; waits while ``WAITING_BATCHES`` are unwritten. Returns the tiles committed meanwhile."""
        encoded = [self._encoders.submit(self._encode, batch, row) for row in range(len(batch.cells))]
        self._jobs.append(self._writer.submit(self._write, batch, encoded))
        return self.collect(WAITING_BATCHES)

    def close(self, *, after_error: bool = False) -> list[tuple[Work, Marker]]:
        """Write what is queued, drop a tile whose last batch never came, end the threads. A second call does nothing.

        Args:
            after_error: whether an error is on its way already; those of the queue are then not raised.

        """
        if self._closed:
            return []
        self._closed = True
        try:
            return self.collect(0)
        except BaseException:
            if not after_error:
                raise
            return []
        finally:
            self._writer.submit(self._drop).result()
            self._encoders.shutdown(cancel_futures=True)
            self._writer.shutdown(cancel_futures=True)

    def collect(self, most_waiting: int = WAITING_BATCHES) -> list[tuple[Work, Marker]]:
        """The tiles committed since the last call; waits while more than ``most_waiting`` batches are unwritten."""
        committed = []
        while self._jobs and (len(self._jobs) > most_waiting or self._jobs[0].done()):
            done = self._jobs.popleft().result()
            if done is not None:
                committed.append(done)
        return committed

    def _encode(self, batch: GeneratedBatch, row: int) -> tuple[bytes | None, str]:
        """In an encoding thread: the image file, or why there is none."""
        reason = batch.wait().reason(row)
        if reason:
            return None, reason
        return encode_image(batch.pixels(row), self._dataset.image_format), ""

    def _write(
        self, batch: GeneratedBatch, encoded: Sequence[Future[tuple[bytes | None, str]]]
    ) -> tuple[Work, Marker] | None:
        """In the writing thread: append to the tile's shard, commit it after its last batch."""
        if self._failed:
            return None  # a tile with a gap must never be committed
        try:
            if self._shard is None:
                self._shard = self._open(batch.work)
            for record in _records(batch, encoded, self._dataset):
                self._shard.add(record)
            if not batch.last:
                return None
            marker = self._shard.commit()
            self._shard = None
            if self._mirror is not None:
                self._mirror.publish(self._dataset.shard(batch.work.tile))
            return batch.work, marker
        except BaseException:
            self._failed = True
            raise

    def _open(self, work: Work) -> ShardWriter | RetriedShard:
        if work.retries:
            return RetriedShard(self._dataset, work)
        return ShardWriter(self._dataset.folder, work.tile.name, self._dataset.image_format, self._dataset.fingerprint)

    def _drop(self) -> None:
        if self._shard is not None:
            self._shard.abort()
            self._shard = None


def _records(
    batch: GeneratedBatch, encoded: Sequence[Future[tuple[bytes | None, str]]], dataset: ShardDataset
) -> list[Record]:
    height, width = batch.images.shape[2:]
    return [
        Record(
            cell, dataset.prompts[cell.prompt_id].text, batch.work.tile.split, noise, height, width, *future.result()
        )
        for cell, noise, future in zip(batch.cells, batch.noise_sha256, encoded, strict=True)
    ]
