from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from seedml.errors import UserError
from seedml.per_seed.power import (
    coin_sums_tail,
    minimal_detectable_effect,
    minimal_detectable_share,
    raised,
    threshold,
)


def test_a_known_error_gives_the_textbooks_two_quantiles() -> None:
    # one test at 5 %, 80 % power: (1.960 + 0.842) standard errors
    np.testing.assert_allclose(minimal_detectable_effect(2.0, np.inf, 1, 0.05), 2 * 2.80158, rtol=1e-5)


def test_one_sample_t_test_of_a_power_table() -> None:
    # n = 34 pairs detect d = 0.5 at 5 % with 80 % power (G*Power 3.1 gives n = 34, power 0.8077778)
    found = minimal_detectable_effect(1 / np.sqrt(34), 33, 1, 0.05, power=0.8077778)
    np.testing.assert_allclose(found, 0.5, rtol=1e-5)


@pytest.mark.parametrize(("freedom", "tests"), [(15, 1), (15, 64), (7, 8), (999, 1024)])
def test_the_effect_is_found_as_often_as_promised(freedom: int, tests: int) -> None:
    generator = np.random.default_rng(freedom)
    effect = minimal_detectable_effect(1.0, freedom, tests, 0.05)
    draws = 200_000
    t = (effect + generator.normal(size=draws)) / np.sqrt(generator.chisquare(freedom, draws) / freedom)
    found = np.mean(2 * stats.t.sf(np.abs(t), freedom) <= 0.05 / tests)
    assert abs(found - 0.8) < 4 * np.sqrt(0.8 * 0.2 / draws)


def test_effects_keep_shape_and_grow_with_error_seeds_and_power() -> None:
    errors = np.array([[1.0, 2.0], [np.nan, 0.0]])
    found = minimal_detectable_effect(errors, 15, 64, 0.05)
    np.testing.assert_allclose(found / found[0, 0], errors)
    assert minimal_detectable_effect(1.0, 15, 65, 0.05) > found[0, 0]
    assert minimal_detectable_effect(1.0, 15, 64, 0.05, power=0.9) > found[0, 0]
    assert minimal_detectable_effect(1.0, 16, 64, 0.05) < found[0, 0]
    assert minimal_detectable_effect(1.0, 15, 64, 0.05, share=0.2) < found[0, 0]
    assert np.isnan(minimal_detectable_effect(1.0, 0, 64, 0.05))


def test_the_threshold_of_a_share_of_seeds_is_benjamini_and_hochbergs() -> None:
    tests, share, level, power = 20_000, 0.1, 0.05, 0.8
    alpha = threshold(tests, level, share, power)
    np.testing.assert_allclose(alpha, level * (share * power + (1 - share) * alpha))
    effect = minimal_detectable_effect(1.0, np.inf, tests, level, power, share)
    generator = np.random.default_rng(0)
    truth = np.arange(tests) < share * tests
    p = 2 * stats.norm.sf(np.abs(generator.normal(size=tests) + truth * effect))
    found = stats.false_discovery_control(p) <= level
    assert abs(found[truth].mean() - power) < 0.04
    assert threshold(10, 0.05) == threshold(10, 0.05, share=0.001) == 0.005


def test_sums_of_equal_coins_are_binomial_and_of_unlike_ones_convolutions() -> None:
    for n, chance in ((1, 0.5), (8, 0.5), (75, 0.03), (400, 0.9)):
        expected = stats.binom.sf(np.arange(-1, n + 1), n, chance)
        np.testing.assert_allclose(coin_sums_tail(np.full(n, chance)), expected, atol=1e-12)
    chances = np.random.default_rng(0).random(30)
    mass = np.ones(1)
    for chance in chances:
        mass = np.convolve(mass, [1 - chance, chance])
    expected = np.append(np.cumsum(mass[::-1])[::-1], 0)
    np.testing.assert_allclose(coin_sums_tail(chances), expected, atol=1e-13)


@pytest.mark.parametrize("tests", [1, 64])
def test_the_share_is_found_as_often_as_promised(tests: int) -> None:
    generator = np.random.default_rng(1)
    chances = generator.beta(0.4, 4, size=150)
    rise = minimal_detectable_share(chances, tests, 0.05)
    factors = np.exp(np.linspace(0, 5, 4000))
    factor = factors[np.searchsorted([raised(chances, f).mean() - chances.mean() for f in factors], rise)]
    mass = np.ones(1)
    for chance in chances:
        mass = np.convolve(mass, [1 - chance, chance])
    distance = np.abs(np.arange(151) - chances.sum())
    p = np.array([mass[distance >= d - 1e-9].sum() for d in distance])
    counts = (generator.random((20_000, 150)) < raised(chances, factor)).sum(axis=1)
    assert abs(np.mean(p[counts] <= 0.05 / tests) - 0.8) < 0.015


def test_a_share_that_cannot_be_found_is_unknown() -> None:
    assert np.isnan(minimal_detectable_share(np.zeros(50), 8, 0.05))
    assert np.isnan(minimal_detectable_share(np.full(4, 0.5), 1000, 0.05))


@pytest.mark.parametrize("wrong", [{"tests": 0}, {"level": 0.0}, {"level": 1.0}, {"power": 1.0}, {"share": -0.1}])
def test_numbers_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    arguments = {"tests": 8, "level": 0.05, "power": 0.8, "share": 0.0} | wrong
    with pytest.raises(UserError, match=f"{next(iter(wrong))} of a detectable effect; given"):
        minimal_detectable_effect(1.0, 15, **arguments)  # type: ignore[arg-type]
