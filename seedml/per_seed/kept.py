"""Results of finished seeds, kept until all are: a pass that was stopped goes on after its last whole seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seedml.files import atomic_write_bytes
from seedml.per_seed.balance import Floats


class KeptRows:
    """Rows of numbers in a folder, a file a row.

    Args:
        folder: of this kind of rows, made from these inputs alone; ``None`` keeps nothing.
        width: numbers in a row.

    """

    def __init__(self, folder: Path | None, width: int) -> None:
        self._folder, self._width = folder, width

    def get(self, index: int) -> Floats | None:
        """The row of a seed, ``width`` float64; ``None`` if it is not kept."""
        if self._folder is None or not self._path(index).is_file():
            return None
        row = np.fromfile(self._path(index), np.float64)
        return row if len(row) == self._width else None

    def put(self, index: int, row: Floats) -> None:
        """Keep a row; its file is there whole or not at all."""
        if self._folder is not None:
            atomic_write_bytes(self._path(index), np.ascontiguousarray(row, np.float64).tobytes())

    def _path(self, index: int) -> Path:
        assert self._folder is not None, "a folder to keep rows in"
        return self._folder / f"{index}.f64"
