"""What all our Lightning Trainers share: a bar with rates, silence, precision, threads, and stopping when asked to."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import Callback, ProgressBar
from pytorch_lightning.strategies import DDPStrategy

from seedml.errors import UserError
from seedml.progress import Bar, progress_bar

if TYPE_CHECKING:
    from seedml.config import TrainerConfig

_DOES_NOT_APPLY = (
    ".*does not have many workers.*",  # integers and memory-mapped rows: more workers would not help
    ".*Couldn't infer the batch indices.*",  # nobody asks for them
    ".*smaller than the logging interval.*",  # tiny studies
    ".*Checkpoint directory .* exists and is not empty.*",  # a training that goes on
    ".*`IterableDataset` has `__len__` defined.*",  # one process reads
    ".*resuming from a checkpoint that ended before the epoch ended.*",  # our streams start at the trainer's step
    ".*module\\(s\\) in eval mode at the start of training.*",  # a frozen teacher is meant
    ".*`srun` command is available on your system but is not used.*",  # a login node, or one machine of a cluster
    ".*predict returned None if it was on purpose.*",  # nothing to do at the moment
    ".*recommended to use `self.log.*sync_dist=True`.*",  # what is logged at the end of an epoch is summed already
    ".*isinstance\\(treespec, LeafSpec\\).*",  # Lightning 2.6 itself, on newer torch
)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Without Lightning's hints on hardware, and without warnings that do not apply to our loops."""
    logger = logging.getLogger("pytorch_lightning.utilities.rank_zero")
    before = logger.level
    logger.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for message in _DOES_NOT_APPLY:
            warnings.filterwarnings("ignore", message=message)
        try:
            yield
        finally:
            logger.setLevel(before)


def precision_of(wanted: str, accelerator: str = "auto") -> str:
    """Lightning's precision; ``auto`` is bfloat16 where the hardware computes in it, else float32."""
    if wanted != "auto":
        return wanted
    if accelerator != "cpu" and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    return "bf16-mixed" if _cpu_has_bfloat16() else "32-true"


def _cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 itself (AVX-512 BF16 or AMX); emulated, it is slower than float32."""
    asked = [getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")]
    return any(bool(ask()) for ask in asked if ask is not None)


@contextmanager
def trainer_errors_in_words(config: TrainerConfig) -> Iterator[None]:
    """Say which settings are at fault where Lightning refuses to make a Trainer.

    Raises:
        UserError: no such device, or not as many processes as were started.

    """
    try:
        yield
    except (MisconfigurationException, ValueError) as error:
        given = {key: getattr(config, key) for key in ("accelerator", "devices", "num_nodes", "strategy", "precision")}
        raise UserError(
            f"Lightning cannot run with these trainer settings: {str(error).splitlines()[0].rstrip('.')}",
            given=", ".join(f"trainer.{key}={value}" for key, value in given.items()),
            remedy="match trainer.devices and trainer.num_nodes to the machine and to the processes that were started",
        ) from error


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Compute with ``count`` CPU threads in the block; ``None`` = as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class StopOnSigterm(Callback):
    """Ends prediction within a batch of SIGTERM, with exit status 143; Lightning's predict loop itself ignores it."""

    def on_predict_batch_end(self, trainer: pl.Trainer, *args: object) -> None:
        """Look after every batch."""
        if trainer.received_sigterm:
            raise SystemExit(143)


class ShareNothing(DDPStrategy):
    """Lightning's launchers, ranks and devices without a process group: for processes that share only a folder.

    They cannot wait for each other, so one that dies, is late or is done first holds up nobody.
    """

    def validate_processes(self) -> None:
        """Compare devices and nodes with the processes that another launcher started; Lightning would at its launch.

        Raises:
            ValueError: they are not as many.

        """
        environment = self.cluster_environment
        if environment is not None and environment.creates_processes_externally:
            environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)

    def setup_distributed(self) -> None:
        """Know the rank; open no connection."""
        self.set_world_ranks()

    def setup(self, trainer: pl.Trainer) -> None:
        """Put the module on the device; there are no states to synchronise."""
        assert self.accelerator is not None, "set by the Trainer"
        self.accelerator.setup(trainer)
        self.model_to_device()
        self.setup_precision_plugin()


