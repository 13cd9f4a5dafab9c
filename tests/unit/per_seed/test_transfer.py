"""Whether two runs agree about seeds: known answers, coverage, and noise that is not the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from seedml.errors import UserError
from seedml.per_seed.reliability import SplitHalf
from seedml.per_seed.transfer import (
    RunSeeds,
    kendall_without_each,
    noise_is_same,
    seeds_of_table,
    transfer,
)

HASHES = {seed: f"{seed:064x}" for seed in range(200)}


def _run(name: str, values: np.ndarray, seeds: np.ndarray | None = None) -> RunSeeds:
    seeds = np.arange(len(values)) if seeds is None else seeds
    return RunSeeds(name, seeds, values, noise=HASHES, latent_shape=(4, 16, 16))


def _random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng([7, seed])


@pytest.mark.parametrize("levels", [0, 6])
def test_correlations_are_scipys_ties_included(levels: int) -> None:
    values = _random().normal(size=(2, 40)) + 0.5 * _random(1).normal(size=40)
    one, two = np.round(values * levels / 3) if levels else values
    found = transfer(_run("a", one), _run("b", two), _random())
    assert found.spearman.value == pytest.approx(stats.spearmanr(one, two).statistic, rel=1e-12)
    assert found.kendall.value == pytest.approx(stats.kendalltau(one, two).statistic, rel=1e-12)
    for correlation in (found.spearman, found.kendall):
        assert correlation.low < correlation.value < correlation.high
    scipys = stats.spearmanr(one, two).pvalue
    assert found.p == pytest.approx(scipys, abs=4 * (scipys * (1 - scipys) / 2000) ** 0.5 + 0.002)
    without = [stats.kendalltau(np.delete(one, s), np.delete(two, s)).statistic for s in range(40)]
    np.testing.assert_allclose(kendall_without_each(one, two), without, rtol=1e-12)


def test_only_common_seeds_count_in_whatever_order_they_come() -> None:
    values = _random().normal(size=(2, 30))
    plain = transfer(_run("a", values[0]), _run("b", values[1]), _random())
    order, more = _random(1).permutation(30), np.append(np.arange(30), [100, 101])
    shuffled = transfer(
        _run("a", values[0][order], order), _run("b", np.append(values[1], [9.0, -9.0]), more), _random()
    )
    assert shuffled.seeds.tolist() == list(range(30))
    assert shuffled.spearman == pytest.approx(plain.spearman, rel=1e-9)
    assert shuffled.kendall == pytest.approx(plain.kendall, rel=1e-9)


def test_one_order_is_1_and_its_reverse_is_minus_1() -> None:
    values = _random().normal(size=20)
    for sign in (1, -1):
        found = transfer(_run("a", values), _run("b", sign * np.exp(values)), _random())
        assert found.spearman == pytest.approx((sign, sign, sign), abs=1e-6)
        assert found.kendall == pytest.approx((sign, sign, sign), abs=1e-6)
        assert found.p == pytest.approx(1 / 2001)


def test_a_run_without_differences_has_no_order() -> None:
    found = transfer(_run("a", np.ones(9)), _run("b", np.arange(9.0)), _random())
    assert np.isnan([*found.spearman, *found.kendall, found.p]).all()


def test_limits_for_other_seeds_cover() -> None:
    truth = 6 / np.pi * np.arcsin(0.6 / 2), 2 / np.pi * np.arcsin(0.6)  # ρ and τ of a normal pair
    covered, studies = np.zeros(2), 100
    for study in range(studies):
        pair = _random(study).multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], size=40)
        found = transfer(_run("a", pair[:, 0]), _run("b", pair[:, 1]), _random(), permutations=1)
        covered += [
            side.low <= true <= side.high for side, true in zip((found.spearman, found.kendall), truth, strict=True)
        ]
    assert (covered / studies >= 0.89).all()


def test_p_values_of_runs_that_have_nothing_to_do_with_each_other_are_uniform() -> None:
    found = [
        transfer(_run("a", a), _run("b", b), _random(), permutations=199).p
        for a, b in (_random(study).normal(size=(2, 15)) for study in range(120))
    ]
    assert stats.kstest(found, "uniform").pvalue > 0.01


def _tables(study: int, topics: float, seeds: int = 30, prompts: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """Two models' tables ``S × P`` on the same prompts: a common seed effect, each cell's own noise, and topics.

    Every prompt has one of few topics by chance, and each seed its liking for it, which differs between the models.
    """
    generator = _random(1000 + study)
    common = generator.normal(size=(seeds, 1))
    topic = generator.integers(0, 3, prompts)
    tables = [
        common + topics * generator.normal(size=(seeds, 3))[:, topic] + 2 * generator.normal(size=(seeds, prompts))
        for _ in range(2)
    ]
    return tables[0], tables[1]


def _compare(study: int, topics: float, with_folds: bool):  # type: ignore[no-untyped-def]
    runs = [
        seeds_of_table(name, np.arange(len(table)), table, 12, 8, _random(study), HASHES)
        for name, table in zip("ab", _tables(study, topics), strict=True)
    ]
    if not with_folds:
        runs = [replace(run, folds=None) for run in runs]
    return transfer(*runs, _random(study), same_prompts=True, permutations=1)


def test_tables_give_means_folds_and_halves() -> None:
    table = _random().normal(size=(6, 10))
    run = seeds_of_table("a", np.arange(6), table, 4, 5, _random())
    np.testing.assert_allclose(run.values, table.mean(axis=1))
    assert run.folds is not None
    assert run.folds.sizes.tolist() == [3, 3, 2, 2]
    for b in range(4):
        np.testing.assert_allclose(run.folds.deleted[b], np.delete(table, np.s_[b::4], axis=1).mean(axis=1))
    assert run.halves is not None
    assert -1 <= run.halves.correlation <= 1


def test_each_seeds_own_luck_with_prompts_is_not_counted_twice() -> None:
    """Without topics, other prompts add nothing to what other seeds add already."""
    with_folds, without = ([_compare(study, 0.0, folds) for study in range(12)] for folds in (True, False))
    widths = [np.mean([np.arctanh(f.spearman.high) - np.arctanh(f.spearman.low) for f in found])
              for found in (with_folds, without)]  # fmt: skip
    assert all(found.prompts_counted for found in with_folds)
    assert not any(found.prompts_counted for found in without)
    assert 1 <= widths[0] / widths[1] < 1.1


@pytest.mark.slow
def test_limits_cover_other_seeds_and_other_prompts() -> None:
    """Coverage of the correlation that studies of this size find on average, with and without topics."""
    studies = 200
    for topics in (0.0, 1.0):
        found = [_compare(study, topics, True).spearman for study in range(studies)]
        truth = np.tanh(np.mean([np.arctanh(one.value) for one in found]))
        covered = np.mean([one.low <= truth <= one.high for one in found])
        assert 0.95 - 2.5 * (0.95 * 0.05 / studies) ** 0.5 <= covered <= 0.995, topics


def test_taking_out_the_noise_gives_the_correlation_of_the_true_values() -> None:
    latent, studies = 0.7, 40
    found = []
    for study in range(studies):
        generator = _random(2000 + study)
        truth = generator.multivariate_normal([0, 0], [[1, latent], [latent, 1]], size=80).T
        runs = [seeds_of_table(name, np.arange(80), true[:, None] + 4 * generator.normal(size=(80, 16)), 16, 16,
                               generator, HASHES) for name, true in zip("ab", truth, strict=True)]  # fmt: skip
        found.append(transfer(*runs, generator, permutations=1))
    raw, corrected = (np.mean([getattr(one, name).value for one in found]) for name in ("spearman", "corrected"))
    error = np.std([one.corrected.value for one in found]) / studies**0.5
    target = 6 / np.pi * np.arcsin(latent / 2)
    assert raw < 0.45  # half of the variance is noise
    assert corrected == pytest.approx(target, abs=3 * error + 0.02)
    covered = np.mean([one.corrected.low <= target <= one.corrected.high for one in found])
    assert covered >= 0.88


def test_a_run_whose_halves_do_not_agree_is_not_corrected() -> None:
    values = _random().normal(size=(2, 20))
    first, second = (_run(name, row) for name, row in zip("ab", values, strict=True))
    for halves in (None, SplitHalf(-0.1, -0.5, 0.3, -0.22), SplitHalf(np.nan, np.nan, np.nan, np.nan)):
        with_halves = replace(first, halves=SplitHalf(0.5, 0.2, 0.7, 2 / 3)), replace(second, halves=halves)
        assert np.isnan(transfer(*with_halves, _random(), permutations=1).corrected).all()


class TestNoise:
    """Seeds are the same where their noise is."""

    values = _random().normal(size=(2, 12))

    def test_the_first_seed_that_differs_is_named_with_both_hashes_and_what_usually_differs(self) -> None:
        other = replace(_run("gpu", self.values[1]), noise=HASHES | {5: "f" * 64, 9: "e" * 64})
        named = f"seed 5 is not the same noise in cpu and in gpu.*{HASHES[5]} and {'f' * 64}"
        remedy = r".*remedy: .*noise\.generator_device.*latent shape.*dtype.*version.*same_noise=False"
        with pytest.raises(UserError, match=named + remedy):
            transfer(_run("cpu", self.values[0]), other, _random())
        found = transfer(_run("cpu", self.values[0]), other, _random(), same_noise=False)
        assert found.same_noise is False

    def test_other_latent_shapes_need_a_word_and_the_result_says_so(self) -> None:
        larger = replace(_run("large", self.values[1]), latent_shape=(4, 32, 32),
                         noise={seed: f"{seed + 1000:064x}" for seed in range(12)})  # fmt: skip
        small = _run("small", self.values[0])
        with pytest.raises(UserError, match=r"different shapes.*\(4, 16, 16\), \(4, 32, 32\).*remedy: pass same_noise"):
            transfer(small, larger, _random())
        found = transfer(small, larger, _random(), same_noise=False)
        assert found.same_noise is False
        assert found.spearman.value == pytest.approx(stats.spearmanr(*self.values).statistic)

    def test_one_hash_for_two_shapes_is_a_wrong_record(self) -> None:
        with pytest.raises(UserError, match=r"seed 0 has one noise hash for two latent shapes"):
            transfer(_run("a", self.values[0]), replace(_run("b", self.values[1]), latent_shape=(4, 8, 8)), _random(),
                     same_noise=False)  # fmt: skip

    def test_noise_that_is_not_recorded_is_not_the_same(self) -> None:
        unknown = replace(_run("old", self.values[1]), noise={}, latent_shape=None)
        with pytest.raises(UserError, match=r"old records no noise hash of seed 0; .*same_noise=False"):
            transfer(_run("new", self.values[0]), unknown, _random())
        assert transfer(_run("new", self.values[0]), unknown, _random(), same_noise=False).same_noise is None

    def test_only_common_seeds_are_asked_for_their_noise(self) -> None:
        first, second = _run("a", self.values[0]), _run("b", self.values[1], np.arange(4, 16))
        second = replace(second, noise=HASHES | {0: "f" * 64})
        assert noise_is_same(first, second, np.arange(4, 12))
        assert transfer(first, second, _random()).same_noise is True


def test_what_cannot_be_compared_is_refused() -> None:
    values = _random().normal(size=12)
    with pytest.raises(UserError, match=r"too few seeds in common; given: 3; legal: four or more; remedy"):
        transfer(_run("a", values), _run("b", values, np.arange(9, 21)), _random())
    with pytest.raises(UserError, match="a has a seed twice"):
        _run("a", values, np.zeros(12, np.int64))
    with pytest.raises(UserError, match="a has no value of seed 3"):
        _run("a", np.where(np.arange(12) == 3, np.nan, values))
    runs = [
        seeds_of_table(name, np.arange(12), _random().normal(size=(12, prompts)), 4, 4, _random(), HASHES)
        for name, prompts in (("a", 20), ("b", 24))
    ]
    with pytest.raises(UserError, match="leave out different blocks of prompts"):
        transfer(*runs, _random(), same_prompts=True)
    assert transfer(*runs, _random(), permutations=1).prompts_counted
