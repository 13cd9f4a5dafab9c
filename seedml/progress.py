"""Progress bars with rate and remaining time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

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
def progress_bar(
    description: str, total: int | None, unit: str = "it", completed: int = 0, *, shown: bool = True
) -> Iterator[Bar]:
    """A bar on stderr; yields an object whose ``advance(n)`` moves it. Without a terminal: one line at the end.

    Args:
        description: what is going on, in two words.
        total: units in all; ``None`` = unknown.
        unit: what is counted.
        completed: units that are done already.
        shown: ``False`` moves a bar that nobody sees: one of several processes speaks for all.

    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _RateColumn(),
        TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, refresh_per_second=4, disable=not shown) as progress:
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
