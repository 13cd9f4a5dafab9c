"""Lightning's Trainer for passes that only predict: quiet, keeping nothing, stopping when asked to."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.callbacks import Callback

if TYPE_CHECKING:
    from seedml.config import TrainerConfig


class StopOnSigterm(Callback):
    """Ends prediction within a batch of SIGTERM, with exit status 143; Lightning's predict loop itself ignores it."""

    def on_predict_batch_end(self, trainer: pl.Trainer, *args: object) -> None:
        """Look after every batch."""
        if trainer.received_sigterm:
            raise SystemExit(143)


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


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Without its hints on hardware, and without warnings that do not apply to our passes."""
    logger = logging.getLogger("pytorch_lightning.utilities.rank_zero")
    before = logger.level
    logger.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # decoding shares the cores with the network: more workers do not help; nobody asks for the batches' indices
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*Couldn't infer the batch indices.*")
        # Lightning 2.6 itself, on newer torch
        warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")
        try:
            yield
        finally:
            logger.setLevel(before)


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Compute with ``count`` CPU threads in the block; ``None`` = as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
