from __future__ import annotations

import numpy as np
import pytest
import torch

from seedml.applications.diverse_sampling import (
    ANY,
    POOL,
    Recipe,
    choose_sets,
    compare,
    distance_tables,
    mean_distance,
    pools,
    replaced,
    vendi_score,
)
from seedml.applications.studio import Trial
from seedml.config import ApplyConfig, StatisticsConfig
from seedml.per_seed.frechet import Reference
from seedml.prompts import Prompt
from seedml.selection.diversity import joint_distances, mean_distances

S, P = 24, 20


def _trial(features: np.ndarray, **columns: np.ndarray) -> Trial:
    prompts = tuple(Prompt(number, f"prompt {number}", "test") for number in range(features.shape[1]))
    return Trial(np.arange(len(features)), prompts, features.astype(np.float32), columns, {})


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference.of_samples(torch.from_numpy(np.random.default_rng(1).normal(size=(500, 4))))


def test_pools_hold_what_their_names_say() -> None:
    verdicts = {1: "golden", 2: "inferior", 3: "inconclusive", 4: "golden"}
    found = pools(verdicts, [4, 3, 1, 2], 2)
    assert found == {"golden": [4, 1], "not_inferior": [4, 3, 1], "all": [4, 3, 1, 2]}
    assert pools(verdicts, [4, 3, 1, 2], 3).keys() == {"not_inferior", "all"}


def test_a_set_that_cannot_be_made_says_why() -> None:
    some = pools({1: "golden", 2: "inferior", 3: "inconclusive"}, [3, 1, 2], 2)
    made = {Recipe("style", "max_sum", "all"): [3, 1]}
    assert replaced(Recipe("style", "max_sum", "all"), made, some, 2) == ""
    assert replaced(Recipe("style", "max_sum", "golden"), made, some, 2) == "fewer than 2 seeds are golden"
    assert "not measure layout" in replaced(Recipe("layout", "max_sum", "not_inferior"), made, some, 2)


def test_mean_distances_pass_over_what_is_not_known() -> None:
    vectors = np.array([[[0.0], [0.0]], [[3.0], [np.nan]], [[5.0], [1.0]]])
    found = mean_distances(vectors)
    np.testing.assert_allclose(found, [[0, 3, 3], [3, 0, 2], [3, 2, 0]])
    assert np.isnan(mean_distances(vectors[:, 1:])[0, 1])


def test_joint_distances_weigh_their_parts_alike() -> None:
    parts = {"a": np.array([[0, 2.0], [2, 0]]), "b": np.array([[0, 50.0], [50, 0]]), "c": np.full((2, 2), np.nan)}
    assert joint_distances(parts, "a+b")[0, 1] == pytest.approx(2)
    assert joint_distances(parts, "a+c") is None
    assert joint_distances(parts, "a+unknown") is None


def test_sets_are_taken_from_their_pool_and_spaces_without_numbers_left_out() -> None:
    vectors = np.random.default_rng(0).normal(size=(10, 6, 2))
    parts = {"features": mean_distances(vectors), "style": np.full((10, 10), np.nan)}
    wanted = ApplyConfig(diverse=3, diverse_spaces=["features", "style"], diverse_space="features")
    seeds = list(range(100, 110))
    found = choose_sets(parts, seeds, wanted, {"golden": [105, 101, 108, 102], "all": seeds}, ["max_sum"])
    assert found.keys() == {Recipe("features", "max_sum", "golden"), Recipe("features", "max_sum", "all")}
    assert set(found[Recipe("features", "max_sum", "golden")]) <= {105, 101, 108, 102}


def test_pairs_that_are_not_known_do_not_count() -> None:
    table = np.full((2, 3, 3), np.nan)
    table[0] = [[0, 1, 2], [1, 0, 3], [2, 3, 0]]
    table[1, 0, 1] = table[1, 1, 0] = 7
    assert mean_distance(table, np.arange(3), np.arange(2)) == pytest.approx((2 + 7) / 2)


@pytest.mark.parametrize(("vectors", "score"), [
    (np.ones((4, 3)), 1.0), (np.eye(4), 4.0), (np.repeat(np.eye(2), 3, axis=0), 2.0), (np.zeros((3, 2)), 3.0),
])  # fmt: skip
def test_vendi_scores_of_known_answer(vectors: np.ndarray, score: float) -> None:
    assert vendi_score(vectors) == pytest.approx(score)


def test_a_set_that_is_farther_apart_is_found_and_one_at_random_is_not(reference: Reference) -> None:
    generator = np.random.default_rng(2)
    places = generator.normal(size=(S, 1, 4))
    places[:5] *= 4
    features = places + 0.5 * generator.normal(size=(S, P, 4))
    location = 0.5 + 0.05 * features[:, :, :2]
    trial = _trial(features, location_x=location[:, :, 0], location_y=location[:, :, 1])
    tables = distance_tables(trial)
    assert tables.keys() == {"features", "position"}
    random = {POOL: np.arange(5, S), ANY: np.arange(S)}
    found = compare(trial, tables, np.arange(5), random, reference, StatisticsConfig())
    for key in ("features", "position"):
        assert found[key]["gain"]["low"] > 0
        assert found[key]["gain"]["value"] > found[key]["gain_over_any"]["value"]
    assert {"set", "pool", "any", "worse", "worse_than_pool", "pictures"} == found["fid"].keys()
    assert found["fid"]["pictures"] == 5 * P
    plain = compare(trial, tables, np.arange(10, 15), random, reference, StatisticsConfig())
    assert plain["features"]["gain"]["low"] < 0 < plain["features"]["gain"]["high"]


def test_two_random_sets_at_least_are_needed_for_distances_of_sets(reference: Reference) -> None:
    trial = _trial(np.random.default_rng(0).normal(size=(6, P, 4)))
    random = {POOL: np.arange(6), ANY: np.arange(6)}
    found = compare(trial, distance_tables(trial), np.arange(4), random, reference, StatisticsConfig())
    assert found.keys() == {"features"}
