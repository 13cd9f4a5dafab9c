from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from seedml.selection.diversity import (
    MAX_SUM,
    METHODS,
    diverse_set,
    diversity_gain,
    k_medoids,
    mean_distances,
    pair_distances,
    spread_order,
)


def test_mean_distances_are_brute_force_and_all_pairs_are_what_random_sets_have() -> None:
    features = np.random.default_rng(1).normal(size=(7, 4, 3))
    chosen = np.array([5, 0, 3])
    among, all_pairs = pair_distances(features, [chosen, np.arange(7)])
    for prompt in range(4):
        pairs = [
            np.linalg.norm(features[a, prompt] - features[b, prompt]) for a, b in itertools.combinations(chosen, 2)
        ]
        assert among[prompt] == pytest.approx(np.mean(pairs))
    sets = pair_distances(iter(features.swapaxes(0, 1)), [np.array(c) for c in itertools.combinations(range(7), 3)])
    np.testing.assert_allclose(sets.mean(axis=0), all_pairs, rtol=1e-12)


def test_a_planted_diversity_is_found_with_limits_above_zero_and_none_where_none_is() -> None:
    generator = np.random.default_rng(2)
    layout = generator.normal(size=(12, 1, 4)) * 2
    features = layout + generator.normal(size=(12, 40, 4))
    chosen = diverse_set(mean_distances(features), MAX_SUM, 0, 4, np.arange(12))
    other_prompts = layout + generator.normal(size=(12, 30, 4))
    found = diversity_gain(*pair_distances(other_prompts, [chosen, np.arange(12)]), 10)
    assert found.interval().low > 0.05
    nothing = diversity_gain(*pair_distances(generator.normal(size=(12, 60, 4)), [chosen, np.arange(12)]), 10)
    assert nothing.interval(0.999).low < 0 < nothing.interval(0.999).high


def test_pictures_tell_what_mean_vectors_hide() -> None:
    """Two seeds whose own pictures vary much, about the same mean, are far apart; by their means they are not."""
    generator = np.random.default_rng(3)
    features = generator.normal(size=(6, 50, 4)) * np.array([0.1, 0.1, 5.0, 0.1, 5.0, 0.1])[:, None, None]
    chosen = diverse_set(mean_distances(features), MAX_SUM, 0, 2, np.arange(6))
    assert sorted(chosen.tolist()) == [2, 4]


def test_the_first_few_in_order_are_far_apart_too() -> None:
    line = np.array([0.0, 1.0, 10.0, 4.0, 6.0])
    distances = np.abs(line[:, None] - line[None])
    assert spread_order(distances, np.array([0, 1, 2, 4]), 1).tolist() == [1, 2, 0, 4]
    assert sorted(spread_order(np.zeros((5, 5)), np.arange(5), 3).tolist()) == list(range(5))


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
