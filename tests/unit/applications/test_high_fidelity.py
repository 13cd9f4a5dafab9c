from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from seedml.applications.high_fidelity import ANY, Arms, best_of_k, compare, defect_table, sheet_rows
from seedml.applications.studio import Trial
from seedml.config import StatisticsConfig
from seedml.per_seed.frechet import Reference, frechet_distances_of_samples
from seedml.prompts import Prompt

S, P = 20, 24
GOLDEN, INFERIOR = np.array([0, 1, 2]), np.array([17, 18, 19])


@pytest.fixture(scope="module")
def trial() -> Trial:
    """Seeds of which the first three are better and the last three worse, in every way."""
    generator = np.random.default_rng(0)
    offset = np.zeros((S, 1, 1))
    offset[3:], offset[17:] = 1.2, 1.7
    features = (offset + generator.normal(size=(S, P, 3))).astype(np.float32)
    border, gray = np.zeros((S, P)), np.zeros((S, P))
    border[17:], gray[5, :6] = 1, 1
    agreement = 0.5 + 0.1 * generator.random((S, P)) + 0.3 * np.isin(np.arange(S), GOLDEN)[:, None]
    columns = {"border": border, "grayscale": gray, "agreement": agreement}
    prompts = tuple(Prompt(number, f"prompt {number}", "test") for number in range(P))
    pictures = {(seed, 0): np.zeros((4, 4, 3), np.uint8) for seed in range(S)}
    return Trial(np.arange(S), prompts, features, columns, {}, pictures)


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference.of_samples(torch.from_numpy(np.random.default_rng(1).normal(size=(500, 3))))


@pytest.fixture(scope="module")
def found(trial: Trial, reference: Reference) -> dict:
    return compare(trial, Arms(GOLDEN, INFERIOR, np.arange(S)), reference, StatisticsConfig(), 4)


def test_distances_are_those_of_the_pictures(trial: Trial, reference: Reference, found: dict) -> None:
    together = torch.from_numpy(trial.features[GOLDEN]).reshape(-1, 3)
    assert found["fid_of_set"]["golden"]["value"] == pytest.approx(
        float(frechet_distances_of_samples(together, reference))
    )
    assert found["fid_of_set"]["golden_pictures"] == 3 * P
    alone = frechet_distances_of_samples(torch.from_numpy(trial.features), reference).numpy()
    assert found["fid_of_seed"]["random"]["value"] == pytest.approx(alone.mean())
    assert found["fid_of_seed"]["golden_gain"]["value"] == pytest.approx(alone.mean() - alone[GOLDEN].mean())


def test_planted_effects_are_found_beyond_doubt(found: dict) -> None:
    for part in ("fid_of_set", "fid_of_seed"):
        assert found[part]["golden_gain"]["low"] > 0
        assert found[part]["inferior_loss"]["low"] > 0
    assert found["fid_of_set"]["golden_chance"]["sets_as_good"] == 0
    assert found["fid_of_set"]["golden_chance"]["low"] < 0 < found["fid_of_set"]["golden_chance"]["high"]
    agreement = found["scores"]["agreement"]
    assert agreement["golden_gain"]["low"] > 0
    assert agreement["gap_closed"]["value"] > 0.8


def test_removed_defects_have_limits_though_none_is_left(found: dict) -> None:
    removed = found["defects"]["border"]["removed"]
    assert (removed["value"], removed["high"]) == (1, 1)
    assert 0 < removed["low"] < 1
    assert found["defects"]["border"]["golden"]["high"] > 0
    assert found["defects"]["border"]["random"]["value"] == pytest.approx(3 / S)
    assert found["defects"][ANY]["random"]["value"] == pytest.approx((3 * P + 6) / (S * P))
    assert "lettering" not in found["defects"]


def test_seeds_at_random_gain_nothing(trial: Trial, reference: Reference) -> None:
    plain = Trial(
        trial.seeds, trial.prompts, np.random.default_rng(3).normal(size=(S, P, 3)).astype(np.float32), {}, {}
    )
    found = compare(plain, Arms(GOLDEN, INFERIOR, np.arange(S)), reference, StatisticsConfig(), 4)
    gain = found["fid_of_set"]["golden_gain"]
    assert gain["low"] < 0 < gain["high"]
    assert found["defects"] == found["scores"] == {}


def test_best_of_k_is_the_mean_over_all_choices() -> None:
    values = np.random.default_rng(0).random((6, 2))
    for k in (1, 2, 4, 6, 9):
        choices = list(itertools.combinations(range(6), min(k, 6)))
        expected = np.mean([values[list(some)].max(axis=0) for some in choices], axis=0)
        np.testing.assert_allclose(best_of_k(values, k), expected)


def test_a_defect_that_some_pictures_do_not_tell_is_left_out() -> None:
    columns = {"border": np.array([[0.0, np.nan]]), "grayscale": np.array([[0.0, 1.0]])}
    assert defect_table(columns).keys() == {"grayscale", ANY}


def test_without_golden_seeds_there_are_still_the_others(trial: Trial, reference: Reference) -> None:
    arms = Arms(np.array([], int), INFERIOR, np.arange(S))
    found = compare(trial, arms, reference, StatisticsConfig(), 4)
    assert "golden_gain" not in found["fid_of_set"]
    assert "gap_closed" not in found["scores"]["agreement"]
    assert found["fid_of_seed"]["inferior_loss"]["low"] > 0


def test_a_row_of_the_sheet_is_a_seed(trial: Trial) -> None:
    rows = sheet_rows(trial, {"golden": [0, 2]})
    assert [label for label, _ in rows] == ["golden\nseed 0", "golden\nseed 2"]
    assert all(len(pictures) == 1 for _, pictures in rows)
