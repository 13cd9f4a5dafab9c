"""Stored rows as batches, and the module that hands them on to callbacks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch.utils.data import DataLoader, Dataset

from seedml.lightning import predicting_trainer, quiet_lightning
from seedml.measurement.module import MeasuredBatch
from seedml.measurement.results import Measurements
from seedml.per_seed.balance import Ints, read_rows
from seedml.per_seed.frechet import Reference
from seedml.progress import Bar, progress_bar

if TYPE_CHECKING:
    from seedml.config import TrainerConfig

BATCH = 2048
"""Rows a batch; statistics do not depend on it."""


class RowBatches(Dataset[MeasuredBatch]):
    """Measured images of a run, an item a batch, read when it is asked for; images that failed are left out.

    Args:
        measured: the run.
        batch_size: rows a batch.
        features: ``False`` gives N × 0 features: for callbacks that need none.

    """

    def __init__(self, measured: Measurements, batch_size: int = BATCH, *, features: bool = True) -> None:
        good = (measured.images["status"] == "ok").to_numpy()
        for name, keys in (("seed", measured.seeds), ("prompt_id", measured.prompt_ids)):
            same = np.array_equal(measured.images[name].to_numpy()[good], keys)
            assert same, "features and images have the same rows"
        self._measured, self._features = measured, features
        self._columns = {name: measured.images[name].to_numpy("float32")[good] for name in measured.columns}
        self._starts = range(0, len(measured.seeds), batch_size)

    @property
    def rows(self) -> int:
        """Images in all batches."""
        return len(self._measured.seeds)

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[MeasuredBatch]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> MeasuredBatch:
        start = self._starts[index]
        stop = min(start + self._starts.step, self.rows)
        features = np.empty((stop - start, 0), np.float32)
        if self._features:
            features = read_rows(self._measured.features, start, stop)
        columns = {name: torch.tensor(values[start:stop]) for name, values in self._columns.items()}
        seeds, prompt_ids = self._measured.seeds[start:stop], self._measured.prompt_ids[start:stop]
        return MeasuredBatch("", torch.tensor(seeds), torch.tensor(prompt_ids), torch.from_numpy(features), columns)


class CountImages(Callback):
    """Moves a bar by the images of each batch."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar

    def on_predict_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: MeasuredBatch, *args: Any
    ) -> None:
        """Count a batch."""
        self._bar.advance(len(outputs.seeds))


def run_over_rows(
    config: TrainerConfig, measured: Measurements, callbacks: Sequence[Callback], *, features: bool = True
) -> None:
    """Feed a run's measured images to the callbacks, in order, in one process."""
    rows = RowBatches(measured, features=features)
    with progress_bar("summarize", total=rows.rows, unit="images") as bar, quiet_lightning():
        trainer = predicting_trainer(config, [*callbacks, CountImages(bar)], alone=True)
        trainer.predict(PassThrough(), DataLoader(rows, batch_size=None), return_predictions=False)


def reference_for(measured: Measurements, prompt_ids: Ints) -> Reference:
    """What seeds are compared with on these prompts."""
    moments = measured.reference.moments_of(prompt_ids)
    mean, covariance = torch.from_numpy(moments.mean), torch.from_numpy(moments.covariance)
    return Reference.of_gaussian(mean, covariance, moments.n or 0)


class PassThrough(pl.LightningModule):
    """Gives each batch as its prediction: the callbacks do the work."""

    def predict_step(self, batch: MeasuredBatch, batch_idx: int) -> MeasuredBatch:
        """The batch itself."""
        return batch
