from __future__ import annotations

import numpy as np

from seedml.per_seed.folds import Folds
from seedml.selection.ranking import rank_seeds


def _folds(distances: list[float], noise: float) -> Folds:
    full = np.array(distances)
    deleted = full + np.random.default_rng(0).normal(size=(16, len(full))) * noise / 16
    return Folds(full, deleted, np.full(16, 10), 160)


def test_clear_seeds_get_a_verdict_and_lists_are_best_and_worst_first() -> None:
    ranking = rank_seeds(_folds([5.0, 1.0, 5.1, 9.0, 4.9, 2.0, 5.0, 8.0, 5.05, 4.95], 0.1), 0.95)
    assert ranking.verdict[[1, 5]].tolist() == ["golden", "golden"]
    assert ranking.verdict[[3, 7]].tolist() == ["inferior", "inferior"]
    assert ranking.golden(2).tolist() == [1, 5]
    assert ranking.golden(1).tolist() == [1]
    assert ranking.inferior(2).tolist() == [3, 7]
    assert ranking.n == 160


def test_noise_gives_no_golden_seed_but_still_an_order() -> None:
    distances = (5 + np.random.default_rng(1).normal(size=12)).tolist()
    ranking = rank_seeds(_folds(distances, 4.0), 0.95)
    assert set(ranking.verdict.tolist()) == {"inconclusive"}
    assert ranking.golden(3).tolist() == []
    assert ranking.best(3).tolist() == np.argsort(distances)[:3].tolist()
    assert ranking.worst(3).tolist() == np.argsort(distances)[::-1][:3].tolist()


def test_no_list_holds_more_than_half_of_the_seeds() -> None:
    ranking = rank_seeds(_folds([1.0, 5.0, 9.0], 0.01), 0.95)
    assert ranking.best(5).tolist() == [0]
    assert ranking.worst(5).tolist() == [2]
    assert rank_seeds(_folds([1.0], 0.01), 0.95).best(5).tolist() == []
