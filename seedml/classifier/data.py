"""Images and labels for the seed classifier: map data sets over the decoded cache, and their order. Knows no network.

All randomness is numpy's and follows from (seed, epoch) alone, so worker processes change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from seedml.classifier.cache import CachedSplit, Integers, Pixels

EVALUATION_BATCH = 256


class Batch(NamedTuple):
    """Images with their labels."""

    images: Tensor
    """N × 3 × S × S uint8 0..255."""
    labels: Tensor
    """N int64: place of the image's seed among the study's."""
    rows: Tensor
    """N int64: place of the image in its split, by (seed, prompt_id)."""


def class_labels(split: CachedSplit, class_seeds: Sequence[int]) -> Integers:
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
    for prompt_id in np.unique(prompt_ids):
        here = np.flatnonzero(prompt_ids == prompt_id)
        order = np.random.default_rng([seed, int(prompt_id)]).permutation(len(here))
        shuffled[here] = labels[here[order]]
    return shuffled


class SeedImages(Dataset[Batch]):
    """A split as batches: ``images[indices]``. Pickles without its pixels, for spawned workers."""

    def __init__(self, split: CachedSplit, labels: Integers) -> None:
        assert len(split) == len(labels), "one label an image"
        self._split, self._labels = split, labels
        self._pixels: Pixels | None = None

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, indices: Sequence[int]) -> Batch:
        if self._pixels is None:
            self._pixels = self._split.open()
        chosen = np.asarray(indices, np.int64)
        return Batch(
            torch.from_numpy(self._pixels[self._split.rows[chosen]]), torch.from_numpy(self._labels[chosen]),
            torch.from_numpy(chosen),
        )  # fmt: skip

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pixels": None}


class TrainingOrder(Sampler[list[int]]):
    """Each epoch's batches: every image once, in an order of the epoch's own.

    Batches are nearly equal in size, so none is too small for batch normalisation. Every process gets the same number
    of images and batches, or gradient synchronisation would hang: up to ``world_size - 1`` images sit an epoch out,
    others in each epoch.

    Args:
        count: images.
        batch_size: images in a batch, at most.
        seed: of the order.
        rank: of this process.
        world_size: processes.
        epoch: that comes first.

    """

    def __init__(
        self, count: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1, epoch: int = 0
    ) -> None:
        self._count, self._seed, self._rank, self._world_size = count, seed, rank, world_size
        self._batches = max(1, -(-(count // world_size) // batch_size))
        self.epoch = epoch

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch; too late for the first one after a resume."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng([self._seed, self.epoch]).permutation(self._count)
        even = self._count - self._count % self._world_size
        mine = order[:even][self._rank :: self._world_size]
        return (batch.tolist() for batch in np.array_split(mine, self._batches))


class EvaluationOrder(Sampler[list[int]]):
    """Every image exactly once over all processes, in order; the last process and batch may get fewer."""

    def __init__(self, count: int, batch_size: int = EVALUATION_BATCH, rank: int = 0, world_size: int = 1) -> None:
        mine = np.arange(rank, count, world_size)
        self._batches = [mine[start : start + batch_size].tolist() for start in range(0, len(mine), batch_size)]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches)


class SeedDataModule(pl.LightningDataModule):
    """Loaders of :class:`Batch` over train, val and test, which share no prompt.

    Args:
        prepare: makes the cached splits, or opens them; called in one process first, then in all.
        label: a cached split -> its labels (N int64).
        batch_size: images in a training batch of one process.
        seed: of the order of training.
        num_workers: processes that read, for each loader; 0 = the training process itself.

    """

    def __init__(
        self, prepare: Callable[[], Mapping[str, CachedSplit]], label: Callable[[CachedSplit], Integers], *,
        batch_size: int, seed: int, num_workers: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self._prepare, self._label = prepare, label
        self._batch_size, self._seed, self._num_workers = batch_size, seed, num_workers
        self._images: dict[str, SeedImages] = {}
        self._first_epoch = 0
        self.prepare_data_per_node = False  # the cache is in the run's folder, which all machines share

    def prepare_data(self) -> None:
        """Decode what is not decoded yet; in one process."""
        self._prepare()

    def setup(self, stage: str = "") -> None:
        """Open the cache; in every process."""
        if not self._images:
            splits = self._prepare()
            self._images = {name: SeedImages(split, self._label(split)) for name, split in splits.items()}

    def train_dataloader(self) -> DataLoader[Batch]:
        """The train split, shuffled."""
        images = self._images["train"]
        order = TrainingOrder(len(images), self._batch_size, self._seed, *self._place(), epoch=self._first_epoch)
        return self._loader(images, order)

    def val_dataloader(self) -> DataLoader[Batch]:
        """The val split, in order."""
        return self._in_order("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """The test split, in order, every image exactly once."""
        return self._in_order("test")

    def state_dict(self) -> dict[str, Any]:
        """For checkpoints, which are made at the end of an epoch: the epoch to go on with."""
        return {"epoch": self.trainer.current_epoch + 1 if self.trainer else 0}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the epoch after the checkpoint's: Lightning makes its first iterator before it calls set_epoch."""
        self._first_epoch = state_dict["epoch"]

    def _in_order(self, split: str) -> DataLoader[Batch]:
        images = self._images[split]
        rank, world_size = self._place()
        return self._loader(images, EvaluationOrder(len(images), rank=rank, world_size=world_size))

    def _place(self) -> tuple[int, int]:
        """Rank and world size, asked of the trainer: a spawned worker would not know them."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _loader(self, images: SeedImages, order: Sampler[list[int]]) -> DataLoader[Batch]:
        workers = self._num_workers
        return DataLoader(
            images, batch_size=None, sampler=order, num_workers=workers, persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
        )  # fmt: skip
