"""Confusion and per-seed accuracy against scikit-learn and scipy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix

from seedml.classifier.confusion import confusion_counts, per_seed_table

SEEDS = np.asarray([3, 7, 2**40, 2**40 + 1])


@pytest.fixture
def scores():
    random = np.random.default_rng(0)
    label = np.repeat(SEEDS, 30)
    predicted = np.where((random.random(120) < 0.8) | (label == 7), label, random.choice(SEEDS, 120))
    predicted[:30] = SEEDS[1]  # seed 3 is never recognised
    place = np.where(predicted == label, 0, random.integers(1, 4, 120))
    frame = pd.DataFrame({"label": label, "predicted": predicted, "place": place, "probability": random.random(120)})
    return frame.sample(frac=1, random_state=1)


def test_counts_are_the_confusion_matrix(scores):
    counts = confusion_counts(scores)
    matrix = np.zeros((4, 4), int)
    matrix[np.searchsorted(SEEDS, counts["label"]), np.searchsorted(SEEDS, counts["predicted"])] = counts["count"]
    assert (matrix == confusion_matrix(scores["label"], scores["predicted"], labels=SEEDS)).all()
    assert (counts["count"] > 0).all()
    assert counts["count"].sum() == 120


def test_every_seed_has_its_accuracy_and_exact_limits(scores):
    table = per_seed_table(scores, 0.9, 3)
    assert table["seed"].tolist() == SEEDS.tolist()
    for row in table.itertuples():
        own = scores[scores["label"] == row.seed]
        hits = int((own["predicted"] == row.seed).sum())
        limits = binomtest(hits, 30).proportion_ci(0.9, method="exact")
        assert (row.n, row.accuracy) == (30, hits / 30)
        assert (row.accuracy_low, row.accuracy_high) == pytest.approx((limits.low, limits.high))
        assert row.top3_accuracy == pytest.approx((own["place"] < 3).mean())
        assert row.probability == pytest.approx(own["probability"].mean())
    assert table["accuracy"].tolist()[:2] == [0.0, 1.0]
    assert table["taken_for"].tolist()[0] == 7
    assert table["taken_for"].isna().tolist()[1]
