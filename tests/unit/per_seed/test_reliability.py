from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from seedml.per_seed.reliability import random_halves, rank_correlations, spearman_brown, split_half


def test_halves_are_halves() -> None:
    for blocks in (8, 9):
        halves = random_halves(blocks, 20, np.random.default_rng(0))
        assert halves.shape == (20, blocks)
        assert set(halves.sum(1).tolist()) == {blocks // 2}
        assert len({tuple(row) for row in halves}) > 10


def test_rank_correlations_are_scipys_ties_included() -> None:
    generator = np.random.default_rng(1)
    first, second = generator.normal(size=(6, 15)), generator.integers(0, 5, size=(6, 15)).astype(float)
    theirs = [stats.spearmanr(a, b).statistic for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(rank_correlations(first, second), theirs, rtol=1e-12)


def test_spearman_brown() -> None:
    assert spearman_brown(0.5) == pytest.approx(2 / 3)
    assert spearman_brown(1.0) == 1.0
    assert spearman_brown(0.0) == 0.0


def test_a_true_order_is_found_again_and_noise_is_not() -> None:
    generator = np.random.default_rng(2)
    truth = generator.normal(size=40)
    noise = generator.normal(size=(2, 40)) * 0.5
    repeated = split_half((truth + noise[0])[None], (truth + noise[1])[None])
    assert repeated.low < 0.8 < repeated.high
    assert 0.3 < repeated.low < repeated.correlation < repeated.reliability <= 1
    luck = split_half(generator.normal(size=(10, 40)), generator.normal(size=(10, 40)))
    assert luck.low < 0 < luck.high


def test_limits_cover_the_true_correlation() -> None:
    covered = 0
    truth = 6 / np.pi * np.arcsin(0.6 / 2)  # Spearman of a bivariate normal with Pearson 0.6
    for study in range(120):
        pair = np.random.default_rng([3, study]).multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], size=40)
        found = split_half(pair[None, :, 0], pair[None, :, 1])
        covered += found.low <= truth <= found.high
    assert 0.89 <= covered / 120 <= 1.0


def test_few_seeds_have_a_correlation_but_no_limits() -> None:
    found = split_half(np.array([[1.0, 2.0, 3.0]]), np.array([[1.0, 3.0, 2.0]]))
    assert found.correlation == pytest.approx(0.5)
    assert np.isnan(found.low)
