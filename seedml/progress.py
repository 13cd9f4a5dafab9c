"""Progress bars with rate and remaining time, for plain loops and for Lightning's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

Item = TypeVar("Item")


class _RateColumn(ProgressColumn):
    """Finished units a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f} {task.fields.get('unit', 'it')}/s" if speed else "-", style="progress.data.speed")


@contextmanager
def progress_bar(description: str, total: int | None, unit: str = "it", completed: int = 0) -> Iterator[Bar]:
    """A bar on stderr; yields an object whose ``advance(n)`` moves it. Without a terminal: one line at the end."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _RateColumn(),
        TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, refresh_per_second=4) as progress:
        yield Bar(progress, progress.add_task(description, total=total, completed=completed, unit=unit))


class Bar:
    """One line of progress."""

    def __init__(self, progress: Progress, task: object) -> None:
        self._progress, self._task = progress, task

    def advance(self, steps: int = 1, **fields: object) -> None:
        """Count ``steps`` more as done; ``description=…`` changes the text."""
        self._progress.update(self._task, advance=steps, **fields)  # type: ignore[arg-type]


def track(items: Iterable[Item], description: str, total: int | None = None, unit: str = "it") -> Iterator[Item]:
    """Iterate over ``items`` under a progress bar."""
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    with progress_bar(description, total, unit) as bar:
        for item in items:
            yield item
            bar.advance()


class RateProgressBar(ProgressBar):
    """Lightning's loops under one bar: optimiser steps in ``fit``, batches elsewhere; the logged numbers beside it.

    Args:
        description: what is going on, in two words.
        unit: what is counted.

    """

    def __init__(self, description: str, unit: str = "step") -> None:
        super().__init__()
        self.description, self.unit = description, unit
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
        if self._bar is not None:
            shown = " ".join(
                f"{key} {value:.4g}" for key, value in trainer.progress_bar_metrics.items() if key != "v_num"
            )
            self._bar.advance(steps, description=f"{self.description} {shown}".rstrip())

    def _close(self) -> None:
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
        self._close()

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar."""
        self._open(sum(trainer.num_predict_batches))

    def on_predict_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """Count a batch."""
        self._advance(trainer)

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar."""
        self._close()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar."""
        self._open(sum(trainer.num_test_batches))

    def on_test_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """Count a batch."""
        self._advance(trainer)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar."""
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave the terminal in order."""
        self._close()
