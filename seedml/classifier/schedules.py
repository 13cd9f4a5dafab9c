"""Courses of the learning rate over a training. Pure functions over step numbers."""

from __future__ import annotations

import math
from functools import partial

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

RISE = 0.05
"""Share of the training in which the learning rate of ``cosine`` and ``constant`` rises to its highest value."""


def rising(step: int, steps: int) -> float:
    """Share of the highest learning rate at ``step`` (from 0) of ``steps``: a straight rise, then 1."""
    return min(1.0, (step + 1) / max(1.0, RISE * steps))


def rising_then_cosine(step: int, steps: int) -> float:
    """The same rise, then half a cosine down to 0 at the end (Loshchilov and Hutter, 2017, without restarts)."""
    start = RISE * steps
    passed = min(1.0, max(0.0, (step - start) / max(1.0, steps - start)))
    return rising(step, steps) * (1 + math.cos(math.pi * passed)) / 2


def make_schedule(name: str, optimizer: Optimizer, highest: float, steps: int) -> LRScheduler:
    """A scheduler that is stepped once after each step of the optimizer.

    Args:
        name: ``one_cycle`` (Smith and Topin, 2018: up over a quarter of the training, down over the rest, momentum the
            other way round), ``cosine`` or ``constant``.
        optimizer: whose learning rate is set; it was made with ``highest``.
        highest: learning rate.
        steps: of the whole training.

    """
    if name == "one_cycle":
        return OneCycleLR(optimizer, highest, total_steps=steps, pct_start=0.25)
    courses = {"cosine": rising_then_cosine, "constant": rising}
    return LambdaLR(optimizer, partial(courses[name], steps=steps))
