from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from seedml.per_seed.moments import Moments, pack, packed_size, unpack


def _symmetric(*shape: int, d: int) -> torch.Tensor:
    matrices = torch.from_numpy(np.random.default_rng(0).normal(size=(*shape, d, d)))
    return matrices + matrices.mT


@pytest.mark.parametrize("d", [1, 2, 3, 4, 7, 8, 33])
def test_a_symmetric_matrix_is_stored_once_and_comes_back_exactly(d: int) -> None:
    matrices = _symmetric(3, 2, d=d)
    packed = pack(matrices)
    assert packed.shape == (3, 2, d * (d + 1) // 2) == (3, 2, packed_size(d))
    assert torch.equal(unpack(packed, d), matrices)
    for numbers, matrix in zip(packed.view(6, -1), matrices.view(6, d, d), strict=True):
        upper = matrix[torch.ones(d, d, dtype=torch.bool).triu()]
        assert sorted(numbers.tolist()) == sorted(upper.tolist())  # each number of the triangle once


def test_packed_sums_are_half_of_the_full_ones() -> None:
    sums = Moments.zeros((2,), torch.zeros(2048, dtype=torch.float64))
    assert sums.packed.nbytes == 2 * 8 * 2048 * 2049 // 2


def test_sums_come_back_from_their_file_to_the_last_bit(tmp_path: Path) -> None:
    features = torch.from_numpy(np.random.default_rng(1).normal(size=(3, 20, 5)) + 100)
    sums = Moments.of(features, torch.full((5,), 99.0, dtype=torch.float64))
    sums.save(tmp_path / "sums.safetensors")
    again = Moments.load(tmp_path / "sums.safetensors")
    for name in ("count", "total", "packed", "origin"):
        assert torch.equal(getattr(again, name), getattr(sums, name)), name
    assert [path.name for path in tmp_path.iterdir()] == ["sums.safetensors"]


def test_sums_of_one_group_have_a_gaussian_too() -> None:
    x = np.random.default_rng(2).normal(size=(40, 6))
    mean, covariance = Moments.of(torch.from_numpy(x)).gaussian()
    np.testing.assert_allclose(mean, x.mean(0), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(covariance, np.cov(x, rowvar=False), rtol=1e-11, atol=1e-12)
