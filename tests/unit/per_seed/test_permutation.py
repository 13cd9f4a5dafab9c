from __future__ import annotations

from itertools import permutations, product

import numpy as np
import torch
from scipy import stats

from seedml.per_seed.frechet import Reference, frechet_distances_of_samples
from seedml.per_seed.permutation import (
    deviation_p,
    frechet_null,
    label_permutations,
    mean_null,
    permutation_p,
    shuffled_deviations,
    spread,
)


def _permutations(seeds: int, prompts: int, count: int, seed: int = 0) -> list[np.ndarray]:
    return list(label_permutations(seeds, prompts, count, np.random.default_rng(seed)))


def test_labels_are_shuffled_within_each_prompt_and_differ_between_prompts() -> None:
    for labels in _permutations(7, 20, 5):
        np.testing.assert_array_equal(np.sort(labels, axis=0), np.repeat(np.arange(7)[:, None], 20, axis=1))
        assert len({tuple(column) for column in labels.T}) > 10


def test_a_shuffled_study_has_the_means_and_distances_of_its_images() -> None:
    generator = np.random.default_rng(1)
    cube = generator.normal(size=(4, 12, 3))
    reference = Reference.of_samples(torch.from_numpy(generator.normal(size=(50, 3))))
    shuffles = _permutations(4, 12, 3)
    means, distances = mean_null(cube, shuffles), frechet_null(torch.from_numpy(cube), reference, shuffles)
    assert means.shape == (3, 4, 3)
    assert distances.shape == (3, 4)
    for b, labels in enumerate(shuffles):
        for seed in range(4):
            images = np.stack([cube[labels[seed, p], p] for p in range(12)])
            np.testing.assert_allclose(means[b, seed], images.mean(0), rtol=1e-12)
            alone = frechet_distances_of_samples(torch.from_numpy(images), reference)
            np.testing.assert_allclose(distances[b, seed], alone, rtol=1e-9)


def test_p_counts_what_reaches_the_observed_value_and_is_never_zero() -> None:
    null = np.array([1.0, 2.0, 3.0, 3.0])
    assert permutation_p(5.0, null) == 1 / 5
    assert permutation_p(3.0, null) == 3 / 5
    assert permutation_p(0.0, null) == 1.0


def test_a_planted_effect_on_one_seed_is_found() -> None:
    generator = np.random.default_rng(2)
    prompts = generator.normal(size=(1, 60, 1)) * 3
    table = prompts + generator.normal(size=(10, 60, 1))
    table[4] += 0.9
    shuffles = _permutations(10, 60, 200)
    null = mean_null(table, shuffles)
    means = table.mean(axis=1)
    assert permutation_p(spread(means), spread(null))[0] <= 0.01
    p = deviation_p(means[:, 0], null[:, :, 0])
    assert p[4] < 1e-3
    assert np.median(np.delete(p, 4)) > 0.1


def test_a_planted_effect_on_a_distance_is_found() -> None:
    generator = np.random.default_rng(3)
    cube = generator.normal(size=(8, 50, 5)) + generator.normal(size=(1, 50, 5))
    cube[2] += 0.8
    reference = Reference.of_samples(torch.from_numpy(generator.normal(size=(2000, 5)) * 2**0.5))
    observed = frechet_distances_of_samples(torch.from_numpy(cube), reference).numpy()
    null = frechet_null(torch.from_numpy(cube), reference, _permutations(8, 50, 120))
    assert observed.argmax() == 2
    assert permutation_p(spread(observed[:, None]), spread(null[:, :, None]))[0] <= 0.01


def test_without_an_effect_p_values_are_uniform() -> None:
    spreads, seeds = [], []
    for study in range(150):
        generator = np.random.default_rng([4, study])
        # skewed, with prompts that differ: nothing a normal test would like
        table = generator.gamma(0.5, size=(6, 20, 1)) * generator.uniform(0.1, 5, size=(1, 20, 1))
        null = mean_null(table, label_permutations(6, 20, 60, generator))
        spreads.append(permutation_p(spread(table.mean(1)), spread(null))[0])
        seeds.append(deviation_p(table.mean(1)[:, 0], null[:, :, 0])[0])
    assert stats.kstest(spreads, "uniform").pvalue > 0.01
    assert stats.kstest(seeds, "uniform").pvalue > 0.01
    assert np.mean(np.array(spreads) <= 0.05) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 150)


