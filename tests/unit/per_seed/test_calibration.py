"""Simulated studies: no seed effect gives no golden seeds, planted effects are found, limits cover the truth."""

from __future__ import annotations

import numpy as np
import torch

from seedml.per_seed.balance import prompt_blocks
from seedml.per_seed.folds import Folds, block_moments, deviations, fold_distances
from seedml.per_seed.frechet import Reference, frechet_distances_of_samples
from seedml.per_seed.intervals import bootstrap_means, resampling_weights, wilson_shares
from seedml.per_seed.multiplicity import q_values, verdicts

D, PROMPTS, BLOCKS = 12, 64, 16
SPECTRUM = np.exp(-np.arange(D) / 5)
REFERENCE = Reference.of_samples(
    torch.from_numpy(np.random.default_rng(99).normal(size=(20_000, D)) * np.sqrt(2) * SPECTRUM)
)


def _images(
    generator: np.random.Generator, shift: np.ndarray, spread: np.ndarray, prompts: int = PROMPTS
) -> torch.Tensor:
    """Seeds × prompts × D: what the prompt asks for (the same for all seeds), the seed's shift, and noise."""
    asked = generator.normal(size=(1, prompts, D))
    noise = generator.normal(size=(len(shift), prompts, D))
    return torch.from_numpy((asked + shift[:, None] + spread[:, None] * noise) * SPECTRUM)


def _folds(images: torch.Tensor) -> Folds:
    return fold_distances(block_moments(images, prompt_blocks(images.shape[1], BLOCKS), REFERENCE.mean), REFERENCE)


def _verdicts(images: torch.Tensor) -> np.ndarray:
    difference = _folds(images).jackknife(deviations)
    return verdicts(difference.value, q_values(difference.p_value()), 0.05)


def test_without_a_seed_effect_studies_report_golden_seeds_no_more_often_than_stated() -> None:
    studies, found = 120, 0
    nothing, plain = np.zeros((24, D)), np.ones((24, D))
    for study in range(studies):
        found += bool((_verdicts(_images(np.random.default_rng([1, study]), nothing, plain)) != "inconclusive").any())
    assert found / studies <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / studies)


def test_planted_golden_and_inferior_seeds_are_found_and_others_are_not() -> None:
    hits, false = 0, 0
    for study in range(20):
        generator = np.random.default_rng([2, study])
        shift = np.full((24, D), 0.6)
        shift[5], shift[11] = 0.1, 1.2
        found = _verdicts(_images(generator, shift, np.ones((24, D))))
        hits += (found[5] == "golden") + (found[11] == "inferior")
        false += (np.delete(found, [5, 11]) == "inferior").sum()
    assert hits / 40 >= 0.9
    assert false <= 0.05 * 2 * 40


def test_limits_of_a_distance_and_of_its_difference_cover_what_other_prompts_give() -> None:
    generator = np.random.default_rng(3)
    seeds = 6
    shift, spread = generator.normal(size=(seeds, D)) * 0.4, generator.uniform(0.4, 1, size=(seeds, D))
    many = torch.stack([_images(generator, shift, spread) for _ in range(800)])
    distances = frechet_distances_of_samples(many, REFERENCE).numpy()
    truth, difference = distances.mean(0), (distances - distances.mean(1, keepdims=True)).mean(0)
    covered = np.zeros(2)
    for study in range(100):
        folds = _folds(_images(np.random.default_rng([4, study]), shift, spread))
        for k, (wanted, statistic) in enumerate(((truth, lambda d: d), (difference, deviations))):
            limits = folds.jackknife(statistic).interval(0.95)
            covered[k] += ((limits.low <= wanted) & (wanted <= limits.high)).mean()
    assert (covered / 100 >= 0.92).all(), covered
    assert (covered / 100 <= 0.985).all(), covered


def test_the_corrected_distance_is_nearer_to_that_of_endless_prompts() -> None:
    generator = np.random.default_rng(5)
    shift, spread = np.full((8, D), 0.3), np.full((8, D), 0.7)
    endless = frechet_distances_of_samples(_images(generator, shift, spread, 40_000), REFERENCE).numpy().mean()
    plain, corrected = [], []
    for study in range(30):
        found = _folds(_images(np.random.default_rng([6, study]), shift, spread)).jackknife()
        plain.append(found.value.mean())
        corrected.append(found.corrected.mean())
    assert np.mean(plain) > endless * 1.03  # too large: the bias
    assert abs(np.mean(corrected) - endless) < 0.35 * (np.mean(plain) - endless)


def test_limits_of_means_and_shares_cover_the_truth() -> None:
    covered = np.zeros(2)
    for study in range(150):
        generator = np.random.default_rng([7, study])
        table = generator.gamma(2, size=(8, 40))
        means = bootstrap_means(table, resampling_weights(40, 400, generator))
        shares = wilson_shares((generator.random((8, 60)) < 0.15).astype(float))
        covered += [
            ((means.low <= 2) & (means.high >= 2)).mean(), ((shares.low <= 0.15) & (shares.high >= 0.15)).mean()
        ]  # fmt: skip
    assert (covered / 150 >= 0.93).all(), covered / 150
    assert (covered / 150 <= 0.97).all(), covered / 150
