"""Images and labels for the seed classifier as batches, their order, and its place in an epoch. Knows no network.

The data set is read by row, and the orders say which rows make which batch in which process: what is seen follows from
(seed, epoch, rank, world size) alone. Worker processes get whole batches to read, so their number changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from seedml.classifier.cache import Integers
from seedml.classifier.split_images import SplitImages
from seedml.errors import UserError
from seedml.noise import generator

EVALUATION_BATCH = 256
MOST_WORKERS = 16
"""Processes that read for one that trains, unless more are asked for."""


class Batch(NamedTuple):
    """Images with their labels."""

    images: Tensor
    """N × 3 × S × S uint8 0..255, channels last in memory."""
    labels: Tensor
    """N int64: place of the image's seed among the study's."""
    rows: Tensor
    """N int64: place of the image in its split, by (seed, prompt_id)."""


def class_labels(split: SplitImages, class_seeds: Sequence[int]) -> Integers:
    """N int64: the place of each image's seed among ``class_seeds``, which are ascending."""
    return np.searchsorted(np.asarray(class_seeds, np.int64), split.seeds)


def labels_shuffled_within_prompts(labels: Integers, prompt_ids: Integers, seed: int) -> Integers:
    """The labels of each prompt's images, permuted by a permutation of that prompt's own.

    Within a prompt every seed occurs as often as before, so prompts still say nothing about labels; across prompts a
    seed's labels have nothing in common, so images say nothing either. What is left to learn is nothing.

    Args:
        labels: N int64.
        prompt_ids: N int64.
        seed: of the permutations.

    """
    shuffled = labels.copy()
    by_prompt = np.argsort(prompt_ids, kind="stable")
    starts = np.flatnonzero(np.diff(prompt_ids[by_prompt])) + 1
    for here in np.split(by_prompt, starts):
        order = np.random.default_rng([seed, int(prompt_ids[here[0]])]).permutation(len(here))
        shuffled[here] = labels[here[order]]
    return shuffled


class SeedImages(Dataset[Batch]):
    """A split as batches: ``images[indices]``."""

    def __init__(self, split: SplitImages, labels: Integers) -> None:
        assert len(split) == len(labels), "one label an image"
        self.split = split
        self._labels = labels.astype(np.int32)  # workers that are spawned get a copy of it each

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, indices: Sequence[int]) -> Batch:
        chosen = np.asarray(indices, np.int64)
        threads = self.split.threads if get_worker_info() is None else 1
        images = torch.from_numpy(self.split.pixels(chosen, threads=threads)).permute(0, 3, 1, 2)
        return Batch(images, torch.from_numpy(self._labels[chosen].astype(np.int64)), torch.from_numpy(chosen))


class _ErrorsAsValues(Dataset["Batch | UserError"]):
    """Batches, or what is wrong with a shard: a worker's exception would reach its reader as a traceback."""

    def __init__(self, images: SeedImages) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, indices: Sequence[int]) -> Batch | UserError:
        try:
            return self._images[indices]
        except UserError as error:
            return error


class BatchLoader(DataLoader[Batch]):
    """The batches of an order; what is wrong with a shard is raised here, whoever read it.

    Args:
        images: to read from.
        order: of the batches.
        workers: processes that read; 0 = this one.

    """

    def __init__(self, images: SeedImages, order: Sampler[list[int]], workers: int) -> None:
        super().__init__(
            _ErrorsAsValues(images), batch_size=None, sampler=order, num_workers=workers,  # type: ignore[arg-type]
            persistent_workers=workers > 0, pin_memory=torch.cuda.is_available(),
            generator=generator(0),  # drawn from at each epoch's begin: not from torch's own, which dropout draws from
        )  # fmt: skip

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        for read in super().__iter__():
            if isinstance(read, UserError):
                raise read
            yield read


class TrainingOrder(Sampler[list[int]]):
    """Each epoch's batches: every image exactly once over all processes, in an order of the epoch's own.

    An epoch is one random order of all images, cut into steps, each of which is shared out between the processes. All
    get the same number of batches, or gradient synchronisation would hang; their sizes differ by one at most, so none
    is too small for batch normalisation either.

    Args:
        count: images.
        batch_size: images in a batch of one process.
        seed: of the order.
        rank: of this process.
        world_size: processes.
        epoch: that comes first.
        batch: to begin that epoch with; those before were seen before an interruption.

    Raises:
        UserError: there are more processes than images.

    """

    def __init__(
        self, count: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1, epoch: int = 0, batch: int = 0
    ) -> None:
        self._count, self._seed, self._rank, self._world_size = count, seed, rank, world_size
        self._batches = _even_batches(count, batch_size, world_size)
        self._begun = epoch, batch
        self.epoch = epoch

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch; too late for the first one after a resume."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return self._batches

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng([self._seed, self.epoch]).permutation(self._count)
        begun, batch = self._begun
        for step in range(batch if self.epoch == begun else 0, self._batches):
            yield _share(order, step, self._batches)[self._rank :: self._world_size].tolist()


