from __future__ import annotations

import numpy as np
import pytest

from seedml.per_seed.variance import folded_components, seed_grip, variance_components, variance_shares


def _table(shares: tuple[float, float, float], seeds: int, prompts: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    a, b, e = np.sqrt(shares)
    table: np.ndarray = (
        a * generator.normal(size=(seeds, 1)) + b * generator.normal(size=(1, prompts))
        + e * generator.normal(size=(seeds, prompts))
    )  # fmt: skip
    return table


def test_components_by_hand() -> None:
    # 2 seeds × 3 prompts, worked out with pencil: MS_S = 6, MS_P = 4.5, MS_E = 0.5
    table = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]])
    found = variance_components(table)
    grand, seeds, prompts = 3.0, np.array([2.0, 4.0]), np.array([1.5, 3.0, 4.5])
    ms_seed, ms_prompt = 3 * ((seeds - grand) ** 2).sum() / 1, 2 * ((prompts - grand) ** 2).sum() / 2
    ms_rest = ((table - seeds[:, None] - prompts + grand) ** 2).sum() / 2
    assert (ms_seed, ms_prompt, ms_rest) == (6.0, 4.5, 0.5)
    np.testing.assert_allclose(found, [(6 - 0.5) / 3, (4.5 - 0.5) / 2, 0.5])


def test_components_are_unbiased() -> None:
    found = np.mean([variance_components(_table((2.0, 1.0, 3.0), 12, 20, k)) for k in range(400)], axis=0)
    np.testing.assert_allclose(found, [2.0, 1.0, 3.0], rtol=0.06)


@pytest.mark.parametrize("shares", [(0.5, 0.2, 0.3), (0.05, 0.45, 0.5), (0.0, 0.5, 0.5)])
def test_planted_shares_are_recovered_within_their_limits(shares: tuple[float, float, float]) -> None:
    covered = np.zeros(3)
    for study in range(60):
        found = variance_shares(_table(shares, 32, 48, study))
        np.testing.assert_allclose(found.value.sum(), 1, rtol=1e-12)
        covered += (found.low <= np.array(shares)) & (np.array(shares) <= found.high)
    assert (covered / 60 >= 0.88).all(), covered / 60


