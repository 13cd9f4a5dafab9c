"""A cube leaves its vectors where they are stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seedml.per_seed.balance import Cube, balanced_cube, read_rows

SEEDS, PROMPTS, D = np.array([2, 3, 9]), np.array([0, 4, 5, 7]), 3


def _stored(folder: Path, mapped: bool, shuffled: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows whose numbers tell seed and prompt, behind 12 bytes of something else."""
    seeds, prompts = (keys.ravel() for keys in np.meshgrid(SEEDS, PROMPTS, indexing="ij"))
    order = np.random.default_rng(0).permutation(12) if shuffled else np.arange(12)
    seeds, prompts = seeds[order], prompts[order]
    rows = np.stack([seeds, prompts, seeds * 100 + prompts], 1).astype(np.float32)
    if not mapped:
        return rows, seeds, prompts
    (folder / "rows").write_bytes(b"twelve bytes" + rows.tobytes())
    return np.memmap(folder / "rows", "<f4", "r", offset=12, shape=rows.shape), seeds, prompts


def _require_right(cube: Cube, prompts: np.ndarray) -> None:
    wanted = np.array([[[s, p, s * 100 + p] for p in prompts] for s in SEEDS], np.float32)
    assert cube.shape == wanted.shape
    np.testing.assert_array_equal(cube.values, wanted)
    np.testing.assert_array_equal(np.stack(list(cube.by_seed())), wanted)
    for size in (1, 80, 1 << 20):  # one prompt, two, all at a time
        np.testing.assert_array_equal(np.stack(list(cube.by_prompt(size)), 1), wanted)


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("shuffled", [False, True])
def test_every_seed_and_prompt_is_read_from_its_rows(tmp_path: Path, mapped: bool, shuffled: bool) -> None:
    stored = _stored(tmp_path, mapped, shuffled)
    _require_right(balanced_cube(*stored), PROMPTS)
    _require_right(balanced_cube(*stored, among=np.array([0, 5, 7, 1000])), np.array([0, 5, 7]))
    rows, seeds, prompts = stored
    without = (seeds != 3) | (prompts != 4)
    if not mapped:
        _require_right(balanced_cube(rows[without], seeds[without], prompts[without]), np.array([0, 5, 7]))


def test_nothing_is_copied(tmp_path: Path) -> None:
    rows, seeds, prompts = _stored(tmp_path, True, False)
    cube = balanced_cube(rows, seeds, prompts)
    assert cube.rows is rows
    taken = read_rows(rows, 2, 5)
    assert not isinstance(taken, np.memmap)  # read from the file, so that no page of the map stays in memory
    np.testing.assert_array_equal(taken, rows[2:5])
