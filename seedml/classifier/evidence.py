"""Scores of test images -> accuracies with exact intervals. Pure functions over tables; knows no network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seedml.summary import figure

if TYPE_CHECKING:
    import pandas as pd


def exact_share(hits: int, n: int, confidence: float = 0.95) -> dict[str, object]:
    """A share with its exact interval (Clopper and Pearson, 1934).

    It takes the images as independent. Those of one seed are not quite, so the interval is somewhat too short for an
    accuracy strictly between 0 and 1.
    """
    from scipy.stats import binomtest

    assert 0 <= hits <= n > 0, f"{hits} of {n} is no share"
    interval = binomtest(hits, n).proportion_ci(confidence, method="exact")
    return figure(hits / n, float(interval.low), float(interval.high), n)


def accuracy(scores: pd.DataFrame, confidence: float = 0.95, top: int = 1) -> dict[str, object]:
    """The share of images whose own label is among the ``top`` first named.

    Args:
        scores: one row an image; column ``place`` is the label's place among all classes, 0 = first.
        confidence: of the interval.
        top: how many names count.

    """
    return exact_share(int((scores["place"] < top).sum()), len(scores), confidence)


def per_seed_accuracy(scores: pd.DataFrame) -> dict[str, float]:
    """For each label (a seed), the share of its images that were named right."""
    right = (scores["place"] < 1).groupby(scores["label"]).mean()
    return {str(seed): float(share) for seed, share in right.items()}


def confusions(scores: pd.DataFrame, most: int = 20) -> list[dict[str, Any]]:
    """The commonest mistakes: which seed was taken for which, how often; at most ``most``."""
    wrong = scores[scores["predicted"] != scores["label"]]
    counts = wrong.groupby(["label", "predicted"]).size().sort_values(ascending=False, kind="stable")
    return [
        {"seed": int(seed), "taken_for": int(other), "count": int(count)}
        for seed, other, count in counts.head(most).reset_index(name="count").itertuples(index=False, name=None)
    ]
