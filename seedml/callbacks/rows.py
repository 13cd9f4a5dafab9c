"""Stored rows as batches, and the module that hands them on to callbacks."""

from __future__ import annotations

from collections.abc import Iterator

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset

from seedml.measurement.module import MeasuredBatch
from seedml.measurement.results import Measurements

BATCH = 2048
"""Rows a batch; statistics do not depend on it."""


class RowBatches(Dataset[MeasuredBatch]):
    """Measured images of a run, an item a batch; images that failed are left out."""

    def __init__(self, measured: Measurements, batch_size: int = BATCH) -> None:
        good = measured.images[measured.images["status"] == "ok"]
        keys = good[["seed", "prompt_id"]].to_numpy()
        assert (keys[:, 0] == measured.seeds).all(), "features and images have the same rows"
        assert (keys[:, 1] == measured.prompt_ids).all(), "features and images have the same rows"
        self._all = MeasuredBatch(
            "", torch.from_numpy(measured.seeds), torch.from_numpy(measured.prompt_ids),
            torch.from_numpy(measured.features),
            {name: torch.from_numpy(good[name].to_numpy("float32", copy=True)) for name in measured.columns},
        )  # fmt: skip
        self._starts = range(0, len(measured.seeds), batch_size)

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[MeasuredBatch]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> MeasuredBatch:
        rows = slice(self._starts[index], self._starts[index] + self._starts.step)
        everything = self._all
        columns = {name: values[rows] for name, values in everything.columns.items()}
        return MeasuredBatch(
            "", everything.seeds[rows], everything.prompt_ids[rows], everything.features[rows], columns
        )


def row_loader(measured: Measurements, batch_size: int = BATCH) -> DataLoader[MeasuredBatch]:
    """Batches of a run's measured images, in order."""
    return DataLoader(RowBatches(measured, batch_size), batch_size=None)


class PassThrough(pl.LightningModule):
    """Gives each batch as its prediction: the callbacks do the work."""

    def predict_step(self, batch: MeasuredBatch, batch_idx: int) -> MeasuredBatch:
        """The batch itself."""
        return batch