def test_equal_seeds_are_no_effect() -> None:
    table = np.zeros((5, 8, 1))
    null = mean_null(table, _permutations(5, 8, 20))
    assert permutation_p(spread(table.mean(1)), spread(null))[0] == 1.0
    assert (deviation_p(table.mean(1)[:, 0], null[:, :, 0]) == 1.0).all()


def test_deviations_without_missing_cells_are_means_less_the_mean_and_their_error_is_that_of_all_shuffles() -> None:
    table = np.random.default_rng(5).gamma(1, size=(3, 3))
    found = shuffled_deviations(table, 4000, np.random.default_rng(6))
    np.testing.assert_allclose(found.value, table.mean(1) - table.mean(), atol=1e-12)
    orders = list(permutations(range(3)))
    every = np.array([
        [table[order[s], p] for order, p in zip(chosen, range(3), strict=True)]
        for chosen in product(orders, repeat=3) for s in (0,)
    ])  # fmt: skip
    np.testing.assert_allclose(found.error, (every.mean(1) - table.mean()).std(), rtol=1e-10)
    # a shuffled seed's mean is one of those of all permutations, each as often
    expected = np.unique((every.mean(1) - table.mean()).round(9))
    values, counts = np.unique(found.null.round(9), return_counts=True)
    np.testing.assert_allclose(values, expected, atol=1e-8)
    assert stats.chisquare(counts).pvalue > 1e-3
    np.testing.assert_allclose(found.null.sum(axis=1), 0, atol=1e-9)


def test_rotations_give_the_p_values_of_full_permutations() -> None:
    table = np.random.default_rng(7).gamma(0.5, size=(8, 30)) + 0.15 * np.arange(8)[:, None]
    null = mean_null(table[:, :, None], _permutations(8, 30, 4000))[:, :, 0]
    found = shuffled_deviations(table, 4000, np.random.default_rng(8))
    np.testing.assert_allclose(found.p_values(), deviation_p(table.mean(1), null), atol=0.01)
    full = permutation_p(spread(table.mean(1)[:, None])[0], spread(null[:, :, None])[:, 0])
    np.testing.assert_allclose(found.spread_p(), full, atol=0.03)


def test_with_missing_cells_only_values_that_are_there_are_shuffled_and_p_values_are_uniform() -> None:
    spreads, seeds = [], []
    for study in range(200):
        generator = np.random.default_rng([9, study])
        table = 5 * generator.normal(size=(1, 150)) + generator.gamma(0.5, size=(6, 150))
        table[generator.random(table.shape) < np.array([0.6, 0.1, 0.1, 0, 0, 0.3])[:, None]] = np.nan
        table = table[:, (~np.isnan(table)).any(axis=0)]
        found = shuffled_deviations(table, 60, generator)
        spreads.append(found.spread_p())
        seeds.append(found.p_values()[study % 6])
        np.testing.assert_allclose(found.null.std(axis=0), found.error, rtol=0.5)
    assert stats.kstest(spreads, "uniform").pvalue > 0.01
    assert stats.kstest(seeds, "uniform").pvalue > 0.01


def test_shuffles_are_independent_between_prompts_and_draws() -> None:
    table = np.zeros((4, 1000))
    table[1] = 1.0
    found = shuffled_deviations(table, 300, np.random.default_rng(10))
    # the images of the odd seed are dealt out evenly: binomial counts, each seed in each draw anew
    np.testing.assert_allclose((found.null + 0.25).mean(), 0.25, atol=1e-9)
    np.testing.assert_allclose(found.null.std(), np.sqrt(0.25 * 0.75 / 1000), rtol=0.1)
    assert abs(np.corrcoef(found.null[:-1, 0], found.null[1:, 0])[0, 1]) < 0.25


def test_a_seed_without_any_value_has_no_p_value_and_does_not_disturb() -> None:
    table = np.random.default_rng(11).normal(size=(5, 40))
    table[2] = np.nan
    found = shuffled_deviations(table, 100, np.random.default_rng(0))
    p = found.p_values()
    assert np.isnan(p[2])
    assert np.isfinite(np.delete(p, 2)).all()
    assert np.isfinite(found.spread_p())
    constant = shuffled_deviations(np.full((4, 9), 0.3), 20, np.random.default_rng(0))
    assert (constant.p_values() == 1).all()
    assert constant.spread_p() == 1
