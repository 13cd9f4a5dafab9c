from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from seedml.applications.comparison import of_folds, of_tables, removed_share, share_limits
from seedml.per_seed.folds import Folds
from seedml.per_seed.intervals import Interval


def _interval(value: float, low: float, high: float) -> Interval:
    return Interval(np.asarray(value), np.asarray(low), np.asarray(high))


def test_the_error_of_a_mean_is_that_of_rows_and_columns_together() -> None:
    table = np.random.default_rng(0).normal(size=(20, 1)) + np.zeros((1, 30))  # seeds differ, prompts do not
    found = of_tables(lambda p, s: float(table[s][:, p].mean()), 30, 16, 20)
    assert found.by_prompts == pytest.approx(0, abs=1e-12)
    assert found.by_seeds == pytest.approx(table[:, 0].std(ddof=1) / np.sqrt(20))
    assert found.error == found.by_seeds
    assert found.freedom == pytest.approx(19)


def test_intervals_cover_the_mean_of_all_prompts_and_all_seeds() -> None:
    generator, covered = np.random.default_rng(1), 0
    for _ in range(300):
        table = generator.normal(size=(24, 1)) + generator.normal(size=(1, 32)) + generator.normal(size=(24, 32))
        found = of_tables(lambda p, s, t=table: float(t[s][:, p].mean()), 32, 16, 24)  # type: ignore[misc]
        covered += bool(found.interval(0.95).low <= 0 <= found.interval(0.95).high)
    assert 0.92 <= covered / 300 <= 0.99


def test_one_drawn_seed_tells_nothing_of_seeds() -> None:
    found = of_tables(lambda p, s: float(p.sum()), 8, 4, 1)
    assert found.by_seeds == 0
    assert np.isfinite(found.error)


def test_distances_of_random_sets_bring_their_own_error() -> None:
    full = np.array([3.0, 5.0, 4.0, 6.0, 1.0])  # four random sets, and the chosen one
    folds = Folds(full, np.tile(full, (4, 1)), np.array([2, 2, 2, 2]), 8)
    found = of_folds(lambda d, sets: float(d[sets].mean() - d[-1]), folds, 4)
    assert found.value == pytest.approx(3.5)
    assert found.by_prompts == pytest.approx(0)
    assert found.by_seeds == pytest.approx(full[:4].std(ddof=1) / 2)


def test_too_few_prompts_for_folds_give_a_value_without_limits() -> None:
    folds = Folds(np.array([3.0, 5.0, 1.0]), np.empty((0, 3)), np.array([2]), 2)
    assert np.isnan(of_folds(lambda d, sets: float(d[-1]), folds, 2).error)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_share_of_none_or_all_has_limits(value: float) -> None:
    found = share_limits(of_tables(lambda p, s: value, 16, 8, 0), 64, 0.95)
    assert float(found.high) - float(found.low) == pytest.approx(0.0566, abs=1e-3)  # Wilson, 64 images
    assert 0 <= float(found.low) <= value <= float(found.high) <= 1


def test_seeds_that_differ_make_the_limits_of_a_share_wider_than_wilsons() -> None:
    table = np.zeros((20, 30))
    table[:3] = 1
    found = share_limits(of_tables(lambda p, s: float(table[s][:, p].mean()), 30, 16, 20), 600, 0.95)
    assert float(found.low) < 0.07
    assert 0.3 < float(found.high) < 0.6


def test_limits_of_a_share_hold_where_prompts_decide() -> None:
    """Four given seeds: a prompt shows it with all of them or with none. Wilson's limits cover two thirds of these."""
    generator, covered = np.random.default_rng(3), 0
    for _ in range(200):
        table = np.repeat(generator.random((1, 48)) < 0.3, 4, axis=0).astype(float)
        estimate = of_tables(lambda p, s, t=table: float(t[:, p].mean()), 48, 16, 0)  # type: ignore[misc]
        found = share_limits(estimate, table.size, 0.95)
        covered += bool(found.low <= 0.3 <= found.high)
    assert covered / 200 >= 0.92


def test_removed_share_of_two_rates() -> None:
    found = removed_share(_interval(0.02, 0.01, 0.04), _interval(0.1, 0.08, 0.13))
    assert found.value == pytest.approx(0.8)
    # the definition: at each limit of the ratio R, (a − R b)² is the sum of the squared distances to the limits
    for ratio, near, far in ((1 - found.high, 0.01, 0.13), (1 - found.low, 0.04, 0.08)):
        assert (0.02 - ratio * 0.1) ** 2 == pytest.approx((0.02 - near) ** 2 + ratio**2 * (0.1 - far) ** 2)


def test_removed_share_where_nothing_is_left_or_nothing_was_there() -> None:
    found = removed_share(_interval(0.0, 0.0, 0.01), _interval(0.1, 0.08, 0.13))
    assert (float(found.value), float(found.high)) == (1.0, 1.0)
    assert 0.85 < float(found.low) < 0.91
    assert np.isnan(removed_share(_interval(0.0, 0.0, 0.1), _interval(0.0, 0.0, 0.1)).value)
    assert np.isneginf(removed_share(_interval(0.05, 0.01, 0.1), _interval(0.05, 0.0, 0.1)).low)


def test_removed_share_covers_the_truth() -> None:
    generator, covered = np.random.default_rng(2), 0
    for _ in range(400):
        sides = []
        for rate, n in ((0.02, 400), (0.1, 800)):
            hits = generator.binomial(n, rate)
            limits = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
            sides.append(_interval(hits / n, limits.low, limits.high))
        found = removed_share(*sides)
        covered += bool(found.low <= 0.8 <= found.high)
    assert covered / 400 > 0.92
