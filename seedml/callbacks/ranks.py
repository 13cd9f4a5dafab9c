"""Sums over ranks."""

from __future__ import annotations

import pytorch_lightning as pl
import torch
from torch import Tensor


def add_over_ranks(trainer: pl.Trainer, values: Tensor) -> Tensor:
    """The sum of a tensor over all ranks; float64 and integers stay what they are."""
    if trainer.world_size == 1:
        return values
    total = values.to(trainer.strategy.root_device)
    torch.distributed.all_reduce(total)
    return total.cpu()
