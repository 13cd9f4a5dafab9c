"""What is left of a chosen seed's advantage when its luck is taken out, against truths that are planted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch

from seedml.per_seed.balance import prompt_blocks
from seedml.per_seed.folds import Folds
from seedml.per_seed.frechet import Reference, frechet_distances_of_samples
from seedml.selection.confirmation import gain, shrunken_deviations

BLOCKS = 16


def _folds(distances: np.ndarray, error: np.ndarray | float, generator: np.random.Generator) -> Folds:
    """Folds whose jackknife error is about ``error``: a mean of 16 blocks that each are off by 4 errors."""
    blocks = generator.normal(size=(BLOCKS, len(distances))) * error * BLOCKS**0.5
    blocks -= blocks.mean(axis=0)
    return Folds(distances, distances - blocks / (BLOCKS - 1), np.full(BLOCKS, 4), 4 * BLOCKS)


def test_the_factor_is_that_of_james_and_stein() -> None:
    """(S − 3)·V/Σd² about the mean (Efron & Morris 1975), with the mean of the squared errors for V."""
    generator = np.random.default_rng(0)
    distances = 20 + 2 * generator.normal(size=40)
    folds = _folds(distances, 1.0, generator)
    found = shrunken_deviations(folds)
    deviation = distances - distances.mean()
    pseudo = BLOCKS * folds.full - (BLOCKS - 1) * folds.deleted
    pseudo -= pseudo.mean(axis=1, keepdims=True)
    error2 = pseudo.var(axis=0, ddof=1).mean() / BLOCKS
    assert found.error == pytest.approx(error2**0.5)
    assert found.share == pytest.approx(37 * error2 / (deviation**2).sum())
    np.testing.assert_allclose(found.interval().value, deviation * (1 - found.share), rtol=1e-12)
    assert found.gain(np.array([3, 5])).value == pytest.approx(-found.interval().value[[3, 5]].mean())


def test_without_differences_all_is_luck_and_without_errors_nothing_is() -> None:
    generator = np.random.default_rng(1)
    luck = shrunken_deviations(_folds(generator.normal(size=30), 3.0, generator))
    assert luck.share == pytest.approx(27 / 29)
    sure = shrunken_deviations(_folds(generator.normal(size=30), 0.0, generator))
    assert sure.share == pytest.approx(0, abs=1e-20)
    np.testing.assert_allclose(sure.interval().low, sure.raw, atol=1e-12)
    same = shrunken_deviations(_folds(np.full(30, 5.0), 0.0, generator)).gain(np.arange(3))
    assert same == pytest.approx((0, 0, 0), abs=1e-12)


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_few_seeds_or_folds_are_left_unknown(seeds: int) -> None:
    generator = np.random.default_rng(2)
    assert np.isnan(shrunken_deviations(_folds(generator.normal(size=seeds), 1.0, generator)).interval().value).all()
    bare = Folds(generator.normal(size=9), np.empty((0, 9)), np.array([4]), 4)
    assert np.isnan(shrunken_deviations(bare).gain(np.arange(3)).value)


@pytest.mark.parametrize("effect", [0.0, 0.5, 1.0, 3.0])
def test_the_best_of_many_are_estimated_without_bias_from_the_prompts_they_were_chosen_on(effect: float) -> None:
    """Measured, the best 5 of 64 look better than they are; shrunken they do not, on average over studies."""
    raw, left, covered, covered_each = [], [], [], []
    for study in range(300):
        generator = np.random.default_rng([3, study])
        truth = effect * generator.normal(size=64)
        truth -= truth.mean()
        measured = 20 + truth + generator.normal(size=64)
        best = np.argsort(measured)[:5]
        found = shrunken_deviations(_folds(measured, 1.0, generator))
        true_gain, estimate, each = -truth[best].mean(), found.gain(best), found.interval()
        raw.append(-found.raw[best].mean() - true_gain)
        left.append(estimate.value - true_gain)
        covered.append(estimate.low <= true_gain <= estimate.high)
        covered_each.append(np.mean((each.low <= truth) & (truth <= each.high)))
    error = np.std(left) / 300**0.5
    assert np.mean(raw) > 8 * error
    # where there is nothing to find, a share of luck below 1 leaves a tenth of the measured gain
    assert abs(np.mean(left)) < 3 * error + (0.12 * np.mean(raw) if effect == 0 else 0)
    assert np.mean(covered) >= 0.95 - 2.5 * (0.05 * 0.95 / 300) ** 0.5
    assert np.mean(covered_each) >= 0.91


class _Study(NamedTuple):
    """Errors of the estimated gain of the best three, and whether its limits hold the truth."""

    measured: float
    held_out: float
    shrunken: float
    held_out_covered: bool
    shrunken_covered: bool


def _planted_study(study: int, effect: float, seeds: int = 24, prompts: int = 64, d: int = 4) -> _Study:
    """Features of seeds with known means and one covariance, that of the reference: the bias is the same for all."""
    generator = np.random.default_rng([4, study])
    reference = Reference.of_gaussian(torch.zeros(d, dtype=torch.float64), torch.eye(d, dtype=torch.float64), n=0)
    means = np.array([1.5, 0, 0, 0]) + effect * generator.normal(size=(seeds, d))
    truth = (means**2).sum(axis=1)

    def distances() -> Folds:
        """On new prompts: each moves the images of all seeds."""
        shared, own = generator.normal(size=(1, prompts, d)), generator.normal(size=(seeds, prompts, d))
        features = torch.from_numpy(means[:, None] + 0.5 * shared + 0.75**0.5 * own)
        block = prompt_blocks(prompts, BLOCKS)
        kept = [np.full(prompts, True), *(block != b for b in range(BLOCKS))]
        full, *deleted = (frechet_distances_of_samples(features[:, some], reference).numpy() for some in kept)
        return Folds(full, np.stack(deleted), np.bincount(block), prompts)

    choosing, confirming = distances(), distances()
    best = np.argsort(choosing.full)[:3]
    true_gain = truth.mean() - truth[best].mean()
    held_out, left = gain(confirming, best).interval(), shrunken_deviations(choosing).gain(best)
    return _Study(
        choosing.full.mean() - choosing.full[best].mean() - true_gain, held_out.value - true_gain,
        left.value - true_gain, bool(held_out.low <= true_gain <= held_out.high),
        bool(left.low <= true_gain <= left.high),
    )  # fmt: skip


@pytest.mark.parametrize("effect", [0.0, 0.15])
def test_the_gain_of_planted_seeds_on_held_out_prompts_is_covered(effect: float) -> None:
    studies = 40
    found = _Study(*np.array([_planted_study(study, effect) for study in range(studies)], float).T)
    error = np.std(found.held_out) / studies**0.5
    assert abs(np.mean(found.held_out)) < 3 * error
    assert np.mean(found.measured) > 4 * error  # the winner's curse
    assert abs(np.mean(found.shrunken)) < 0.35 * np.mean(found.measured)
    assert np.mean(found.held_out_covered) >= 0.95 - 2.5 * (0.05 * 0.95 / studies) ** 0.5
    assert np.mean(found.shrunken_covered) >= 0.88


@pytest.mark.slow
@pytest.mark.parametrize("effect", [0.0, 0.1, 0.25, 0.5])
def test_the_gains_coverage_is_the_promised_one(effect: float) -> None:
    studies = 400
    found = _Study(*np.array([_planted_study(study, effect) for study in range(studies)], float).T)
    covered = np.mean(found.held_out_covered)
    assert 0.95 - 2.5 * (0.05 * 0.95 / studies) ** 0.5 <= covered <= 0.95 + 2.5 * (0.05 * 0.95 / studies) ** 0.5
