"""The end of a study in the terminal: headline numbers, the chosen seeds, where the page is.

A terminal gets a table in colours; a pipe or a log gets the same as plain lines, and a program one JSON object.
"""

from __future__ import annotations

import json
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from seedml.config import StudyConfig
from seedml.files import read_json
from seedml.report.headline import Headline, headlines
from seedml.report.inputs import Run, collect
from seedml.report.page import FILE
from seedml.summary import read_summary

_MARKS = {
    "good": ("✓", "green"), "expected": ("✓", "green"), "unclear": ("?", "yellow"), "bad": ("!", "red"),
    "": (" ", "default"),
}  # fmt: skip
"""Tone -> its mark and its colour: what differs by colour differs by its mark too."""
_LISTED = 10
"""Chosen seeds that are listed; the others are counted."""


def tell(config: StudyConfig, console: Console | None = None) -> None:
    """Print how the study ended."""
    console = console or Console()
    run, page = collect(config), config.run_dir / FILE
    if console.is_terminal:
        console.print(_table(run))
        for kind in ("golden", "inferior"):
            console.print(_chosen(run, kind))
        console.print(Text.assemble(("report: ", "dim"), (str(page), "bold")), soft_wrap=True)
    else:
        console.file.write("\n".join([*_lines(run), f"report: {page}"]) + "\n")


def as_json(config: StudyConfig) -> str:
    """What a study's folder says, as one JSON object: where its files are, the chosen seeds and ``summary.json``."""
    run_dir, book = config.run_dir, config.run_dir / "seedbook.json"
    chosen = read_json(book) if book.exists() else {}
    files = {"report": run_dir / FILE, "seedbook": book, "seeds": run_dir / "seeds.parquet"}
    told: dict[str, Any] = {
        "name": config.name, "run": str(run_dir), "shards": str(config.shard_dir),
        **{name: str(path) if path.exists() else None for name, path in files.items()},
        **{kind: chosen.get(kind) for kind in ("golden", "inferior", "diverse")},
        "summary": read_summary(run_dir),
    }  # fmt: skip
    return json.dumps(told, ensure_ascii=False, allow_nan=False)


def _lines(run: Run) -> list[str]:
    return [f"{number.title}: {number.value} {number.interval}".rstrip() for number in headlines(run)]


def _table(run: Run) -> Table:
    table = Table(
        title=Text(f"Seed study {run.name}"),
        title_justify="left",
        title_style="bold",
        header_style="dim",
        box=SIMPLE_HEAD,
    )
    table.add_column("")
    table.add_column("question")
    table.add_column("answer", justify="right", no_wrap=True)
    table.add_column(f"{run.confidence} interval", style="dim")
    for number in headlines(run):
        mark, colour = _MARKS[number.tone]
        table.add_row(
            Text(mark, style=colour), number.title, Text(number.value, style=f"bold {colour}"), _bounds(number)
        )
    return table


def _bounds(number: Headline) -> str:
    """The interval without the words that head its column."""
    _, found, rest = number.interval.partition(" interval ")
    return rest if found else number.interval


def _chosen(run: Run, kind: str) -> Text:
    seeds = run.chosen(kind)
    more = f" and {len(seeds) - _LISTED} more" if len(seeds) > _LISTED else ""
    listed = ", ".join(str(seed) for seed in seeds[:_LISTED]) + more
    return Text.assemble((f"{kind} seeds: ", "dim"), listed or "none beyond doubt")
