"""Would other prompts rank the seeds alike?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from seedml.per_seed.balance import Floats, Ints


class SplitHalf(NamedTuple):
    """Agreement of two halves of the prompts about the seeds' order.

    Attributes:
        correlation: mean rank correlation between the halves: what a study *half* this size would repeat.
        low, high: limits from a jackknife over seeds on Fisher's scale.
        reliability: Spearman-Brown, 2r / (1 + r): what a study of this size would repeat.

    """

    correlation: float
    low: float
    high: float
    reliability: float


def random_halves(blocks: int, count: int, generator: np.random.Generator) -> Ints:
    """``count`` splits of blocks in two halves: ``count × blocks`` int64 of 0 and 1, equally often (± 1)."""
    halves = np.arange(blocks) % 2
    return generator.permuted(np.repeat(halves[None], count, axis=0), axis=1)


def rank_correlations(first: Floats, second: Floats) -> Floats:
    """Spearman's correlation of rows: ``K × S``, ``K × S`` -> ``K``; NaN where a row is constant."""
    ranks = [stats.rankdata(values, axis=1) for values in (first, second)]
    a, b = (r - r.mean(axis=1, keepdims=True) for r in ranks)
    with np.errstate(invalid="ignore"):
        return np.asarray((a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1)))


def split_half(first: Floats, second: Floats, confidence: float = 0.95) -> SplitHalf:
    """Split-half reliability of seed statistics from the two halves of ``K`` splits: ``K × S`` each, S ≥ 4.

    Source: Spearman 1910, Brown 1910; the limits are ours: delete-one-seed jackknife of the mean over splits.
    """
    n = first.shape[1]
    if n < 4:
        r = float(np.mean(rank_correlations(first, second))) if n > 1 else np.nan
        return SplitHalf(r, np.nan, np.nan, spearman_brown(r))
    r = float(np.mean(rank_correlations(first, second)))
    without = np.array([
        np.mean(rank_correlations(np.delete(first, s, axis=1), np.delete(second, s, axis=1))) for s in range(n)
    ])  # fmt: skip
    z, z_without = _fisher(np.array(r)), _fisher(without)
    error = np.sqrt((n - 1) / n * ((z_without - z_without.mean()) ** 2).sum())
    reach = stats.t.ppf(0.5 + confidence / 2, n - 1) * error
    return SplitHalf(r, float(np.tanh(z - reach)), float(np.tanh(z + reach)), spearman_brown(r))


def _fisher(r: Floats) -> Floats:
    return np.asarray(np.arctanh(np.clip(r, -1 + 1e-9, 1 - 1e-9)))


def spearman_brown(r: float) -> float:
    """Reliability of the whole from the correlation of its halves; not above 1, NaN for r ≤ −1."""
    return 2 * r / (1 + r) if r > -1 else np.nan
