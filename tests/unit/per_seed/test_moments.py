from __future__ import annotations

import numpy as np
import pytest
import torch

from seedml.per_seed.moments import Moments


def _features(*shape: int, seed: int = 0, offset: float = 0.0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape) * 3 + offset)


def test_mean_and_covariance_are_numpys() -> None:
    x = _features(4, 50, 7)
    means, covariances = Moments.of(x).gaussian()
    for row in range(4):
        np.testing.assert_allclose(means[row], x[row].numpy().mean(0), rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(covariances[row], np.cov(x[row].numpy(), rowvar=False), rtol=1e-11, atol=1e-12)


def test_rows_in_any_order_and_batch_size_give_the_sums_of_each_group() -> None:
    x, groups = _features(120, 5), torch.from_numpy(np.random.default_rng(1).integers(0, 6, 120))
    sums = Moments.zeros((2, 3), torch.ones(5))
    order = torch.from_numpy(np.random.default_rng(2).permutation(120))
    for start in range(0, 120, 17):
        rows = order[start : start + 17]
        sums.add_rows(x[rows], groups[rows])
    for group in range(6):
        alone = Moments.of(x[groups == group], torch.ones(5))
        merged = sums[group // 3, group % 3]
        assert int(merged.count) == int((groups == group).sum())
        torch.testing.assert_close(merged.total, alone.total, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(merged.outer, alone.outer, rtol=1e-12, atol=1e-12)


def test_sums_of_parts_are_the_sums_of_the_whole_and_can_be_taken_out_again() -> None:
    x = _features(30, 4)
    whole, part, rest = Moments.of(x), Moments.of(x[:11]), Moments.of(x[11:])
    for joined, wanted in (((part + rest), whole), ((whole - part), rest)):
        torch.testing.assert_close(joined.outer, wanted.outer, rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(joined.total, wanted.total, rtol=1e-11, atol=1e-11)
        assert int(joined.count) == int(wanted.count)
    folded = Moments.of(x.view(3, 10, 4)).sum(0)
    torch.testing.assert_close(folded.gaussian()[1], whole.gaussian()[1], rtol=1e-11, atol=1e-12)


def test_a_large_offset_does_not_drown_the_covariance() -> None:
    small, large = _features(200, 6), _features(200, 6, offset=1e7)
    _, covariance = Moments.of(large, torch.full((6,), 1e7, dtype=torch.float64)).gaussian()
    torch.testing.assert_close(covariance, Moments.of(small).gaussian()[1], rtol=1e-6, atol=1e-7)
    _, drowned = Moments.of(large).gaussian()
    assert (drowned - covariance).abs().max() > 1e-4  # what the origin is for


def test_sums_around_different_origins_do_not_add() -> None:
    with pytest.raises(AssertionError, match="origins"):
        Moments.of(_features(5, 2)) + Moments.of(_features(5, 2), torch.ones(2))


def test_one_image_has_no_covariance() -> None:
    with pytest.raises(ValueError, match="two images or more; the smallest group has 1"):
        Moments.of(_features(3, 1, 4)).gaussian()