def test_a_seed_that_decides_everything_has_the_whole_variance() -> None:
    table = np.repeat(np.arange(5.0)[:, None], 8, axis=1)
    np.testing.assert_allclose(variance_shares(table).value, [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(variance_shares(table.T).value, [0, 1, 0], atol=1e-12)


def test_a_constant_has_no_shares_and_small_tables_no_limits() -> None:
    assert np.isnan(variance_shares(np.full((4, 5), 0.1)).value).all()
    assert np.isnan(variance_shares(np.ones((1, 5))).value).all()
    small = variance_shares(np.random.default_rng(0).normal(size=(2, 5)))
    assert np.isfinite(small.value).all()
    assert np.isnan(small.low).all()


def _missing(table: np.ndarray, share: float, seed: int) -> np.ndarray:
    holed = table.copy()
    holed[np.random.default_rng([8, seed]).random(table.shape) < share] = np.nan
    return holed


@pytest.mark.parametrize("shape", [(5, 9), (12, 7), (2, 2), (40, 60)])
def test_without_missing_cells_they_are_the_textbooks_mean_squares(shape: tuple[int, int]) -> None:
    s, p = shape
    table = 1000 + _table((2.0, 30.0, 1.0), s, p, 5)
    y = table - table.mean()
    seeds, prompts = y.mean(axis=1), y.mean(axis=0)
    ms_seed, ms_prompt = p * (seeds**2).sum() / (s - 1), s * (prompts**2).sum() / (p - 1)
    ms_rest = ((y - seeds[:, None] - prompts) ** 2).sum() / ((s - 1) * (p - 1))
    expected = [max((ms_seed - ms_rest) / p, 0), max((ms_prompt - ms_rest) / s, 0), ms_rest]
    np.testing.assert_allclose(variance_components(y), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(variance_components(table), expected, rtol=1e-9, atol=1e-10)  # 1000: digits are lost


def test_the_divisors_are_the_traces_of_the_fitting_constants_method() -> None:
    """Independent: expectations of the quadratic forms from projections on the whole SP × SP space."""
    known = ~np.isnan(_missing(np.zeros((5, 7)), 0.3, 1))
    s, p = np.nonzero(known)
    seeds, prompts = np.eye(5)[s], np.eye(7)[p]
    both = np.hstack([seeds, prompts])
    rests = [np.eye(len(s)) - x @ np.linalg.pinv(x) for x in (both, prompts, seeds)]
    forms = [rests[1] - rests[0], rests[2] - rests[0], rests[0]]
    parts = [seeds @ seeds.T, prompts @ prompts.T, np.eye(len(s))]
    expectations = np.array([[np.trace(form @ part) for part in parts] for form in forms])
    table = _missing(_table((1.0, 2.0, 0.5), 5, 7, 3), 0.3, 1)
    y = table[known]
    expected = np.linalg.solve(expectations, [y @ form @ y for form in forms])
    assert (expected > 0).all()
    np.testing.assert_allclose(variance_components(table), expected, rtol=1e-9)


@pytest.mark.parametrize("kind", ["normal", "skewed"])
def test_components_are_unbiased_with_a_fifth_of_the_cells_missing(kind: str) -> None:
    truth = np.array([1.0, 9.0, 1.0])
    found = []
    for study in range(400):
        generator = np.random.default_rng([9, study])
        shapes = [(12, 1), (1, 20), (12, 20)]
        draws = [generator.normal(size=s) if kind == "normal" else generator.gamma(1.0, size=s) - 1 for s in shapes]
        table = draws[0] + 3 * draws[1] + draws[2]
        found.append(variance_components(_missing(table, 0.2, study)))
    error = np.std(found, axis=0) / 20
    assert (np.abs(np.mean(found, axis=0) - truth) < 3 * error).all(), (np.mean(found, axis=0), error)
    assert (error < 0.06 * truth).all()


def test_planted_shares_are_covered_with_missing_cells() -> None:
    truth, covered = np.array([0.1, 0.6, 0.3]), np.zeros(3)
    for study in range(40):
        found = variance_shares(_missing(_table((0.1, 0.6, 0.3), 32, 40, study), 0.2, study))
        covered += (found.low <= truth) & (truth <= found.high)
    assert (covered / 40 >= 0.85).all(), covered / 40


def test_an_empty_seed_or_prompt_changes_nothing_and_too_few_cells_are_unknown() -> None:
    table = _missing(_table((1.0, 1.0, 1.0), 10, 12, 0), 0.1, 0)
    wider = np.full((11, 13), np.nan)
    wider[1:, :12] = table
    for ours, theirs in zip(variance_shares(wider), variance_shares(table), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert np.isnan(variance_components(np.array([[1.0, np.nan], [np.nan, 2.0]]))).all()
    assert np.isnan(variance_components(np.full((3, 3), np.nan))).all()
    assert np.isnan(variance_shares(np.full((3, 3), np.nan)).value).all()


def test_shares_and_limits_do_not_depend_on_unit_or_zero_and_swap_with_seeds_and_prompts() -> None:
    table = _missing(_table((0.2, 0.4, 0.4), 24, 24, 2), 0.1, 2)
    plain, scaled, turned = (variance_shares(t) for t in (table, 3 - 0.01 * table, table.T))
    for ours, theirs, flipped in zip(scaled, plain, turned, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-8)
        np.testing.assert_allclose(flipped, theirs[[1, 0, 2]], rtol=1e-8)
    assert (plain.low < plain.value).all()
    assert (plain.value < plain.high).all()


def test_the_grip_is_the_mean_seed_share_once_the_prompt_is_fixed() -> None:
    tables = [_table((0.3, 5.0, 0.7), 40, 60, 1), 100 * _table((0.1, 0.0, 0.9), 40, 60, 2), np.ones((40, 60))]
    folded = [folded_components(table) for table in tables]
    parts = [variance_components(table) for table in tables[:2]]
    found = seed_grip(folded)
    np.testing.assert_allclose(found.value, np.mean([part.seed / (part.seed + part.residual) for part in parts]))
    assert found.low < 0.2 < found.high
    assert found.low > 0.1
    assert found.high < 0.3
    decided = seed_grip([folded_components(np.repeat(np.arange(5.0)[:, None], 8, axis=1))])
    np.testing.assert_allclose(decided, 1, atol=1e-9)
    assert np.isnan(seed_grip([folded_components(np.ones((4, 5)))])).all()
    assert np.isnan(seed_grip([])).all()


def test_a_model_whose_seeds_do_nothing_has_next_to_no_grip() -> None:
    found = seed_grip([folded_components(_table((0.0, 1.0, 1.0), 32, 100, k)) for k in range(6)])
    assert 0 <= found.low <= found.value < 0.01
    assert found.high < 0.02


def test_the_grip_leaves_out_an_attribute_that_is_known_in_few_images() -> None:
    whole, few = (folded_components(_table((0.5, 0.2, 0.3), 24, 32, k)) for k in range(2))
    holed = _table((0.5, 0.2, 0.3), 24, 32, 3)
    holed[4:], holed[:, 7:] = np.nan, np.nan
    grip, other = seed_grip([whole, few]), seed_grip([whole, folded_components(holed), few])
    np.testing.assert_array_equal(grip, other)
