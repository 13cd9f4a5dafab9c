"""Scores of test images -> which seeds are recognised, and which are taken for which. Pure functions over tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def confusion_counts(scores: pd.DataFrame) -> pd.DataFrame:
    """The confusion matrix without its zeros: ``label`` and ``predicted`` (seeds), ``count``, ascending.

    Args:
        scores: one row an image; columns ``label`` and ``predicted``.

    """
    counts = scores.groupby(["label", "predicted"]).size()
    return counts.rename("count").reset_index()


def per_seed_table(scores: pd.DataFrame, confidence: float, top: int) -> pd.DataFrame:
    """One row a seed, ascending, with exact limits (Clopper and Pearson, 1934).

    Args:
        scores: one row an image; columns ``label``, ``predicted``, ``place`` (0 = named first) and ``probability``.
        confidence: of the interval.
        top: beside the first, so many names count.

    Returns:
        ``seed``, ``n``, ``accuracy``, ``accuracy_low``, ``accuracy_high``, ``top<k>_accuracy``, ``probability`` (mean,
        of the true seed) and ``taken_for``: the seed it is most often mistaken for, empty where it never is.

    """
    import numpy as np
    from scipy.stats import beta

    groups = scores.assign(right=scores["place"] < 1, near=scores["place"] < top).groupby("label")
    table = groups.agg(n=("right", "size"), hits=("right", "sum"), near=("near", "mean"), sure=("probability", "mean"))
    n, hits = table["n"].to_numpy(), table["hits"].to_numpy()
    tail = (1 - confidence) / 2
    # the ends of the beta distribution have no quantile of their own: no hit bounds nothing from below
    table["accuracy_low"] = np.where(hits > 0, beta.ppf(tail, np.maximum(hits, 1), n - hits + 1), 0.0)
    table["accuracy_high"] = np.where(hits < n, beta.ppf(1 - tail, hits + 1, np.maximum(n - hits, 1)), 1.0)
    table["accuracy"] = hits / n
    table["taken_for"] = _commonest_mistake(scores).reindex(table.index).astype("Int64")
    table = table.rename(columns={"near": f"top{top}_accuracy", "sure": "probability"}).rename_axis("seed")
    columns = ["n", "accuracy", "accuracy_low", "accuracy_high", f"top{top}_accuracy", "probability", "taken_for"]
    return table[columns].reset_index()


def _commonest_mistake(scores: pd.DataFrame) -> pd.Series:
    """Label -> the seed it is most often taken for; of equals the smallest."""
    wrong = confusion_counts(scores[scores["predicted"] != scores["label"]])
    return wrong.sort_values(["count", "predicted"], ascending=[False, True]).groupby("label")["predicted"].first()
