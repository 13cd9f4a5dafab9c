"""Rates of artifacts per seed: known answers, what is named where nothing is, and what avoiding is worth."""

from __future__ import annotations

import numpy as np
import pytest

from seedml.applications.artifact_rates import below_average, choose, judge, seed_rates, worst_text, worth
from seedml.applications.holes import OUTPAINTING, REMOVAL, Task
from seedml.applications.inpainting import Filled
from seedml.config import StatisticsConfig

STATISTICS = StatisticsConfig(permutations=100, bootstrap=100, blocks=8)
BAD = (3, 11)


def planted(seeds: int, pictures: int, bad: tuple[int, ...], often: float = 0.8, seed: int = 0) -> np.ndarray:
    """0 and 1: only the bad seeds show it, in a share of pictures."""
    table = np.zeros((seeds, pictures))
    for at in bad:
        table[at] = np.random.default_rng([seed, at]).random(pictures) < often
    return table


def filled(text: np.ndarray) -> Filled:
    """Text in outpainting alone; no frames; removal knows every other picture."""
    seeds, pictures = text.shape
    tasks, columns = [], []
    for number in range(pictures):
        tasks.append(Task(OUTPAINTING, number, None, None, ""))  # type: ignore[arg-type]
        columns.append(text[:, number])
        if number % 2:
            tasks.append(Task(REMOVAL, number, None, None, ""))  # type: ignore[arg-type]
            columns.append(np.zeros(seeds))
    found = np.stack(columns, axis=1)
    return Filled(np.arange(100, 100 + seeds), tasks, {"text": found, "border": np.zeros_like(found)}, {}, 0)


def test_planted_seeds_are_named_and_no_others() -> None:
    table = planted(32, 24, BAD)
    found = seed_rates(table, STATISTICS)
    q = np.array([entry["q"] for entry in found["seeds"]])
    assert set(np.flatnonzero(q <= 0.05)) == set(BAD)
    assert found["named"] == 2
    assert found["spread_p"] <= 1 / 101 + 1e-9
    assert found["named_by_chance"] < 0.5
    for at, entry in enumerate(found["seeds"]):
        assert entry["value"] == pytest.approx(table[at].mean())
        assert 0 <= entry["low"] <= entry["value"] <= entry["high"] <= 1
        assert entry["n"] == 24
    assert found["rate"]["low"] < table.mean() < found["rate"]["high"]


def test_where_seeds_are_alike_hardly_any_is_named() -> None:
    """With a false discovery rate of 5 %, a study without an effect names a seed in about one of twenty cases."""
    named = {"avoid": 0, "use": 0}
    for study in range(20):
        table = (np.random.default_rng(study).random((16, 24)) < 0.2).astype(float)
        q = np.array([entry["q"] for entry in seed_rates(table, STATISTICS)["seeds"]])
        use, avoid = choose(table, q, 0.05)
        named["use"] += bool(len(use))
        named["avoid"] += bool(len(avoid))
    assert named["avoid"] <= 3
    assert named["use"] <= 3


def test_where_a_few_seeds_do_it_all_the_others_are_below_average() -> None:
    hits = np.zeros(64, np.int64)
    hits[:3] = (20, 18, 10)
    below = below_average(hits, 24)
    assert (below[:3] < 0.01).all()
    assert (below[3:] > 0.95).all()


def test_nothing_seen_says_nothing_of_seeds() -> None:
    for hits in (np.zeros(8, np.int64), np.full(8, 5)):
        assert below_average(hits, 5).tolist() == [0.5] * 8
    use, avoid = choose(np.zeros((8, 6)), np.ones(8), 0.05)
    assert len(use) == len(avoid) == 0


def test_seeds_to_use_and_avoid_are_confirmed_on_other_pictures() -> None:
    verdict = judge(filled(planted(32, 36, BAD)), np.arange(24), np.arange(24, 36), STATISTICS)
    assert set(verdict.avoid) == {103, 111}
    assert not set(verdict.use) & set(verdict.avoid)
    assert len(verdict.use) == 30
    held_out = verdict.figures["held_out"]
    assert held_out["avoid"]["value"] > 0.5
    assert held_out["without_avoided"]["value"] == 0
    assert held_out["removed"]["value"] == pytest.approx(1)
    assert held_out["removed"]["low"] > 0.5
    assert held_out["use"]["high"] < held_out["avoid"]["low"]
    assert verdict.figures["rates"][REMOVAL]["text"]["rate"]["value"] == 0
    assert verdict.figures["rates"][REMOVAL]["text"]["seeds"][0]["n"] == 12  # every other picture has the task
    worst = worst_text(verdict.figures, 0.05)
    assert worst is not None
    assert (worst["task"], worst["seed"] in (103, 111)) == (OUTPAINTING, True)


def test_the_worst_seeds_rate_is_told_by_other_pictures() -> None:
    text = planted(32, 36, BAD)
    text[:, 24:] = 0
    text[BAD[0], 24:27] = text[BAD[1], 24:27] = 1
    worst = judge(filled(text), np.arange(24), np.arange(24, 36), STATISTICS).figures["worst_text"]
    assert (worst["value"], worst["n"]) == (0.25, 12)
    assert worst["low"] < 0.25 < worst["high"]
    assert worst["named_by"]["value"] > 0.6
    assert worst["named_by"]["n"] == 24
    alone = judge(filled(text[:, :24]), np.arange(24), np.arange(0), STATISTICS).figures["worst_text"]
    assert "value" not in alone


def test_the_choice_does_not_see_the_confirming_pictures() -> None:
    text = planted(32, 36, BAD)
    other = text.copy()
    other[:, 24:] = 1 - other[:, 24:]
    first, second = (judge(filled(t), np.arange(24), np.arange(24, 36), STATISTICS) for t in (text, other))
    assert (first.use, first.avoid) == (second.use, second.avoid)
    assert first.figures["held_out"] != second.figures["held_out"]


def test_a_picture_that_showed_it_before_does_not_count() -> None:
    table = planted(8, 6, (2,))
    table[:, 1] = np.nan
    assert seed_rates(table, STATISTICS)["seeds"][0]["n"] == 5
    assert seed_rates(np.full((8, 6), np.nan), STATISTICS) == {}
    assert worth(np.full((8, 6), np.nan), np.arange(2), np.arange(2, 4), STATISTICS) == {}
