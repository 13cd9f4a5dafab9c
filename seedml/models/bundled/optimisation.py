"""How all of seedling's parts are optimised: AdamW with warm-up and cosine decay."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR


@dataclass(frozen=True)
class Schedule:
    """Learning rate over a training of ``steps`` optimiser steps: linear warm-up, then a cosine to 2 %."""

    steps: int
    learning_rate: float
    warmup: int = 200
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 < self.learning_rate < 1:
            raise ValueError(f"a schedule needs steps ≥ 1 and a learning rate in (0, 1); given: {self}")

    def factor(self, step: int) -> float:
        """Share of the peak learning rate at ``step``."""
        warmup = min(self.warmup, self.steps // 10)
        if step < warmup:
            return (step + 1) / (warmup + 1)
        done = min(1.0, (step - warmup) / max(1, self.steps - warmup))
        return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done))


def adamw(parameters: Iterable[Tensor], schedule: Schedule) -> dict[str, Any]:
    """AdamW with ``schedule``, stepped every batch, as Lightning wants it."""
    optimizer = AdamW(
        parameters, lr=schedule.learning_rate, betas=(0.9, 0.98), weight_decay=schedule.weight_decay, foreach=True
    )
    return {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": LambdaLR(optimizer, schedule.factor), "interval": "step"},
    }
