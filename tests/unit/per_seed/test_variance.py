from __future__ import annotations

import numpy as np
import pytest

from seedml.per_seed.variance import variance_components, variance_shares


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
