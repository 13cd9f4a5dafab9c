"""The seed classifier as a LightningModule: a torchvision network, its loss, schedule and metrics. Knows no file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import MulticlassAccuracy

from seedml.classifier.data import Batch
from seedml.errors import unknown_name


def build_network(architecture: str, n_classes: int) -> nn.Module:
    """An untrained torchvision classification network: N × 3 × H × W float -> N × ``n_classes`` logits.

    Raises:
        UserError: torchvision has no such network.

    """
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if architecture not in known:
        raise unknown_name("value of classifier.architecture", architecture, known)
    network: nn.Module = torchvision.models.get_model(architecture, weights=None, num_classes=n_classes)
    return network


class Scores(NamedTuple):
    """What the network said of each image of a split; arrays of N in the split's order."""

    predicted: np.ndarray[Any, np.dtype[np.int64]]
    """The class it names."""
    place: np.ndarray[Any, np.dtype[np.int64]]
    """Place of the true class among all, by logit: 0 = named first."""
    probability: np.ndarray[Any, np.dtype[np.float32]]
    """Softmax probability of the true class."""


class ImageScores(Metric):
    """Collects :class:`Scores` over batches and processes, and proves that every image was seen exactly once.

    States are sums over processes: each image is one process's, the others hold zeros for it.
    """

    full_state_update = False
    seen: Tensor
    predicted: Tensor
    place: Tensor
    probability: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        for name in ("seen", "predicted", "place"):
            self.add_state(name, torch.zeros(count, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("probability", torch.zeros(count), dist_reduce_fx="sum")

    def update(self, logits: Tensor, batch: Batch) -> None:
        """Take in N × K float logits of a batch."""
        truth = logits.gather(1, batch.labels[:, None])
        self.seen[batch.rows] += 1
        self.predicted[batch.rows] = logits.argmax(1)
        self.place[batch.rows] = (~(logits < truth)).sum(1) - 1  # ties and NaN count against it
        self.probability[batch.rows] = logits.softmax(1).gather(1, batch.labels[:, None])[:, 0]

    def compute(self) -> Scores:
        """The scores of all images."""
        assert bool((self.seen == 1).all()), "an evaluation must see every image exactly once"
        return Scores(self.predicted.cpu().numpy(), self.place.cpu().numpy(), self.probability.cpu().numpy())


class SeedClassifier(pl.LightningModule):
    """Which of the study's seeds made this image?

    All arguments are plain Python, so that checkpoints load with ``weights_only=True``.

    Args:
        architecture: a torchvision classification network.
        class_seeds: the seeds, ascending; class i is ``class_seeds[i]``.
        learning_rate: highest of the one-cycle schedule.
        weight_decay: decoupled; not on biases and normalisation.
        label_smoothing: share of the target spread over all classes.
        prefix: put before the names of logged numbers.

    """

    def __init__(
        self, architecture: str, class_seeds: list[int], *, learning_rate: float = 1e-3, weight_decay: float = 0.05,
        label_smoothing: float = 0.0, prefix: str = "",
    ) -> None:  # fmt: skip
        super().__init__()
        self.save_hyperparameters()
        self.class_seeds, self.prefix = class_seeds, prefix
        self._learning_rate, self._weight_decay, self._smoothing = learning_rate, weight_decay, label_smoothing
        self.network = build_network(architecture, len(class_seeds)).to(memory_format=torch.channels_last)
        self.train_loss, self.val_loss = MeanMetric(), MeanMetric()
        self.train_accuracy = MulticlassAccuracy(len(class_seeds), average="micro")
        self.val_accuracy = MulticlassAccuracy(len(class_seeds), average="micro")
        self.history: list[dict[str, float]] = []
        self.scores: Scores | None = None
        self._test_scores: ImageScores | None = None
        self._epoch_started = 0.0

    def forward(self, images: Tensor) -> Tensor:
        """N × 3 × H × W uint8 0..255 -> N × K float32 logits."""
        inputs = (images.float() / 255 - 0.5) / 0.25
        logits: Tensor = self.network(inputs.contiguous(memory_format=torch.channels_last))
        return logits.float()

    def on_train_epoch_start(self) -> None:
        """Start the epoch's clock."""
        self._epoch_started = time.monotonic()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Cross-entropy with label smoothing, nats."""
        logits = self(batch.images)
        loss = F.cross_entropy(logits, batch.labels, label_smoothing=self._smoothing)
        self.train_loss.update(loss.detach(), len(batch.labels))
        self.train_accuracy.update(logits.detach(), batch.labels)
        self.log(f"{self.prefix}train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Plain cross-entropy, nats."""
        logits = self(batch.images)
        self.val_loss.update(F.cross_entropy(logits, batch.labels), len(batch.labels))
        self.val_accuracy.update(logits, batch.labels)

    def on_validation_epoch_end(self) -> None:
        """Log what checkpoints and early stopping watch."""
        self.log(f"{self.prefix}val/loss", self.val_loss.compute())
        self.log(f"{self.prefix}val/accuracy", self.val_accuracy.compute(), prog_bar=True)

    def on_train_epoch_end(self) -> None:
        """Keep the epoch in ``history``, which travels in checkpoints."""
        row = {"epoch": self.current_epoch, "train_loss": self.train_loss.compute().item(),
               "train_accuracy": self.train_accuracy.compute().item()}  # fmt: skip
        if self.val_accuracy.update_called:
            row |= {"val_loss": self.val_loss.compute().item(), "val_accuracy": self.val_accuracy.compute().item()}
        self.log(f"{self.prefix}train/accuracy", row["train_accuracy"])
        self.history.append({**row, "seconds": round(time.monotonic() - self._epoch_started, 3)})
        for metric in (self.train_loss, self.train_accuracy, self.val_loss, self.val_accuracy):
            metric.reset()

    def on_test_start(self) -> None:
        """Make room for the split's scores."""
        loader: Any = self.trainer.test_dataloaders
        self._test_scores = ImageScores(len(loader.dataset)).to(self.device)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Score a batch."""
        assert self._test_scores is not None, "Lightning calls on_test_start first"
        self._test_scores.update(self(batch.images), batch)

    def on_test_end(self) -> None:
        """Gather the scores of all processes into ``scores``."""
        assert self._test_scores is not None, "Lightning calls on_test_start first"
        self.scores = self._test_scores.compute()

    def configure_optimizers(self) -> Any:
        """AdamW under one cycle of the learning rate (Smith and Topin, 2018), a step at a time."""
        decayed, plain = _split_parameters(self.network)
        optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": self._weight_decay}, {"params": plain, "weight_decay": 0.0}],
            lr=self._learning_rate, fused=True,
        )  # fmt: skip
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self._learning_rate, total_steps=int(self.trainer.estimated_stepping_batches), pct_start=0.25
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the history."""
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the history back."""
        self.history = list(checkpoint["history"])


def _split_parameters(network: nn.Module) -> tuple[Sequence[nn.Parameter], Sequence[nn.Parameter]]:
    """Weights of convolutions and linear layers, and the rest (biases, normalisation)."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]
