from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from seedml.per_seed.balance import prompt_blocks
from seedml.per_seed.intervals import (
    block_jackknife,
    bootstrap_means,
    jackknife_of,
    resampling_weights,
    wilson_shares,
)


def test_the_jackknife_of_a_mean_is_the_textbooks_standard_error() -> None:
    x = np.random.default_rng(0).gamma(2, size=(40, 3))
    found = jackknife_of(lambda rows: x[rows].mean(0), np.arange(40))
    np.testing.assert_allclose(found.error, x.std(0, ddof=1) / np.sqrt(40), rtol=1e-12)
    np.testing.assert_allclose(found.corrected, x.mean(0), rtol=1e-12)
    assert found.freedom == 39


def test_the_jackknife_removes_the_bias_of_the_plain_variance_exactly() -> None:
    x = np.random.default_rng(1).normal(size=25)
    found = jackknife_of(lambda rows: x[rows].var(), np.arange(25))
    np.testing.assert_allclose(found.value, x.var(), rtol=1e-12)
    np.testing.assert_allclose(found.corrected, x.var(ddof=1), rtol=1e-12)


@pytest.mark.parametrize("n", [32, 35])
def test_blocks_of_equal_and_unequal_sizes_leave_a_mean_unbiased_and_agree_with_pseudo_values(n: int) -> None:
    x, blocks = np.random.default_rng(2).normal(size=n), prompt_blocks(n, 8)
    found = jackknife_of(lambda rows: x[rows].mean(), blocks)
    np.testing.assert_allclose(found.corrected, x.mean(), rtol=1e-10, atol=1e-12)
    # for a mean, pseudo-value j is the mean of block j
    means, sizes = np.array([x[blocks == b].mean() for b in range(8)]), np.bincount(blocks)
    variance = ((means - x.mean()) ** 2 / (n / sizes - 1)).mean()
    np.testing.assert_allclose(found.error, np.sqrt(variance), rtol=1e-10)


def test_limits_are_students_and_p_values_fit_them() -> None:
    found = block_jackknife(np.array([2.0, 0.0, 0.0]), np.array([[1.0, 0.0, 0.1], [3.0, 0.0, -0.1]]), np.array([4, 4]))
    assert found.error[0] == 1.0
    interval = found.interval(0.9)
    np.testing.assert_allclose(interval.high[0] - 2.0, stats.t.ppf(0.95, 1))
    np.testing.assert_allclose(found.p_value()[[0, 1, 2]], [2 * stats.t.sf(2.0, 1), 1.0, 1.0])


def test_one_block_is_too_few() -> None:
    with pytest.raises(ValueError, match="two blocks or more, given: 1"):
        block_jackknife(1.0, np.array([1.0]), np.array([3]))


def test_bootstrap_limits_are_scipys_at_the_widened_level() -> None:
    table = np.random.default_rng(3).gamma(1.5, size=(5, 60))
    weights = resampling_weights(60, 4000, np.random.default_rng(4))
    np.testing.assert_allclose(weights.sum(1), 1)
    found = bootstrap_means(table, weights, 0.95)
    level = 1 - 2 * stats.norm.cdf(np.sqrt(60 / 59) * stats.t.ppf(0.025, 59))
    assert 0.95 < level < 0.97
    for row in range(5):
        theirs = stats.bootstrap(
            (table[row],), np.mean, confidence_level=level, n_resamples=4000, method="percentile", rng=5
        ).confidence_interval
        spread = table[row].std() / np.sqrt(60)
        assert abs(found.low[row] - theirs.low) < 0.12 * spread
        assert abs(found.high[row] - theirs.high) < 0.12 * spread
    np.testing.assert_allclose(found.value, table.mean(1))


def test_seeds_are_resampled_with_the_same_prompts() -> None:
    table = np.random.default_rng(6).normal(size=(2, 30))
    table[1] = table[0] + 1
    found = bootstrap_means(table, resampling_weights(30, 500, np.random.default_rng(7)))
    np.testing.assert_allclose(found.low[1] - found.low[0], 1, rtol=1e-12)


@pytest.mark.parametrize("ones", [0, 1, 13, 159, 160])
def test_share_limits_are_scipys_wilson_limits(ones: int) -> None:
    found = wilson_shares((np.arange(160) < ones).astype(float)[None])
    theirs = stats.binomtest(ones, 160).proportion_ci(0.95, "wilson")
    np.testing.assert_allclose([found.low[0], found.high[0]], [theirs.low, theirs.high], atol=1e-12)
    assert found.low[0] <= found.value[0] == ones / 160 <= found.high[0]
