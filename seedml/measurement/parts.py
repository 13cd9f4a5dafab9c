"""What was measured of one tile, kept until all are: a run that was stopped goes on after its last whole tile."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seedml.files import atomic_path
from seedml.measurement.module import MeasuredBatch

_COLUMN = "column."


class Rows(NamedTuple):
    """Measured images as arrays.

    Attributes:
        seeds: N int64.
        prompt_ids: N int64.
        features: N × D float32.
        columns: attribute column -> N float32.

    """

    seeds: NDArray[np.int64]
    prompt_ids: NDArray[np.int64]
    features: NDArray[np.float32]
    columns: dict[str, NDArray[np.float32]]

    def sorted(self) -> Rows:
        """By (seed, prompt_id)."""
        order = np.lexsort((self.prompt_ids, self.seeds))
        columns = {name: values[order] for name, values in self.columns.items()}
        return Rows(self.seeds[order], self.prompt_ids[order], self.features[order], columns)


def join(parts: Sequence[Rows]) -> Rows:
    """The rows of all parts, in order."""
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
    return Rows(
        np.concatenate([part.seeds for part in parts]), np.concatenate([part.prompt_ids for part in parts]),
        np.concatenate([part.features for part in parts]), columns,
    )  # fmt: skip


def to_rows(batch: MeasuredBatch) -> Rows:
    """A measured batch as arrays in main memory."""
    columns = {name: values.cpu().numpy() for name, values in batch.columns.items()}
    return Rows(batch.seeds.cpu().numpy(), batch.prompt_ids.cpu().numpy(), batch.features.cpu().numpy(), columns)


def part_path(folder: Path, tile: str) -> Path:
    """Where a tile's part is, or will be."""
    return folder / f"{tile}.safetensors"


def write_part(folder: Path, tile: str, rows: Rows) -> None:
    """Keep a tile's rows; the file is there whole or not at all."""
    from safetensors.numpy import save_file

    arrays = {"seed": rows.seeds, "prompt_id": rows.prompt_ids, "features": rows.features}
    arrays |= {f"{_COLUMN}{name}": values for name, values in rows.columns.items()}
    with atomic_path(part_path(folder, tile)) as temporary:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary)


def read_part(folder: Path, tile: str, *, features: bool = True) -> Rows:
    """A tile's rows; without ``features`` these are N × 0 and are not read."""
    from safetensors import safe_open

    with safe_open(part_path(folder, tile), framework="numpy") as part:
        names = [name for name in part.keys() if name != "features"]  # noqa: SIM118
        arrays = {name: part.get_tensor(name) for name in names}
        found = part.get_tensor("features") if features else np.empty((len(arrays["seed"]), 0), np.float32)
    columns = {name.removeprefix(_COLUMN): array for name, array in arrays.items() if name.startswith(_COLUMN)}
    return Rows(arrays["seed"], arrays["prompt_id"], found, columns)


def empty_rows(columns: Sequence[str]) -> Rows:
    """No rows of these columns, and no features."""
    whole, real = np.empty(0, np.int64), np.empty(0, np.float32)
    return Rows(whole, whole, np.empty((0, 0), np.float32), dict.fromkeys(columns, real))
