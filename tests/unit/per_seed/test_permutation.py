from __future__ import annotations

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
