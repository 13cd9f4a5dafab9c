from __future__ import annotations

import itertools

import numpy as np
import pytest

from seedml.selection.diversity import diversity_gain, farthest_points, pair_distances, seed_layouts


def test_each_next_point_is_the_farthest_from_those_taken() -> None:
    line = np.array([[0.0], [1.0], [10.0], [4.0], [6.0]])
    assert farthest_points(line, 0, 4, np.arange(5)).tolist() == [0, 2, 3, 4]
    assert farthest_points(line, 0, 3, np.array([0, 1, 3, 4])).tolist() == [0, 4, 3]
    assert farthest_points(line, 0, 99, np.array([0, 3])).tolist() == [0, 3]


def test_points_are_taken_once_even_where_they_coincide() -> None:
    taken = farthest_points(np.zeros((6, 2)), 2, 6, np.arange(6))
    assert sorted(taken.tolist()) == list(range(6))
    assert taken[0] == 2


def test_layouts_know_the_seed_and_not_the_prompts() -> None:
    generator = np.random.default_rng(0)
    seeds, prompts = generator.normal(size=(5, 1, 3)), 10 * generator.normal(size=(1, 200, 3))
    features = seeds + prompts + generator.normal(size=(5, 200, 3)) * 0.1
    layouts = seed_layouts(features)
    found, wanted = (points - points[0] for points in (layouts * features.std(1).mean(0), seeds[:, 0]))
    np.testing.assert_allclose(found, wanted, atol=0.05)
    dead = np.concatenate([features, np.ones((5, 200, 1))], 2)
    assert np.isfinite(seed_layouts(dead)).all()


def test_mean_distances_are_brute_force_and_all_pairs_are_what_random_sets_have() -> None:
    features = np.random.default_rng(1).normal(size=(7, 4, 3))
    chosen = np.array([5, 0, 3])
    among, all_pairs = pair_distances(features, chosen)
    for prompt in range(4):
        pairs = [
            np.linalg.norm(features[a, prompt] - features[b, prompt]) for a, b in itertools.combinations(chosen, 2)
        ]
        assert among[prompt] == pytest.approx(np.mean(pairs))
    sets = [pair_distances(features, np.array(some))[0] for some in itertools.combinations(range(7), 3)]
    np.testing.assert_allclose(np.mean(sets, axis=0), all_pairs, rtol=1e-12)


def test_a_planted_diversity_is_found_with_limits_above_zero_and_none_where_none_is() -> None:
    generator = np.random.default_rng(2)
    layout = generator.normal(size=(12, 1, 4)) * 2
    features = layout + generator.normal(size=(12, 40, 4))
    chosen = farthest_points(seed_layouts(features), 0, 4, np.arange(12))
    other_prompts = layout + generator.normal(size=(12, 30, 4))
    found = diversity_gain(other_prompts, chosen, 10)
    assert found.interval().low > 0.05
    nothing = diversity_gain(generator.normal(size=(12, 60, 4)), chosen, 10)
    assert nothing.interval(0.999).low < 0 < nothing.interval(0.999).high
