"""An endless stream of labelled scenes for training, in the order that (seed, step) fixes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, IterableDataset

from seedml.models.bundled.scenes import Scenes, sample_scenes


class SceneStream(IterableDataset[Scenes]):
    """Batches ``first`` … ``last - 1`` of the stream ``seed``; rank r of w takes every w-th scene of a batch.

    Scenes are labels only: the device that trains also draws.
    """

    def __init__(self, seed: int, batch_size: int, first: int, last: int, rank: int = 0, world: int = 1) -> None:
        self.seed, self.batch_size, self.first, self.last = seed, batch_size, first, last
        self.rank, self.world = rank, world

    def __len__(self) -> int:
        return self.last  # Lightning counts the batches before a resumption, too

    def __iter__(self) -> Iterator[Scenes]:
        for step in range(self.first, self.last):
            start = step * self.batch_size * self.world + self.rank
            yield sample_scenes(self.seed, start + self.world * np.arange(self.batch_size))


class SceneData(LightningDataModule):
    """Loader over the scenes that training has not seen yet: resumed at step s, it goes on with batch s.

    Args:
        seed: which stream; stages use different ones.
        batch_size: scenes a step and process.
        steps: length of the whole training in optimiser steps.

    """

    def __init__(self, seed: int, batch_size: int, steps: int) -> None:
        super().__init__()
        self.seed, self.batch_size, self.steps = seed, batch_size, steps

    def train_dataloader(self) -> DataLoader[Scenes]:
        """Batches from the trainer's current step on."""
        trainer = self.trainer
        assert trainer is not None
        stream = SceneStream(
            self.seed, self.batch_size, trainer.global_step, self.steps, trainer.global_rank, trainer.world_size
        )
        return DataLoader(stream, batch_size=None)
