"""Temperature, error and conformal rank: known answers, and the guarantees that they are named after."""

from __future__ import annotations

import numpy as np
import pytest

from seedml.classifier.calibration import (
    KEPT,
    Calibration,
    best_temperature,
    calibrate,
    calibration_error,
    calibration_error_by_chance,
    known_score,
    softmax,
)


def drawn(n: int, k: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from the probabilities that they say."""
    random = np.random.default_rng(seed)
    logits = 2 * random.normal(size=(n, k))
    labels = (random.random(n)[:, None] > softmax(logits).cumsum(1)).sum(1)
    return logits, labels


@pytest.mark.parametrize("factor", [0.25, 1.0, 6.0])
def test_a_known_temperature_is_found(factor):
    logits, labels = drawn(20_000, 7)
    assert best_temperature(factor * logits, labels) == pytest.approx(factor, rel=0.03)


def test_it_is_the_minimum_of_the_smoothed_loss():
    logits, labels = drawn(60, 4, seed=1)
    found = best_temperature(logits, labels)
    target = np.full((60, 4), 1 / 62 / 3)
    target[np.arange(60), labels] = 1 - 1 / 62

    def loss(temperature):
        return -(target * np.log(softmax(logits / temperature))).sum(1).mean()

    assert all(loss(found) <= loss(found * factor) + 1e-12 for factor in (0.5, 0.99, 1.01, 2))


def test_right_answers_alone_give_the_confidence_of_the_rule_of_succession():
    labels = np.arange(50) % 5
    logits = 3.0 * np.eye(5)[labels]
    confidence = softmax(logits / best_temperature(logits, labels)).max(1)
    assert confidence == pytest.approx(1 - 1 / 52, abs=1e-4)


def test_a_temperature_changes_no_order():
    logits, labels = drawn(100, 6)
    made = calibrate(logits, labels, "x")
    assert np.array_equal(made.probabilities(logits).argsort(1), logits.argsort(1))
    assert made.probabilities(logits).sum(1) == pytest.approx(1)


def test_known_pictures_are_refused_as_often_as_was_said():
    random = np.random.default_rng(0)
    refused = []
    for _ in range(400):
        made = Calibration(1.0, np.sort(known_score(random.normal(size=(199, 3)))), 199, "x")
        refused.append((made.usualness(known_score(random.normal(size=(50, 3)))) <= 0.05).mean())
    assert np.mean(refused) == pytest.approx(0.05, abs=0.004)  # exactly 10 of 200 places, in expectation


def test_usualness_of_known_places():
    made = Calibration(1.0, np.array([1.0, 2.0, 3.0]), 3, "x")
    assert made.usualness(np.array([0.0, 1.0, 2.5, 9.0])).tolist() == [0.25, 0.5, 0.75, 1.0]


def test_error_of_known_bins():
    probability = np.repeat([0.2, 0.9], [80, 70])  # fifteen bins of ten, each of one probability
    right = np.concatenate([np.arange(80) % 5 == 0, np.arange(70) % 2 == 0])
    assert calibration_error(probability, right) == pytest.approx(7 / 15 * 0.4)


def test_right_probabilities_lie_within_the_error_that_chance_gives():
    logits, labels = drawn(3000, 5, seed=3)
    probability = softmax(logits).max(1)
    mean, high = calibration_error_by_chance(probability)
    assert 0 < mean < high
    assert calibration_error(probability, softmax(logits).argmax(1) == labels) < high
    sure = softmax(3 * logits).max(1)
    assert calibration_error(sure, softmax(logits).argmax(1) == labels) > calibration_error_by_chance(sure)[1]


def test_it_reads_back_what_it_wrote_and_stays_small(tmp_path):
    logits, labels = drawn(3 * KEPT, 3)
    made = calibrate(logits, labels, "abc")
    made.save(tmp_path / "calibration.json")
    back = Calibration.load(tmp_path / "calibration.json")
    assert (back.temperature, back.n, back.checkpoint) == (made.temperature, 3 * KEPT, "abc")
    assert len(back.scores) == KEPT
    assert back.scores == pytest.approx(made.scores, abs=1e-6)
    assert back.scores[[0, -1]] == pytest.approx([known_score(logits).min(), known_score(logits).max()], abs=1e-6)
