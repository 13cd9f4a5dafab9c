"""The classifier as a LightningModule: a torchvision network, its loss, schedule and metrics. Knows no file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import Metric

from seedml.classifier.data import Batch
from seedml.classifier.networks import build_network
from seedml.classifier.schedules import make_schedule

EACH_STEP = "train/loss"
"""What every training step logs, for the progress bar."""


class Scores(NamedTuple):
    """What the network said of each image of a split; arrays of N in the split's order."""

    predicted: np.ndarray[Any, np.dtype[np.int64]]
    """The class it names."""
    place: np.ndarray[Any, np.dtype[np.int64]]
    """Place of the true class among all, by logit: 0 = named first."""
    probability: np.ndarray[Any, np.dtype[np.float32]]
    """Softmax probability of the true class."""


def places(logits: Tensor, labels: Tensor) -> Tensor:
    """N × K float, N int64 -> N int64: the true class's place by logit, 0 = first; ties and NaN count against it."""
    truth = logits.gather(1, labels[:, None])
    return (~(logits < truth)).sum(1) - 1


class EpochSums(Metric):
    """Loss and hits of an epoch, added up over its images and over processes.

    Args:
        top: beside the first, so many names count as a hit.

    """

    full_state_update = False
    loss: Tensor
    hits: Tensor
    top_hits: Tensor
    images: Tensor

    def __init__(self, top: int) -> None:
        super().__init__()
        self.top = top
        self.add_state("loss", torch.zeros(()), dist_reduce_fx="sum")
        for name in ("hits", "top_hits", "images"):
            self.add_state(name, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Take in a batch: its mean loss, N × K logits, N int64 labels."""
        place = places(logits.detach(), labels)
        self.loss += loss.detach() * len(labels)
        self.hits += (place < 1).sum()
        self.top_hits += (place < self.top).sum()
        self.images += len(labels)

    def compute(self) -> dict[str, Tensor]:
        """Means over the images: ``loss``, ``accuracy``, ``top<k>_accuracy``."""
        return {"loss": self.loss / self.images, "accuracy": self.hits / self.images,
                f"top{self.top}_accuracy": self.top_hits / self.images}  # fmt: skip

    def over_processes(self) -> dict[str, Tensor]:
        """The sums so far, of all processes together; each of them has to ask."""
        with self.sync_context():
            return {name: value.clone() for name, value in self.metric_state.items() if isinstance(value, Tensor)}

    def continue_from(self, sums: dict[str, Tensor]) -> None:
        """Count on from sums that one process, and only one, is given."""
        for name, value in sums.items():
            getattr(self, name).copy_(value)


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
        self.seen[batch.rows] += 1
        self.predicted[batch.rows] = logits.argmax(1)
        self.place[batch.rows] = places(logits, batch.labels)
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
        image_size: side of the images in pixels.
        learning_rate: highest of the schedule.
        schedule: one of :func:`~seedml.classifier.schedules.make_schedule`.
        schedule_epochs: that it is made for; ``None`` = those of the Trainer, which may stop before.
        weight_decay: decoupled; not on biases and normalisation.
        label_smoothing: share of the target spread over all classes.
        top_k: also count the images whose class is among the first so many.
        prefix: put before the names of logged numbers.

    """

    def __init__(
        self, architecture: str, class_seeds: list[int], *, image_size: int = 32, learning_rate: float = 1e-3,
        schedule: str = "one_cycle", schedule_epochs: int | None = None, weight_decay: float = 0.05,
        label_smoothing: float = 0.0, top_k: int = 5, prefix: str = "",
    ) -> None:  # fmt: skip
        super().__init__()
        self.save_hyperparameters()
        self.class_seeds, self.image_size, self.prefix = class_seeds, image_size, prefix
        self._learning_rate, self._schedule, self._schedule_epochs = learning_rate, schedule, schedule_epochs
        self._weight_decay, self._smoothing = weight_decay, label_smoothing
        self.network = build_network(architecture, len(class_seeds), image_size).to(memory_format=torch.channels_last)
        self.train_sums, self.val_sums = EpochSums(top_k), EpochSums(top_k)
        self.history: list[dict[str, float]] = []
        self.scores: Scores | None = None
        self._test_scores: ImageScores | None = None
        self._epoch_started = 0.0
        self._interrupted: dict[str, Any] | None = None

    def forward(self, images: Tensor) -> Tensor:
        """N × 3 × S × S uint8 0..255 -> N × K float32 logits."""
        inputs = (images.float() / 255 - 0.5) / 0.25
        logits: Tensor = self.network(inputs.to(self._weight_type(), memory_format=torch.channels_last))
        return logits.float()

    def _weight_type(self) -> torch.dtype:
        return next(self.network.parameters()).dtype  # not always float32: trainer.precision=bf16-true

    def on_train_start(self) -> None:
        """Go on in the middle of an epoch, where a checkpoint was made there."""
        if self._interrupted is None:
            return
        epoch, self._interrupted = self._interrupted, None
        self._epoch_started = time.monotonic() - epoch["seconds"]
        own = epoch["random"][self.global_rank % len(epoch["random"])]
        torch.set_rng_state(own.clone())  # of a view torch would read the storage's begin, or crash
        if self.trainer.is_global_zero:  # the sums are of all processes; they must not be counted twice
            self.train_sums.continue_from(epoch["sums"])

    def on_train_epoch_start(self) -> None:
        """Start the epoch's clock."""
        self._epoch_started = time.monotonic()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Cross-entropy with label smoothing, nats."""
        logits = self(batch.images)
        loss = F.cross_entropy(logits, batch.labels, label_smoothing=self._smoothing)
        self.train_sums.update(loss, logits, batch.labels)
        self.log(f"{self.prefix}{EACH_STEP}", loss.detach())
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log the length of the gradient, where Lightning is about to log the loss."""
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if (self.trainer.global_step + 1) % every == 0:
            gradients = [weight.grad for weight in self.parameters() if weight.grad is not None]
            self.log(f"{self.prefix}train/gradient_norm", torch.nn.utils.get_total_norm(gradients))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Plain cross-entropy, nats."""
        logits = self(batch.images)
        self.val_sums.update(F.cross_entropy(logits, batch.labels), logits, batch.labels)

    def on_validation_epoch_end(self) -> None:
        """Log what early stopping watches."""
        for name, value in self.val_sums.compute().items():
            self.log(f"{self.prefix}val/{name}", value, prog_bar=name == "accuracy")

    def on_train_epoch_end(self) -> None:
        """Keep the epoch in ``history``, which travels in checkpoints."""
        row: dict[str, float] = {"epoch": self.current_epoch}
        kinds = {"train": self.train_sums} | ({"val": self.val_sums} if self.trainer.enable_validation else {})
        for kind, sums in kinds.items():
            row |= {f"{kind}_{name}": value.item() for name, value in sums.compute().items()}
            sums.reset()
        self.log(f"{self.prefix}train/accuracy", row["train_accuracy"])
        self.history.append({**row, "seconds": round(time.monotonic() - self._epoch_started, 3)})

    def on_test_start(self) -> None:
        """Make room for the split's scores."""
        loader: Any = self.trainer.test_dataloaders
        self._test_scores = ImageScores(len(loader.dataset)).to(self.device)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Score a batch, in float32 whatever training uses: scores are not to depend on what shares a batch."""
        assert self._test_scores is not None, "Lightning calls on_test_start first"
        with torch.autocast(self.device.type, enabled=False):
            logits = self(batch.images)
        self._test_scores.update(logits, batch)

    def on_test_end(self) -> None:
        """Gather the scores of all processes into ``scores``."""
        assert self._test_scores is not None, "Lightning calls on_test_start first"
        self.scores = self._test_scores.compute()

    def configure_optimizers(self) -> Any:
        """AdamW; the learning rate changes at every step."""
        decayed, plain = _split_parameters(self.network)
        optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": self._weight_decay}, {"params": plain, "weight_decay": 0.0}],
            lr=self._learning_rate, fused=True,
        )  # fmt: skip
        schedule = make_schedule(self._schedule, optimizer, self._learning_rate, self._steps())
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _steps(self) -> int:
        """Optimizer steps that the schedule is made for."""
        steps, epochs = int(self.trainer.estimated_stepping_batches), self.trainer.max_epochs
        assert epochs, "the Trainer has a number of epochs"
        return steps // epochs * (self._schedule_epochs or epochs)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the history, and how far the epoch is."""
        checkpoint["history"] = self.history
        checkpoint["epoch_so_far"] = {
            "sums": self.train_sums.over_processes(), "seconds": time.monotonic() - self._epoch_started,
            "random": self._random_states(),
        }  # fmt: skip

    def _random_states(self) -> Tensor:
        """Torch's generator in each process, which dropout draws from: processes × bytes, uint8."""
        states: Any = self.all_gather(torch.get_rng_state().to(self.device))
        return torch.as_tensor(states).reshape(self.trainer.world_size, -1).cpu()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take them back."""
        self.history = list(checkpoint["history"])
        self._interrupted = checkpoint.get("epoch_so_far")


def _split_parameters(network: nn.Module) -> tuple[Sequence[nn.Parameter], Sequence[nn.Parameter]]:
    """Weights of convolutions and linear layers, and the rest (biases, normalisation)."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]
