from __future__ import annotations

import numpy as np
import pytest

from seedml.per_seed.folds import Folds
from seedml.selection.confirmation import chance_gain, gain, loss, overlap


def _folds(distances: np.ndarray, shared: float = 0.0) -> Folds:
    """Blocks move all seeds together by ``shared`` and each alone by a little."""
    generator = np.random.default_rng(0)
    deleted = (
        distances + (shared * generator.normal(size=(8, 1)) + 0.1 * generator.normal(size=(8, len(distances)))) / 8
    )
    return Folds(distances, deleted, np.full(8, 4), 32)


def test_the_gain_is_the_mean_of_all_minus_the_mean_of_the_chosen() -> None:
    found = gain(_folds(np.array([1.0, 2.0, 3.0, 6.0])), np.array([0, 1]))
    assert found.value == pytest.approx(3.0 - 1.5)
    assert loss(_folds(np.array([1.0, 2.0, 3.0, 6.0])), np.array([3])).value == pytest.approx(6.0 - 3.0)


def test_what_prompts_do_to_all_seeds_alike_does_not_widen_the_limits() -> None:
    distances = np.random.default_rng(1).normal(size=20) + 10
    plain, moved = (gain(_folds(distances, shared), np.arange(5)) for shared in (0.0, 50.0))
    assert moved.error == pytest.approx(float(plain.error), rel=1e-6)


def test_picking_the_best_of_noise_gains_on_the_same_prompts_and_not_on_others() -> None:
    inside, outside = [], []
    for study in range(200):
        generator = np.random.default_rng([2, study])
        chosen_on, held_out = 5 + generator.normal(size=(2, 30))
        best = np.argsort(chosen_on)[:5]
        inside.append(float(gain(_folds(chosen_on), best).value))
        outside.append(float(gain(_folds(held_out), best).value))
    assert np.mean(inside) > 1
    assert abs(np.mean(outside)) < 3 * np.std(outside) / np.sqrt(200)


def test_seeds_at_random_gain_nothing_and_their_limits_are_those_of_sampling_without_replacement() -> None:
    distances = np.random.default_rng(3).normal(size=40)
    mean, low, high = chance_gain(distances, 5, 0.95, np.random.default_rng(4))
    deviation = distances.std() * np.sqrt((40 - 5) / (5 * 39))
    assert abs(mean) < 0.1 * deviation
    assert low == pytest.approx(-1.96 * deviation, rel=0.12)
    assert high == pytest.approx(1.96 * deviation, rel=0.12)


def test_the_papers_rule_finds_64_seeds_by_chance() -> None:
    generator = np.random.default_rng(5)
    first, second = generator.permutation(1024)[:256], generator.permutation(1024)[:256]
    found = overlap(first, second, 1024)
    assert found.expected == 64
    assert (found.low, found.high) == (52, 76)  # 64 ± 2 × 6
    assert found.low <= found.shared <= found.high
    assert found.p > 0.01
    assert overlap(first, first, 1024).p < 1e-100
    assert overlap(first, np.setdiff1d(np.arange(1024), first)[:256], 1024).p == pytest.approx(1.0)
