"""A training that writes down which images it saw; a test runs it in one process, in several, and interrupted."""

from __future__ import annotations

import json
import multiprocessing
import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn

from seedml.classifier.data import Batch, SeedDataModule, class_labels
from seedml.classifier.split_images import open_splits
from seedml.config import PromptsConfig, ShardsConfig, StudyConfig
from seedml.lightning import quiet_lightning
from seedml.shards.dataset import complete_dataset

SEEDS = (3, 7, 2**40)
EPOCHS, BATCH = 3, 4


def study(folder: Path) -> StudyConfig:
    """33 images for training and 9 for test, in tars of 4 at most."""
    return StudyConfig(
        name="tiny", seeds=list(SEEDS), prompts=PromptsConfig(limit=15, splits={"train": 11, "val": 1, "test": 3}),
        shards=ShardsConfig(root=str(folder / "shards"), tile_seeds=2, tile_prompts=2),
    )  # fmt: skip


class Witness(pl.LightningModule):
    """Learns one number and remembers the rows of every batch."""

    def __init__(self, fails_at: int | None = None) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.fails_at = fails_at
        self.trained: list[list[list[int]]] = []
        self.tested: list[int] = []

    def on_train_epoch_start(self) -> None:
        self.trained.append([])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        if self.global_step == self.fails_at:
            raise RuntimeError("planted")
        if not self.trained:  # Lightning starts no epoch where it goes on in the middle of one
            self.trained.append([])
        self.trained[-1].append(batch.rows.tolist())
        return self.layer(batch.images.float().mean((1, 2, 3))[:, None] / 255).mean()

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.tested += batch.rows.tolist()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def data_of(config: StudyConfig, folder: Path, workers: int) -> SeedDataModule:
    """The classifier's own."""
    dataset, tiles = complete_dataset(config)
    return SeedDataModule(
        lambda: open_splits(dataset, tiles, 8, folder / "cache", cache="always", threads=1),
        lambda split: class_labels(split, config.seed_list), batch_size=BATCH, seed=4, num_workers=workers,
    )  # fmt: skip


def trainer_of(folder: Path, devices: int) -> pl.Trainer:
    """Two epochs, a checkpoint after every other step."""
    keep = ModelCheckpoint(folder, "{step}", every_n_train_steps=2, save_top_k=-1)
    return pl.Trainer(
        accelerator="cpu", devices=devices, strategy="ddp" if devices > 1 else "auto", max_epochs=EPOCHS, logger=False,
        callbacks=[keep], use_distributed_sampler=False, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0, limit_val_batches=0,
    )  # fmt: skip


def main() -> None:
    """Words: folder, processes, workers of each."""
    folder, devices, workers = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    multiprocessing.set_start_method("spawn")  # workers know nothing of their parent's ranks
    module, trainer = Witness(), trainer_of(folder / "checkpoints", devices)
    data = data_of(study(folder), folder, workers)
    with quiet_lightning():
        trainer.fit(module, data)
        trainer.test(module, data, verbose=False)
    seen = {"trained": module.trained, "tested": module.tested}
    (folder / f"seen-{trainer.global_rank}.json").write_text(json.dumps(seen))
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
