"""The bar of Lightning's loops: what it shows, and how seldom it makes the CPU wait for a device's numbers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from seedml import lightning
from seedml.classifier.data import Batch
from seedml.classifier.module import EACH_STEP, SeedClassifier
from seedml.lightning import RateProgressBar, quiet_lightning

STEPS = 40


class TwoNumbers(pl.LightningModule):
    """Logs a loss at each step, as the bundled model's trainings do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = self.layer(batch[0]).square().mean()
        self.log("loss", loss.detach())
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.01)


class Recorder(RateProgressBar):
    """Keeps the texts beside the bar."""

    texts: list[str]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        assert self._bar is not None
        self.texts, advance = [], self._bar.advance

        def kept(steps: int = 1, **fields: object) -> None:
            self.texts += [str(text) for text in fields.values()]
            advance(steps, **fields)

        self._bar.advance = kept  # type: ignore[method-assign]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[None]]:
    """Grows whenever a tensor is read as a Python number, for which a GPU would have to be waited for."""
    found: list[None] = []
    for name in ("item", "__float__", "__bool__"):
        whole = getattr(Tensor, name)

        def counted(self: Tensor, whole=whole):  # type: ignore[no-untyped-def]
            found.append(None)
            return whole(self)

        monkeypatch.setattr(Tensor, name, counted)
    yield found
    monkeypatch.undo()


def fit(module: pl.LightningModule, loader: DataLoader, bar: RateProgressBar) -> None:
    with quiet_lightning():
        pl.Trainer(
            accelerator="cpu", max_epochs=1, callbacks=[bar], logger=False, enable_checkpointing=False,
            enable_model_summary=False, limit_val_batches=0,
        ).fit(module, loader)  # fmt: skip


def rows(count: int) -> DataLoader:
    return DataLoader(TensorDataset(torch.ones(count, 2)), batch_size=1)


@pytest.mark.parametrize(("every", "most"), [(1e9, 0.2), (0.0, 3.0)])
def test_numbers_are_read_as_often_as_they_are_shown(
    reads: list[None], monkeypatch: pytest.MonkeyPatch, every: float, most: float
) -> None:
    monkeypatch.setattr(lightning, "SHOWN_EVERY", every)
    bar = Recorder("train it", each_step=["loss"])
    fit(TwoNumbers(), rows(STEPS), bar)
    assert len(reads) <= most * STEPS
    assert len(bar.texts) == (STEPS + 1 if every == 0 else 2), "the first step and the end"
    assert all(text.startswith("train it loss ") for text in bar.texts)
    assert float(bar.texts[-1].split()[-1]) < float(bar.texts[0].split()[-1])


def test_the_classifiers_loss_stays_on_its_device(reads: list[None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lightning, "SHOWN_EVERY", 1e9)
    batch = Batch(torch.zeros(2, 3, 16, 16, dtype=torch.uint8), torch.tensor([0, 1]), torch.tensor([0, 1]))
    module = SeedClassifier("resnet18", [3, 7], image_size=16, schedule="constant")
    bar = Recorder("classify", each_step=[EACH_STEP])
    fit(module, DataLoader([batch] * 12, batch_size=None), bar)
    assert len(reads) < 12
    assert bar.texts[0].startswith(f"classify {EACH_STEP} ")


@pytest.mark.parametrize(("seconds", "looks"), [(0.001, 4), (0.125, 500), (1.0, 1000)])
def test_a_bar_looks_at_most_four_times_a_second(monkeypatch: pytest.MonkeyPatch, seconds: float, looks: int) -> None:
    clock = iter(range(10_000))
    monkeypatch.setattr(lightning.time, "monotonic", lambda: seconds * next(clock))

    class Trainer:
        looks = 0
        callback_metrics: dict[str, Tensor] = {}  # noqa: RUF012

        @property
        def progress_bar_metrics(self) -> dict[str, float]:
            self.looks += 1
            return {"val/accuracy": 0.5, "v_num": 3}

    class Bar:
        steps, text = 0, ""

        def advance(self, steps: int = 1, description: str = "") -> None:
            self.steps += steps
            self.text = description or self.text

    bar, trainer, line = RateProgressBar("train"), Trainer(), Bar()
    bar._bar = line  # type: ignore[assignment]
    for _ in range(1000):
        bar.on_train_batch_end(trainer)  # type: ignore[arg-type]
    assert line.steps == 1000
    assert line.text == "train val/accuracy 0.5"
    assert trainer.looks == looks
