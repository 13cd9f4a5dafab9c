"""``summary.json``: a study's headline numbers, gathered from the steps that measure them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from seedml.files import atomic_write_json, read_json

FILE = "summary.json"


def figure(
    value: float, low: float | None = None, high: float | None = None, n: int | None = None
) -> dict[str, object]:
    """A headline number with its interval and sample size, as ``summary.json`` holds it."""
    entry: dict[str, object] = {"value": value}
    entry |= {name: bound for name, bound in (("low", low), ("high", high), ("n", n)) if bound is not None}
    return entry


def read_summary(run_dir: Path) -> dict[str, object]:
    """The run's headline numbers so far; empty before the first step that writes some."""
    path = run_dir / FILE
    return read_json(path) if path.exists() else {}


def update_summary(run_dir: Path, values: Mapping[str, object]) -> None:
    """Add or replace headline numbers. A mapping joins the mapping that is there (``seconds`` per step)."""
    before = read_summary(run_dir)
    merged = dict(before)
    for key, value in values.items():
        old = merged.get(key)
        joined = isinstance(old, dict) and isinstance(value, Mapping) and "value" not in value
        merged[key] = {**old, **value} if joined and isinstance(old, dict) and isinstance(value, Mapping) else value
    if merged != before:
        atomic_write_json(run_dir / FILE, dict(sorted(merged.items())))
