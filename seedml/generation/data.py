"""Generation as a data module: give it a study, get loaders over its shards; what is missing is generated first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from seedml.generation.step import generate
from seedml.shards.dataset import ShardDataset, complete_dataset
from seedml.shards.reader import SampleBatch, sample_pipeline

if TYPE_CHECKING:
    from seedml.config import StudyConfig
    from seedml.tracking import Tracker


class GridDataModule(pl.LightningDataModule):
    """Loaders of :class:`~seedml.shards.reader.SampleBatch` over the splits of a study's grid.

    Every sample comes exactly once over all processes and workers. Processes get whole shards.

    Args:
        config: the study.
        tracker: hears of the generation, if there is any to do.
        batch_size: images in a batch; default ``measure.batch_size``.
        shuffle: samples in the shuffle buffer of the training split; 0 = in order.
        num_workers: processes that decode, for each loader.

    """

    def __init__(
        self, config: StudyConfig, tracker: Tracker, *, batch_size: int | None = None, shuffle: int = 2000,
        num_workers: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self._config, self._tracker = config, tracker
        self._batch_size = batch_size or config.measure.batch_size
        self._shuffle, self._num_workers = shuffle, num_workers
        self._dataset: ShardDataset | None = None

    @property
    def dataset(self) -> ShardDataset:
        """The study's shards; they are all there."""
        assert self._dataset is not None, "call prepare_data() and setup() first, as a Trainer does"
        return self._dataset

    def prepare_data(self) -> None:
        """Generate what is missing; in one process."""
        generate(self._config, self._tracker)

    def setup(self, stage: str = "") -> None:
        """Open the shards; in every process."""
        self._dataset, _ = complete_dataset(self._config)

    def train_dataloader(self) -> DataLoader[SampleBatch]:
        """The train split, shuffled."""
        return self._loader("train", self._shuffle)

    def val_dataloader(self) -> DataLoader[SampleBatch]:
        """The val split, in order."""
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[SampleBatch]:
        """The test split, in order."""
        return self._loader("test")

    def predict_dataloader(self) -> DataLoader[SampleBatch]:
        """All splits, in order."""
        return self._loader(None)

    def _loader(self, split: str | None, shuffle: int = 0) -> DataLoader[SampleBatch]:
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        pipeline = sample_pipeline(
            self.dataset.shards(split), self._batch_size, rank=rank, world_size=world_size, shuffle=shuffle
        )
        return DataLoader(pipeline, batch_size=None, num_workers=self._num_workers)
