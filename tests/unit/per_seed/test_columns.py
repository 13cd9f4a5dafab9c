from __future__ import annotations

import numpy as np
import pytest

from seedml.config import StatisticsConfig
from seedml.per_seed.columns import column_statistics
from seedml.per_seed.intervals import bootstrap_means, resampling_weights, wilson_shares
from seedml.per_seed.power import minimal_detectable_effect, minimal_detectable_share
from seedml.per_seed.variance import variance_shares

STATISTICS = StatisticsConfig(blocks=8, permutations=100, bootstrap=400)


def _column(seeds: int = 12, prompts: int = 60, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    table: np.ndarray = 2 * generator.normal(size=(1, prompts)) + generator.gamma(1, size=(seeds, prompts))
    return table


def test_a_complete_column_is_the_sum_of_its_parts() -> None:
    table = _column()
    found = column_statistics(table, False, STATISTICS)
    weights = resampling_weights(60, 400, np.random.default_rng([0, 2]))
    for ours, theirs in zip(found.means, bootstrap_means(table, weights), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    for ours, theirs in zip(found.shares, variance_shares(table, 8), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    error = (table - table.mean(0)).std(axis=0)
    expected = minimal_detectable_effect(np.sqrt((error**2).sum()) / 60, np.inf, 12, 0.05)
    np.testing.assert_allclose(found.detectable, expected)
    assert found.n == 60


def test_a_share_column_has_wilsons_limits_and_a_detectable_rise() -> None:
    table = (np.random.default_rng(1).random((12, 80)) < 0.1).astype(float)
    table[3] = 0
    found = column_statistics(table, True, STATISTICS)
    for ours, theirs in zip(found.means, wilson_shares(table), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert found.means.value[3] == found.means.low[3] == 0 < found.means.high[3]
    np.testing.assert_allclose(found.detectable, minimal_detectable_share(table.mean(0), 12, 0.05), rtol=1e-6)


@pytest.mark.parametrize("is_share", [False, True])
def test_one_missing_image_does_not_cost_its_prompt(is_share: bool) -> None:
    table = _column()
    table = (table > 2).astype(float) if is_share else table
    complete = column_statistics(table, is_share, STATISTICS)
    table[np.arange(60) % 12, np.arange(60)] = np.nan  # at every prompt one seed: no prompt is complete
    found = column_statistics(table, is_share, STATISTICS)
    assert found.n == 60
    width = complete.means.high - complete.means.low
    assert (np.abs(found.means.value - complete.means.value) < 0.4 * width).all()
    np.testing.assert_allclose(found.means.high - found.means.low, width, rtol=0.25)
    np.testing.assert_allclose(found.detectable, complete.detectable, rtol=0.2)
    np.testing.assert_allclose(found.shares.value, complete.shares.value, atol=0.03)
    assert np.isfinite(found.q).all()


def test_a_seed_that_lacks_hard_prompts_is_not_found_for_that_but_one_with_an_effect_is() -> None:
    table = _column(prompts=200, seed=3)
    hardness = table[:5].mean(axis=0)
    table[5, hardness < np.median(hardness)] = np.nan
    table[7] += 1
    found = column_statistics(table, False, STATISTICS)
    assert found.q[7] <= 0.05
    assert found.q[5] > 0.2
    assert found.means.low[5] <= table[[0, 1, 2, 3]].mean() <= found.means.high[5]


def test_prompts_with_one_value_are_left_out_and_a_column_without_values_is_unknown() -> None:
    table = _column(4, 10)
    table[1:, 0] = np.nan
    assert column_statistics(table, False, STATISTICS).n == 9
    found = column_statistics(np.full((4, 10), np.nan), False, STATISTICS)
    assert found.n == 0
    assert np.isnan(found.means).all()
    assert np.isnan(found.q).all()
    assert np.isnan([found.spread_p, found.detectable]).all()
    alone = column_statistics(_column(1, 10), False, STATISTICS)
    assert np.isfinite(alone.means).all()
    assert np.isnan(alone.detectable)


def test_the_order_of_prompts_changes_only_what_chance_draws() -> None:
    table = _column()
    order = np.random.default_rng(2).permutation(60)
    ours, theirs = (column_statistics(t, False, STATISTICS) for t in (table, table[:, order]))
    np.testing.assert_allclose(ours.means.value, theirs.means.value, rtol=1e-12)
    np.testing.assert_allclose(ours.shares.value, theirs.shares.value, rtol=1e-10)
    np.testing.assert_allclose(ours.detectable, theirs.detectable, rtol=1e-10)
