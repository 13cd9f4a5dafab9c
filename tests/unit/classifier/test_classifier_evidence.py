"""Known answers for intervals, scores and confusions; checkpoints that load safely."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import beta

from seedml.classifier.data import Batch
from seedml.classifier.evidence import accuracy, confusions, exact_share, per_seed_accuracy
from seedml.classifier.module import ImageScores, SeedClassifier, build_network
from seedml.errors import UserError
from seedml.lightning import precision_of


@pytest.mark.parametrize(("hits", "n"), [(0, 40), (40, 40), (1, 64), (2046, 2048), (7, 10)])
@pytest.mark.parametrize("confidence", [0.95, 0.99])
def test_interval_is_clopper_and_pearsons(hits, n, confidence):
    share = exact_share(hits, n, confidence)
    tail = (1 - confidence) / 2
    low = 0.0 if hits == 0 else beta.ppf(tail, hits, n - hits + 1)
    high = 1.0 if hits == n else beta.ppf(1 - tail, hits + 1, n - hits)
    assert share == {"value": hits / n, "n": n, "low": pytest.approx(low), "high": pytest.approx(high)}


def test_interval_of_no_hit_is_known_in_closed_form():
    assert exact_share(0, 100)["high"] == pytest.approx(1 - 0.025 ** (1 / 100))


def make_batch(labels: list[int], rows: list[int]) -> Batch:
    return Batch(torch.zeros(len(labels), 3, 1, 1, dtype=torch.uint8), torch.tensor(labels), torch.tensor(rows))


def test_scores_of_known_logits():
    scores = ImageScores(3)
    logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 5.0]])
    scores.update(logits[:2], make_batch([0, 2], [2, 0]))
    scores.update(logits[2:], make_batch([1], [1]))
    found = scores.compute()
    assert found.predicted.tolist() == [0, 2, 0]
    assert found.place.tolist() == [2, 2, 0]  # of image 1, a tie with the last counts against it
    expected = np.exp([0.0, 0.0, 2.0]) / [np.exp([0, 1, 2]).sum(), 2 + np.exp(5), np.exp([0, 1, 2]).sum()]
    assert found.probability == pytest.approx(expected)


def test_an_image_seen_twice_or_never_is_an_error():
    scores = ImageScores(2)
    scores.update(torch.zeros(1, 4), make_batch([0], [0]))
    with pytest.raises(AssertionError, match="exactly once"):
        scores.compute()
    twice = ImageScores(2)
    twice.update(torch.zeros(1, 4), make_batch([0], [0]))
    twice.update(torch.zeros(2, 4), make_batch([0, 0], [0, 1]))
    with pytest.raises(AssertionError, match="exactly once"):
        twice.compute()


def test_a_network_that_diverged_is_right_about_nothing():
    scores = ImageScores(2)
    scores.update(torch.full((2, 5), float("nan")), make_batch([0, 1], [0, 1]))
    assert scores.compute().place.tolist() == [4, 4]


def test_shares_by_seed_and_confusions():
    rows = [(9, 9), (9, 9), (9, 4), (4, 9), (4, 9), (4, 4), (7, 7)]
    scores = pd.DataFrame(rows, columns=["label", "predicted"])
    scores["place"] = (scores["label"] != scores["predicted"]) * 3
    assert per_seed_accuracy(scores) == {"4": pytest.approx(1 / 3), "7": 1.0, "9": pytest.approx(2 / 3)}
    assert confusions(scores) == [
        {"seed": 4, "taken_for": 9, "count": 2}, {"seed": 9, "taken_for": 4, "count": 1},
    ]  # fmt: skip
    assert accuracy(scores)["value"] == pytest.approx(4 / 7)
    assert accuracy(scores, top=4)["value"] == 1.0


def test_unknown_architecture_names_the_nearest():
    with pytest.raises(UserError, match=r"classifier\.architecture.*resnet81.*did you mean 'resnet"):
        build_network("resnet81", 4, 32)


@pytest.mark.parametrize("architecture", ["resnet18", "mobilenet_v3_small"])
def test_any_torchvision_network_by_name(architecture):
    module = SeedClassifier(architecture, [1, 2, 3]).eval()
    images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    assert module(images).shape == (2, 3)
    assert module(images).dtype == torch.float32


def test_explicit_precision_is_kept_and_auto_is_one_lightning_knows():
    assert precision_of("64-true") == "64-true"
    assert precision_of("auto", "cpu") in ("bf16-mixed", "32-true")
