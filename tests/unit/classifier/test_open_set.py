"""Known from unknown: areas against scikit-learn, intervals by simulation, refusals of known counts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from seedml.classifier.answers import Answers
from seedml.classifier.calibration import Calibration
from seedml.classifier.open_set import auroc, auroc_interval, open_set_figures, roc
from seedml.classifier.unseen import other_seeds


def answers(scores: np.ndarray, seeds: np.ndarray, prompt_ids: np.ndarray) -> Answers:
    return Answers(np.stack([scores, scores - 5], axis=1), seeds, prompt_ids)


def grid(first_seed: int, n_seeds: int, n_prompts: int) -> tuple[np.ndarray, np.ndarray]:
    return np.repeat(np.arange(n_seeds) + first_seed, n_prompts), np.tile(np.arange(n_prompts), n_seeds)


def test_area_is_scikit_learns_ties_included():
    random = np.random.default_rng(0)
    known, unseen = random.integers(2, 9, 80).astype(float), random.integers(0, 7, 50).astype(float)
    truth = np.r_[np.ones(80), np.zeros(50)]
    assert auroc(known, unseen) == pytest.approx(roc_auc_score(truth, np.r_[known, unseen]))
    assert auroc(unseen, unseen) == pytest.approx(0.5)


def test_the_interval_covers_seeds_and_prompts_that_are_alike():
    truth, covered = 0.5, 0
    random = np.random.default_rng(1)
    for _ in range(30):
        parts = []
        prompts = random.normal(size=12)
        for first, n in ((0, 20), (100, 12)):
            seeds, prompt_ids = grid(first, n, 12)
            scores = random.normal(size=n)[seeds - first] + prompts[prompt_ids] + random.normal(size=len(seeds))
            parts.append(answers(scores, seeds, prompt_ids))
        low, high = auroc_interval(parts[0].logits[:, 0], parts[1].logits[:, 0], *parts)
        covered += low <= truth <= high
    assert covered >= 24  # 95 % of 30 are 28.5; fewer than 24 happen once in three thousand times


def test_whole_separation_is_no_certainty():
    parts = [answers(level + np.zeros(24), *grid(first, 8, 3)) for level, first in ((5.0, 0), (1.0, 50))]
    low, high = auroc_interval(parts[0].logits[:, 0], parts[1].logits[:, 0], *parts)
    assert high == 1
    assert low == pytest.approx(0.025 ** (1 / 8))  # eight unseen seeds, none of them mistaken


def test_figures_of_known_counts():
    known = answers(np.arange(100, 124.0), *grid(0, 8, 3))
    unseen = answers(np.r_[np.full(11, 1.0), 110.5], *grid(50, 4, 3))
    calibration = Calibration(1.0, np.arange(100, 199.0), 99, "x")
    figures = open_set_figures(known, unseen, calibration, false_refusals=0.02)
    assert figures["unseen_refused"]["value"] == pytest.approx(11 / 12)  # 1.0 has rank 1 of 100
    assert figures["known_refused"]["value"] == pytest.approx(1 / 24)  # only the lowest has a rank of 2 in 100
    assert figures["auroc"]["value"] == pytest.approx((11 * 24 + 13) / (12 * 24))
    assert figures["auroc"]["chance"] == 0.5
    assert (figures["known_seeds"], figures["unseen_seeds"], figures["prompts"]) == (8, 4, 3)
    assert figures["known_refused"]["chance"] == figures["unseen_refused"]["chance"] == 0.02


def test_limits_of_refusals_know_that_a_seeds_pictures_are_alike():
    """Of 16 unseen seeds 8 are refused with all their pictures: as sure as 8 of 16, not as 64 of 128."""
    known = answers(np.arange(100, 124.0), *grid(0, 3, 8))
    seeds, prompt_ids = grid(50, 16, 8)
    unseen = answers(np.where(seeds % 2, 1.0, 110.5), seeds, prompt_ids)
    found = open_set_figures(known, unseen, Calibration(1.0, np.arange(100, 199.0), 99, "x"), false_refusals=0.02)
    refused = found["unseen_refused"]
    assert (refused["value"], refused["n"]) == (0.5, 128)
    assert refused["low"] < 0.33
    assert refused["high"] > 0.67


def test_only_prompts_that_both_have_count():
    known = answers(np.r_[np.full(6, 5.0), np.full(6, -5.0)], np.tile([0, 1, 2], 4), np.repeat([0, 1, 2, 3], 3))
    unseen = answers(np.zeros(4), np.array([9, 10, 9, 10]), np.array([0, 0, 1, 1]))
    figures = open_set_figures(known, unseen, Calibration(1.0, np.zeros(5), 5, "x"), false_refusals=0.1)
    assert figures["auroc"]["value"] == 1
    assert figures["prompts"] == 2


def test_the_curve_rises_from_nobody_refused_to_everybody():
    random = np.random.default_rng(0)
    known, unseen = random.normal(size=500) + 2, random.normal(size=300)
    curve = np.array(roc(known, unseen))
    assert curve[0].tolist() == [0, 0]
    assert curve[-1].tolist() == [1, 1]
    assert (np.diff(curve, axis=0) >= 0).all()
    area = (np.diff(curve[:, 0]) * (curve[1:, 1] + curve[:-1, 1]) / 2).sum()
    assert area == pytest.approx(auroc(known, unseen), abs=0.01)


def test_other_seeds_share_no_noise_with_known_ones():
    assert other_seeds([0, 1, 4, 2**32 + 2], 4) == (3, 5, 6, 7)
    assert len(set(itertools.chain(other_seeds(range(5), 9), range(5)))) == 14