class EvaluationOrder(Sampler[list[int]]):
    """Every image exactly once over all processes, in order, and as many batches for each process.

    Args:
        count: images.
        batch_size: images in a batch of one process.
        rank: of this process.
        world_size: processes.

    Raises:
        UserError: there are more processes than images.

    """

    def __init__(self, count: int, batch_size: int = EVALUATION_BATCH, rank: int = 0, world_size: int = 1) -> None:
        self._count, self._rank, self._world_size = count, rank, world_size
        self._batches = _even_batches(count, batch_size, world_size)

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[list[int]]:
        order = np.arange(self._count)
        for step in range(self._batches):
            yield _share(order, step, self._batches)[self._rank :: self._world_size].tolist()


def _even_batches(count: int, batch_size: int, world_size: int) -> int:
    """How many batches each process gets: as few as hold ``count`` images, and none of them empty."""
    if count < world_size:
        raise UserError(
            f"{world_size} processes cannot share {count} images", remedy="use fewer with trainer.devices=…",
        )  # fmt: skip
    return min(-(-count // (batch_size * world_size)), count // world_size)


def _share(items: Integers, place: int, shares: int) -> Integers:
    """One of as many nearly equal parts of ``items``, in order."""
    return items[len(items) * place // shares : len(items) * (place + 1) // shares]


class SeedDataModule(pl.LightningDataModule):
    """Loaders of :class:`Batch` over train, val and test, which share no prompt. Checkpoints hold the epoch's place.

    Args:
        prepare: indexes the splits, or opens them; called in one process first, then in all.
        label: a split -> its labels (N int64).
        batch_size: images in a training batch of one process.
        seed: of the order of training.
        num_workers: processes that read, for each loader; 0 = the training process itself; ``None`` = as many as it has
            cores where it trains on an accelerator, and 0 on a CPU, which reading and training would only dispute.

    """

    def __init__(
        self, prepare: Callable[[], Mapping[str, SplitImages]], label: Callable[[SplitImages], Integers], *,
        batch_size: int, seed: int, num_workers: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self._prepare, self._label = prepare, label
        self._batch_size, self._seed, self._num_workers = batch_size, seed, num_workers
        self._images: dict[str, SeedImages] = {}
        self._begun: dict[str, int] = {"epoch": 0, "batch": 0, "batches": 0}
        self.prepare_data_per_node = False  # the index is in the run's folder, which all machines share

    def prepare_data(self) -> None:
        """Index what is not indexed yet; in one process."""
        self._prepare()

    def setup(self, stage: str = "") -> None:
        """Open the splits; in every process."""
        if not self._images:
            splits = self._prepare()
            self._images = {name: SeedImages(split, self._label(split)) for name, split in splits.items()}

    def train_dataloader(self) -> DataLoader[Batch]:
        """The train split, shuffled over all seeds and shards.

        Raises:
            UserError: the checkpoint was made in mid-epoch by another number of processes.

        """
        images, begun = self._images["train"], self._begun
        order = TrainingOrder(
            len(images), self._batch_size, self._seed, *self._place(), epoch=begun["epoch"], batch=begun["batch"]
        )
        if begun["batch"] and begun["batches"] != len(order):
            raise UserError(
                "the checkpoint was made in mid-epoch, with other batches", given=f"{len(order)} in an epoch",
                legal=f"{begun['batches']}", remedy="go on with as many processes as before",
            )  # fmt: skip
        return BatchLoader(images, order, self._workers())

    def val_dataloader(self) -> DataLoader[Batch]:
        """The val split, in order."""
        return self._in_order("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """The test split, in order, every image exactly once."""
        return self._in_order("test")

    def state_dict(self) -> dict[str, int]:
        """For checkpoints: the epoch and the batch to go on with. Batches count when their step is done."""
        if self.trainer is None or not self._images:
            return dict(self._begun)
        batches = int(self.trainer.num_training_batches)
        done: Any = self.trainer.fit_loop.epoch_loop.batch_progress.total
        epoch, batch = divmod(done.processed, max(1, batches))
        return {"epoch": epoch, "batch": batch, "batches": batches}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on where the checkpoint was made: Lightning makes its first iterator before it calls set_epoch."""
        self._begun = dict(state_dict)

    def _in_order(self, split: str) -> DataLoader[Batch]:
        images = self._images[split]
        rank, world_size = self._place()
        return BatchLoader(images, EvaluationOrder(len(images), rank=rank, world_size=world_size), self._workers())

    def _place(self) -> tuple[int, int]:
        """Rank and world size, asked of the trainer: a spawned worker would not know them."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _workers(self) -> int:
        """Processes that read for each loader."""
        if self._num_workers is not None:
            return self._num_workers
        if self.trainer is None or self.trainer.strategy.root_device.type == "cpu":
            return 0
        return min(MOST_WORKERS, max(1, _cores() // max(1, self.trainer.num_devices)))


def _cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
