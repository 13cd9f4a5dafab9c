from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from seedml.applications.sets import METHODS, diverse_set, k_medoids, picture_folds, random_sets, set_folds
from seedml.config import StatisticsConfig
from seedml.per_seed.balance import prompt_blocks
from seedml.per_seed.frechet import Reference, frechet_distances_of_samples


def test_medoids_are_the_best_there_are_in_small_cases() -> None:
    for draw in range(5):
        points = np.random.default_rng(draw).normal(size=(9, 2))
        distances = cdist(points, points)
        found = k_medoids(distances, 3)
        costs = {some: distances[:, some].min(axis=1).sum() for some in itertools.combinations(range(9), 3)}
        assert costs[tuple(found.tolist())] <= 1.1 * min(costs.values())  # a local minimum, and a good one


def test_medoids_of_separate_groups_are_one_of_each() -> None:
    centres = np.array([[0, 0], [100, 0], [0, 100]])
    points = np.concatenate([centre + np.random.default_rng(0).normal(size=(4, 2)) for centre in centres])
    assert set(k_medoids(cdist(points, points), 3) // 4) == {0, 1, 2}


def test_ties_go_to_the_first_and_all_points_can_be_taken() -> None:
    same = np.zeros((5, 5))
    assert k_medoids(same, 2).tolist() == [0, 1]
    assert k_medoids(same, 9).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("method", METHODS)
def test_a_set_stays_within_what_is_allowed(method: str) -> None:
    points = np.random.default_rng(3).normal(size=(20, 4))
    distances = cdist(points, points)
    allowed = np.array([12, 3, 7, 19, 5])
    found = diverse_set(distances, method, 12, 3, allowed)
    assert len(set(found.tolist())) == 3
    assert set(found.tolist()) <= set(allowed.tolist())
    assert np.array_equal(found, diverse_set(distances, method, 12, 3, allowed))
    assert len(diverse_set(distances, method, 12, 9, allowed)) == 5


def test_random_sets_share_no_seed() -> None:
    sets = random_sets(np.arange(10, 33), 5, np.random.default_rng(0))
    taken = np.concatenate(sets)
    assert [len(one) for one in sets] == [5, 5, 5, 5]
    assert len(np.unique(taken)) == 20
    assert [len(one) for one in random_sets(np.arange(3), 5, np.random.default_rng(0))] == [3]


@pytest.mark.parametrize("resampling", ["exact", "linear"])
def test_distances_of_sets_are_those_of_their_pictures(resampling: str) -> None:
    generator = np.random.default_rng(4)
    features = generator.normal(size=(6, 96, 3)).astype(np.float32)
    reference = Reference.of_samples(torch.from_numpy(generator.normal(size=(200, 3))))
    blocks, statistics = prompt_blocks(96, 4), StatisticsConfig(resampling=resampling)
    folds = set_folds(features, [np.array([0, 2]), np.array([5, 1])], blocks, reference, statistics)
    tolerance = 1e-9 if resampling == "exact" else 0.1  # to first order
    for row, chosen in enumerate(([0, 2], [5, 1])):
        own = torch.from_numpy(features[chosen])
        assert folds.full[row] == pytest.approx(float(frechet_distances_of_samples(own.reshape(-1, 3), reference)))
        for block in range(4):
            kept = own[:, torch.from_numpy(blocks != block)].reshape(-1, 3)
            alone = float(frechet_distances_of_samples(kept, reference))
            assert folds.deleted[block, row] == pytest.approx(alone, rel=tolerance)
    assert folds.sizes.tolist() == [48] * 4


def test_pictures_of_other_seeds_at_every_prompt_make_a_set_too() -> None:
    features = np.random.default_rng(5).normal(size=(3, 8, 2)).astype(np.float32)
    reference = Reference.of_samples(
        torch.randn(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    )
    mixed = np.array([[prompt + 8 * (prompt % 3) for prompt in range(8)]])
    folds = picture_folds(features, mixed, prompt_blocks(8, 4), reference, StatisticsConfig())
    alone = frechet_distances_of_samples(torch.from_numpy(features.reshape(24, 2)[mixed[0]]), reference)
    assert folds.full[0] == pytest.approx(float(alone))
