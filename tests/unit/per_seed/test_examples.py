from __future__ import annotations

import numpy as np

from seedml.per_seed.examples import clustered_order, standard_scores, typical_and_extreme


def test_typical_is_near_the_seeds_mean_and_extreme_far_on_its_side_once_the_prompt_is_out() -> None:
    prompts = np.array([100.0, 0.0, -50.0, 7.0])  # what captions do hides what seeds do
    effect = np.array([[1.0, 2.1, 5.0, 0.0], [-1.0, -2.1, -5.0, 0.0]])
    typical, extreme = typical_and_extreme(effect + prompts)
    assert typical.tolist() == [1, 1]
    assert extreme.tolist() == [2, 2]


def test_a_seed_below_the_mean_is_extreme_downwards() -> None:
    table = np.array([[0.0, 0.0, 0.0], [1.0, -4.0, -3.0], [0.0, 0.0, 0.0]])
    assert typical_and_extreme(table)[1][1] == 1


def test_equals_give_the_first_prompt_and_unknown_images_are_passed_over() -> None:
    table = np.array([[np.nan, 1.0, 1.0], [np.nan, 0.0, 0.0], [np.nan] * 3])
    typical, extreme = typical_and_extreme(table)
    assert typical.tolist() == [1, 1, -1]
    assert extreme.tolist() == [1, 1, -1]


def test_scores_are_in_standard_deviations_of_the_seeds() -> None:
    random = np.random.default_rng(0)
    means = random.normal(3, [0.1, 20.0], size=(50, 2))
    scores = standard_scores(means)
    np.testing.assert_allclose(scores.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(scores.std(axis=0, ddof=1), 1)
    holed = np.column_stack([means[:, 0], np.full(50, 0.1)])
    holed[4, 0] = np.nan
    scores = standard_scores(holed)
    assert np.isnan(scores[4, 0])
    assert (scores[:, 1] == 0).all(), "equal for all seeds"
    np.testing.assert_allclose(np.nanstd(scores[:, 0], ddof=1), 1)


def test_the_order_puts_alike_rows_side_by_side() -> None:
    scores = np.array([[3.0, 0], [0, 3], [3.1, 0.1], [0.2, 2.9], [2.9, np.nan]])
    order = clustered_order(scores).tolist()
    assert sorted(order) == list(range(5))
    assert {frozenset(order[:3]), frozenset(order[:2])} & {frozenset({0, 2, 4}), frozenset({1, 3})}
    assert clustered_order(scores[:2]).tolist() == [0, 1]
