"""Checkpoints of a training: kept while it runs, read when it goes on, and refused where they do not belong.

``last.ckpt`` is all that a training needs to go on as if nothing had happened, also in the middle of an epoch;
``best.ckpt`` is the network that is tested. Both are whole or absent.
"""

from __future__ import annotations

import math
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import Checkpoint, EarlyStopping
from pytorch_lightning.utilities.exceptions import SIGTERMException

from seedml.classifier.module import SeedClassifier
from seedml.errors import UserError
from seedml.files import atomic_path
from seedml.generation.stopping import RequeuedError, StoppedError, launched_by_lightning, requeue
from seedml.seed_list import format_seeds
from seedml.tracking import is_rank_zero

SAVE_SECONDS = 60.0
"""Training time that a kill may cost at most, beside the time of a validation."""
_AGREE_STEPS = 10
"""Several processes ask each other every so many steps whether to save or to stop: they have to do it together."""
_SAVE = 1
"""Beside the numbers of signals, all of which are larger."""


class InterruptedByUserError(StoppedError):
    """Ctrl-C."""

    status = 130


class WholeFiles(TorchCheckpointIO):
    """Lightning's own writer moves a file from the temporary folder, which on another disk is a copy like any."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write beside the place, then rename."""
        with atomic_path(Path(path)) as temporary:
            torch.save(checkpoint, temporary)


