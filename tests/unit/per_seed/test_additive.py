from __future__ import annotations

import numpy as np
import pytest

from seedml.per_seed import additive
from seedml.per_seed.additive import additive_fit, adjusted_means


def _table(seeds: int, prompts: int, missing: float, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    table: np.ndarray = (
        generator.normal(size=(seeds, 1)) + 3 * generator.normal(size=(1, prompts))
        + generator.normal(size=(seeds, prompts)) + 5
    )  # fmt: skip
    table[generator.random(table.shape) < missing] = np.nan
    return table


def _by_dummies(table: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """Independent: a regression on dummy variables; fitted values and the sums of squares of three models."""
    known = ~np.isnan(table)
    s, p = np.nonzero(known)
    y = table[known]
    seeds, prompts = np.eye(table.shape[0])[s], np.eye(table.shape[1])[p]
    designs = [np.hstack([seeds, prompts]), prompts, seeds]
    fitted = [x @ np.linalg.lstsq(x, y)[0] for x in designs]
    rest, without_seeds, without_prompts = (float(((y - f) ** 2).sum()) for f in fitted)
    return fitted[0], [without_seeds - rest, without_prompts - rest, rest]


@pytest.mark.parametrize("shape", [(9, 14), (14, 9), (2, 30)])
@pytest.mark.parametrize("missing", [0.0, 0.05, 0.3])
def test_the_fit_is_that_of_a_regression_on_dummy_variables(shape: tuple[int, int], missing: float) -> None:
    table = _table(*shape, missing)
    found = additive_fit(table)
    fitted, squares = _by_dummies(table)
    known = ~np.isnan(table)
    ours = (found.level + found.seeds[:, None] + found.prompts[None])[known]
    np.testing.assert_allclose(ours, fitted, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose([found.for_seeds, found.for_prompts, found.rest], squares, rtol=1e-9, atol=1e-9)
    assert found.groups == 1
    assert (found.n_seeds, found.n_prompts) == (known.any(axis=1).sum(), known.any(axis=0).sum())
    assert (found.cells, found.freedom) == (known.sum(), known.sum() - found.n_seeds - found.n_prompts + 1)
    np.testing.assert_allclose([np.nanmean(found.seeds), np.nanmean(found.prompts)], 0, atol=1e-12)


def test_without_missing_cells_solving_gives_what_means_give() -> None:
    table = _table(11, 17, 0)
    for ours, theirs in zip(additive._partial_fit(table), additive._complete_fit(table), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_a_table_in_two_parts_keeps_its_sums_of_squares() -> None:
    table = np.full((7, 12), np.nan)
    table[:3, :5], table[3:, 5:] = _table(3, 5, 0), _table(4, 7, 0, 1)
    found = additive_fit(table)
    assert found.groups == 2
    np.testing.assert_allclose([found.for_seeds, found.for_prompts, found.rest], _by_dummies(table)[1], rtol=1e-9)
    assert found.freedom == 2 * 4 + 3 * 6


def test_seeds_and_prompts_without_a_cell_are_unknown_and_change_nothing() -> None:
    table = _table(6, 8, 0.1)
    wider = np.full((7, 10), np.nan)
    wider[:6, 1:9] = table
    ours, theirs = additive_fit(wider), additive_fit(table)
    np.testing.assert_array_equal(ours.seeds[:6], theirs.seeds)
    np.testing.assert_array_equal(ours.prompts[1:9], theirs.prompts)
    assert np.isnan([ours.seeds[6], ours.prompts[0], ours.prompts[9]]).all()
    assert (ours.rest, ours.freedom, ours.n_seeds, ours.n_prompts) == (theirs.rest, theirs.freedom, 6, 8)
    means = adjusted_means(wider, ours)
    np.testing.assert_allclose(means[:6], adjusted_means(table, theirs), rtol=1e-12)
    assert np.isnan(means[6])


def test_adjusted_means_are_plain_ones_where_nothing_is_missing_and_do_not_reward_missing_hard_prompts() -> None:
    generator = np.random.default_rng(3)
    table = 10 * generator.normal(size=(1, 200)) + generator.normal(size=(8, 200))
    complete = table.mean(axis=1)
    np.testing.assert_array_equal(adjusted_means(table, additive_fit(table)), complete)
    table[2, table[2] < 0] = np.nan  # half of the prompts, all of the same kind
    found = adjusted_means(table, additive_fit(table))
    np.testing.assert_array_equal(np.delete(found, 2), np.delete(complete, 2))
    assert np.nanmean(table[2]) - complete[2] > 5
    assert abs(found[2] - complete[2]) < 0.5
