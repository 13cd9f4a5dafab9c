"""What a step's results were made from: hashes of its input files.

``files.step_is_done`` guards *settings*: other settings in the same folder are a mistake. Inputs are no mistake when
they change (a failed image was made again): the step has to run again, and this is how it notices.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from seedml.files import atomic_write_json, read_json


def _record(run_dir: Path, step: str) -> Path:
    return run_dir / ".steps" / f"{step}.inputs.json"


def made_from(run_dir: Path, step: str, inputs: Mapping[str, str]) -> bool:
    """Whether ``step``'s results in ``run_dir`` were made from exactly these inputs (name -> hash)."""
    path = _record(run_dir, step)
    return path.exists() and read_json(path) == dict(inputs)


def record_inputs(run_dir: Path, step: str, inputs: Mapping[str, str]) -> None:
    """Say what ``step``'s results were made from. Call it before ``files.finish_step``."""
    atomic_write_json(_record(run_dir, step), dict(inputs))
