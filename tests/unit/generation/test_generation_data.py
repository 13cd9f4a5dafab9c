"""Generation as a data module: loaders over shards, each image once; what is missing is made first."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from tiny_models import tiny_stable_diffusion, tiny_study

from seedml.config import StudyConfig
from seedml.generation.data import GridDataModule
from seedml.prompts import load_prompts
from seedml.shards.reader import SampleBatch
from seedml.tracking import NullTracker

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # diffusers' own, on numpy 2
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),  # Lightning's own, on newer torch
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> StudyConfig:
    root = tmp_path_factory.mktemp("study")
    return tiny_study(root, tiny_stable_diffusion(root / "sd"))


def split_cells(config: StudyConfig, split: str) -> list[tuple[int, int]]:
    ids = [prompt.prompt_id for prompt in load_prompts(config.prompts) if prompt.split == split]
    return sorted((seed, prompt_id) for seed in config.seed_list for prompt_id in ids)


def seen(loader: torch.utils.data.DataLoader[SampleBatch]) -> list[tuple[int, int]]:
    return [cell for b in loader for cell in zip(b.seeds.tolist(), b.prompt_ids.tolist(), strict=True)]


class Collector(pl.LightningModule):
    """Learns one number and keeps the cells it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.cells: dict[str, list[tuple[int, int]]] = {"fit": [], "validate": [], "test": []}

    def _keep(self, kind: str, batch: SampleBatch) -> torch.Tensor:
        self.cells[kind] += zip(batch.seeds.tolist(), batch.prompt_ids.tolist(), strict=True)
        return ((batch.images / 255.0).mean() - self.weight) ** 2

    def training_step(self, batch: SampleBatch) -> torch.Tensor:
        return self._keep("fit", batch)

    def validation_step(self, batch: SampleBatch) -> None:
        self._keep("validate", batch)

    def test_step(self, batch: SampleBatch) -> None:
        self._keep("test", batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def test_a_trainer_makes_what_is_missing_and_sees_each_image_once(config: StudyConfig) -> None:
    """One call of ``fit`` on a folder that does not exist: generation runs inside, then training."""
    assert not config.shard_dir.exists()
    trainer = pl.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    module = Collector()
    trainer.fit(module, datamodule=GridDataModule(config, NullTracker(), batch_size=4))
    trainer.test(module, datamodule=GridDataModule(config, NullTracker(), batch_size=4), verbose=False)
    assert sorted(module.cells["fit"][:25]) == sorted(module.cells["fit"][25:]) == split_cells(config, "train")
    assert module.cells["fit"][:25] != split_cells(config, "train"), "training is shuffled"
    assert sorted(module.cells["validate"]) == sorted(2 * split_cells(config, "val"))
    assert sorted(module.cells["test"]) == split_cells(config, "test")
    assert module.weight.item() > 0


def test_its_loaders_work_without_a_trainer(config: StudyConfig) -> None:
    data = GridDataModule(config, NullTracker(), batch_size=4, shuffle=0)
    data.prepare_data()
    data.setup()
    for split, loader in (("train", data.train_dataloader()), ("val", data.val_dataloader())):
        assert sorted(seen(loader)) == split_cells(config, split)
    everything = sorted(cell for split in ("train", "val", "test") for cell in split_cells(config, split))
    assert sorted(seen(data.predict_dataloader())) == everything


@pytest.mark.parametrize("size", [3, 64])
def test_batches_hold_images(config: StudyConfig, size: int) -> None:
    data = GridDataModule(config, NullTracker(), batch_size=size)
    data.prepare_data()
    data.setup()
    batches = list(data.test_dataloader())
    assert all(len(batch.images) == size for batch in batches[:-1])
    assert sum(len(batch.images) for batch in batches) == 10
    assert {(tuple(b.images.shape[1:]), b.images.dtype, len(b.prompts) == len(b.seeds)) for b in batches} == {
        ((3, 32, 32), torch.uint8, True)
    }


def test_loaders_before_setup_are_our_own_mistake(config: StudyConfig, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="prepare_data"):
        GridDataModule(config, NullTracker()).train_dataloader()