def predicting_trainer(config: TrainerConfig, callbacks: Sequence[Callback], *, alone: bool = False) -> pl.Trainer:
    """A Trainer whose ``predict`` feeds ``callbacks``.

    Numbers are to be the same everywhere, so arithmetic is float32 whatever training uses.

    Args:
        config: which devices.
        callbacks: what is done with the batches.
        alone: one process on the CPU, for passes over small tables.

    """
    place: dict[str, Any] = (
        {"accelerator": "cpu", "devices": 1, "plugins": [LightningEnvironment()]}  # also below torchrun: one process
        if alone
        else {"accelerator": config.accelerator, "devices": config.devices, "num_nodes": config.num_nodes,
              "strategy": config.strategy}
    )  # fmt: skip
    with quiet_lightning():
        return pl.Trainer(
            **place, precision="32-true", callbacks=[*callbacks, StopOnSigterm()], logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip


SHOWN_EVERY = 0.25
"""Seconds between two looks at the numbers beside a bar, which is not drawn more often."""


class RateProgressBar(ProgressBar):
    """Lightning's loops under one bar: optimiser steps in ``fit``, batches elsewhere; the logged numbers beside it.

    A number that is logged at every step stays on the device: to read it, the CPU has to wait for all that the device
    was asked for. So it is read a few times a second. ``self.log(..., prog_bar=True)`` in a training step would have
    Lightning read it at every step; log it without, and name it in ``each_step``.

    Args:
        description: what is going on, in two words.
        unit: what is counted.
        each_step: names of numbers that training steps log.

    """

    def __init__(self, description: str, unit: str = "step", each_step: Sequence[str] = ()) -> None:
        super().__init__()
        self.description, self.unit, self.each_step = description, unit, tuple(each_step)
        self._shown_at = -float("inf")
        self._stack = ExitStack()
        self._bar: Bar | None = None
        self._enabled = True

    def disable(self) -> None:
        """Lightning calls this on all ranks but the first."""
        self._enabled = False

    def enable(self) -> None:
        """The opposite of :meth:`disable`."""
        self._enabled = True

    def _open(self, total: float | int, completed: int = 0) -> None:
        if self._enabled:
            whole = int(total) if total != float("inf") else None
            self._bar = self._stack.enter_context(progress_bar(self.description, whole, self.unit, completed))

    def _advance(self, trainer: pl.Trainer, steps: int = 1) -> None:
        if self._bar is None:
            return
        now = time.monotonic()
        if now - self._shown_at < SHOWN_EVERY:
            self._bar.advance(steps)
            return
        self._bar.advance(steps, description=self._described(trainer))
        self._shown_at = now  # the numbers were read for the picture of this moment

    def _described(self, trainer: pl.Trainer) -> str:
        """The description with the numbers of the moment."""
        logged = trainer.callback_metrics if self.each_step else {}
        numbers = {name: float(logged[name]) for name in self.each_step if name in logged}
        numbers |= {name: value for name, value in trainer.progress_bar_metrics.items() if name != "v_num"}
        return " ".join([self.description, *(f"{name} {value:.4g}" for name, value in numbers.items())])

    def _close(self, trainer: pl.Trainer | None = None) -> None:
        """End the bar, with the last numbers where ``trainer`` has them."""
        if self._bar is not None and trainer is not None:
            self._bar.advance(0, description=self._described(trainer))
        self._stack.close()
        self._bar = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar at the step that training goes on from."""
        super().on_train_start(trainer, pl_module)
        self._open(trainer.estimated_stepping_batches, trainer.global_step)

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """Count a step."""
        self._advance(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar."""
        self._close(trainer)

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar."""
        self._open(sum(trainer.num_predict_batches))

    def on_predict_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """Count a batch."""
        self._advance(trainer)

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar."""
        self._close(trainer)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar."""
        self._open(sum(trainer.num_test_batches))

    def on_test_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """Count a batch."""
        self._advance(trainer)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar."""
        self._close(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave the terminal in order."""
        self._close()