class Converged(EarlyStopping):
    """Ends training when the validation accuracy has not risen for ``patience`` epochs."""

    def __init__(self, monitor: str, patience: int) -> None:
        super().__init__(monitor, mode="max", patience=patience, check_on_train_epoch_end=True, verbose=False)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A training that was killed after its last epoch has converged all the same."""
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience


class KeepCheckpoints(Checkpoint):
    """Keeps ``last.ckpt`` and ``best.ckpt``, and ends training in good order when asked to.

    SIGTERM, SIGINT and, under Slurm, SIGUSR1 are looked for after each step. Lightning's own handler would broadcast
    from inside whatever runs at the moment, and can hang several processes for good.

    Args:
        folder: of the files.
        by_validation: the best epoch is that of the lowest validation loss; otherwise it is the last one.

    """

    def __init__(self, folder: Path, *, by_validation: bool) -> None:
        self._folder, self._by_validation = folder, by_validation
        self._signal = 0
        self._saved = 0.0
        self._in_epoch = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen from now on; the Trainer puts the old handlers back at its end."""
        self._saved = time.monotonic()
        if threading.current_thread() is threading.main_thread():
            slurm = {signal.SIGUSR1} if "SLURM_JOB_ID" in os.environ else set()
            for number in {signal.SIGTERM, signal.SIGINT} | slurm:
                signal.signal(number, self._hear)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if number == self._signal == signal.SIGINT:
            raise KeyboardInterrupt  # twice: at once, then
        self._signal = max(self._signal, number)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Save or stop, where it is time to."""
        if trainer.is_last_batch:  # the epoch's end is near
            return
        wanted = self._agreed(trainer, batch_idx + 1)
        if wanted:
            self._in_epoch = True
            self._save(trainer)
            self._in_epoch = False
        _stop(wanted)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The best so far, and all of it where it is time to.

        Raises:
            UserError: the training has diverged.

        """
        assert isinstance(pl_module, SeedClassifier)
        if not math.isfinite(pl_module.history[-1]["train_loss"]):
            raise UserError(
                f"training diverged: the loss of epoch {trainer.current_epoch} is no number",
                remedy="lower classifier.learning_rate, or set trainer.precision=32-true",
            )
        if self._is_best(trainer, pl_module):
            trainer.save_checkpoint(self._folder / "best.ckpt", weights_only=True)
        wanted = self._agreed(trainer, 0)
        if wanted:
            self._save(trainer)
        _stop(wanted)

    def _is_best(self, trainer: pl.Trainer, module: SeedClassifier) -> bool:
        if self._by_validation:
            return _best_is_last(module.history)
        return trainer.current_epoch + 1 == trainer.max_epochs

    def _agreed(self, trainer: pl.Trainer, step: int) -> int:
        """0 to go on, 1 to save, or the signal that ends training; the same in all processes."""
        wanted = self._signal or _SAVE * (time.monotonic() - self._saved > SAVE_SECONDS)
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return wanted
        if step % _AGREE_STEPS:
            return 0
        everywhere = torch.tensor(wanted, device=trainer.strategy.root_device)
        torch.distributed.all_reduce(everywhere, torch.distributed.ReduceOp.MAX)
        return int(everywhere)

    def _save(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self._folder / "last.ckpt", weights_only=False)
        self._saved = time.monotonic()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add what :func:`check_resumable` wants to know."""
        checkpoint["in_epoch"], checkpoint["processes"] = self._in_epoch, trainer.world_size


def _best_is_last(history: Sequence[dict[str, float]]) -> bool:
    """Whether no earlier epoch had as low a validation loss; NaN is worst."""
    losses = [row["val_loss"] if math.isfinite(row["val_loss"]) else math.inf for row in history]
    return losses.index(min(losses)) == len(losses) - 1


def _stop(number: int) -> None:
    """Raise what the signal means.

    Raises:
        StoppedError: or one of its subclasses.

    """
    if number == signal.SIGINT:
        raise InterruptedByUserError
    if number == signal.SIGUSR1:
        raise RequeuedError
    if number > _SAVE:
        raise StoppedError


@contextmanager
def stops_in_words(folder: Path) -> Iterator[None]:
    """Turn what :class:`KeepCheckpoints` raises into the process's exit status, with a word on how to go on."""
    try:
        yield
    except (StoppedError, SIGTERMException) as reason:
        if isinstance(reason, RequeuedError):
            requeue(os.environ)
        if launched_by_lightning(os.environ):
            raise SystemExit(0) from None  # with another status Lightning would kill the first process
        if is_rank_zero(os.environ):
            print(f"classify was stopped; {folder} holds what is done. Run the same command to go on.", file=sys.stderr)
        raise SystemExit(getattr(reason, "status", StoppedError.status)) from None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint of a :class:`SeedClassifier`, its tensors still on disk.

    Raises:
        UserError: it is missing, damaged, or something else.

    """
    if not path.is_file():
        raise UserError(f"there is no trained classifier {path}", remedy="run `seedml classify` first")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(
            f"{path} is damaged, or no checkpoint ({str(error).splitlines()[0] if str(error) else 'it ends early'})",
            remedy="delete it and run `seedml classify` again",
        ) from error
    known = found.get("hyper_parameters") if isinstance(found, dict) else None
    if not (isinstance(known, dict) and known.get("class_seeds") and "state_dict" in found):
        raise UserError(f"{path} is no checkpoint of a seed classifier", remedy="name runs/<name>/classifier/best.ckpt")
    return dict(found)


def check_label_set(path: Path, checkpoint: dict[str, Any], class_seeds: Sequence[int]) -> None:
    """Refuse a classifier of other seeds: its answers would be read as those of the study's.

    Raises:
        UserError: the seeds are not the same.

    """
    known = tuple(checkpoint["hyper_parameters"]["class_seeds"])
    if known != tuple(class_seeds):
        raise UserError(
            f"{path} was trained on other seeds than the study's", given=_in_short(known), legal=_in_short(class_seeds),
            remedy=f"put the seeds back by seeds=…, choose another name=…, or delete {path} to train anew",
        )  # fmt: skip


def _in_short(seeds: Sequence[int]) -> str:
    text = format_seeds(tuple(seeds))
    return f"{len(seeds)} seeds: {text if len(text) <= 40 else text[:39] + '…'}"


def check_resumable(path: Path, class_seeds: Sequence[int], processes: int) -> None:
    """Refuse a ``last.ckpt`` from which this training cannot go on.

    Raises:
        UserError: it is damaged, of other seeds, or was made in the middle of an epoch of other processes.

    """
    checkpoint = read_checkpoint(path)
    check_label_set(path, checkpoint, class_seeds)
    before = checkpoint.get("processes", processes)
    if checkpoint.get("in_epoch") and before != processes:
        raise UserError(
            f"{path} is of the middle of an epoch that {before} processes shared", given=f"{processes} processes",
            legal=str(before), remedy=f"go on with trainer.devices and trainer.num_nodes as they were, or delete {path}"
            " to train anew",
        )  # fmt: skip


def load_classifier(path: Path, class_seeds: Sequence[int] | None = None) -> SeedClassifier:
    """A trained classifier, ready to answer, on the CPU.

    Args:
        path: a checkpoint.
        class_seeds: that it has to know, ascending; ``None`` = whichever it knows.

    Raises:
        UserError: the file is missing, damaged, of something else or of other seeds.

    """
    checkpoint = read_checkpoint(path)
    if class_seeds is not None:
        check_label_set(path, checkpoint, class_seeds)
    module = SeedClassifier.load_from_checkpoint(path, map_location="cpu", weights_only=True)
    return module.eval()
