"""Features are written from parts in any order, and the file is the one that the library would write."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from seedml.measurement.parts import Rows
from seedml.measurement.results import FEATURES, write_streamed_features

D = 5
NETWORK: Any = SimpleNamespace(name="mine", resize="bilinear, größer", dimension=D)


def _rows(cells: int = 60) -> Rows:
    """Cells in shuffled order; a few are missing."""
    grid = np.array([(seed, prompt) for seed in (4, 7, 300) for prompt in range(0, 46, 2)])
    grid = grid[np.random.default_rng(0).permutation(len(grid))[:cells]]
    features = np.random.default_rng(1).normal(size=(cells, D)).astype(np.float32)
    return Rows(grid[:, 0].copy(), grid[:, 1].copy(), features, {})


def _expected(rows: Rows) -> bytes:
    """The library's bytes, with the order of the notes that it leaves to chance."""
    own = rows.sorted()
    arrays = {"features": own.features, "seed": own.seeds, "prompt_id": own.prompt_ids}
    data = save(arrays, {"network": "mine", "resize": "bilinear, größer", "dimension": "5"})
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    return (
        data[:8]
        + json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length)
        + data[8 + length :]
    )


@pytest.mark.parametrize("size", [1, 7, 60])
def test_parts_in_any_order_give_the_librarys_bytes(tmp_path: Path, size: int) -> None:
    rows = _rows()
    parts = [
        (rows.seeds[at : at + size], rows.prompt_ids[at : at + size], rows.features[at : at + size])
        for at in range(0, 60, size)
    ]
    write_streamed_features(tmp_path, rows, iter(parts), NETWORK)
    assert (tmp_path / FEATURES).read_bytes() == _expected(rows)
    stored, own = load_file(tmp_path / FEATURES), rows.sorted()
    np.testing.assert_array_equal(stored["features"], own.features)


def test_no_image_gives_a_file_too(tmp_path: Path) -> None:
    rows = _rows(0)
    write_streamed_features(tmp_path, rows, [], NETWORK)
    assert (tmp_path / FEATURES).read_bytes() == _expected(rows)


@pytest.mark.parametrize("fault", ["missing", "foreign"])
def test_a_part_that_does_not_belong_leaves_no_file(tmp_path: Path, fault: str) -> None:
    rows = _rows()
    part = (rows.seeds, rows.prompt_ids, rows.features)
    if fault == "missing":
        part = (rows.seeds[1:], rows.prompt_ids[1:], rows.features[1:])
    else:
        part = (rows.seeds, rows.prompt_ids + 1, rows.features)
    with pytest.raises((AssertionError, IndexError)):
        write_streamed_features(tmp_path, rows, [part], NETWORK)
    assert list(tmp_path.iterdir()) == []
