"""By how much does a number move between two studies? A mean difference, with limits for other seeds *and* prompts.

Knows tables of numbers, not what they measure.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from seedml.per_seed.balance import Floats


class Shift(NamedTuple):
    """A mean difference, second minus first.

    Attributes:
        value: the difference; limits ``low`` and ``high``, NaN where fewer than two seeds or prompts are known.
        p: two-sided p-value of "the means are the same".
        cells: values behind it, of the study that has fewer.

    """

    value: float
    low: float
    high: float
    p: float
    cells: int


class _Mean(NamedTuple):
    """A mean over a table and its variance from each side: other rows, other columns, other cells."""

    value: float
    of_seeds: float
    of_prompts: float
    of_cells: float
    freedom: int


def paired_shift(first: Floats, second: Floats, confidence: float = 0.95) -> Shift:
    """Of two tables ``S × P`` of the same seeds and prompts, NaN where an image does not tell in that study.

    Only cells known in both count, so whatever seed and prompt do in both studies alike cancels.
    """
    mean = _clustered(second - first)
    both = mean.of_seeds + mean.of_prompts - mean.of_cells
    # the sum counts the cells' own noise twice; without it the estimate may fall below either part by chance
    return _shift(mean.value, max(both, mean.of_seeds, mean.of_prompts), mean.freedom, first, second, confidence)


def unpaired_shift(first: Floats, second: Floats, confidence: float = 0.95) -> Shift:
    """Of two tables ``S × P`` and ``S × P'`` of the same seeds, each on prompts of its own.

    Seeds are paired: their part of the variance is that of the seeds' own differences.
    """
    own, other = _clustered(first), _clustered(second)
    by_seed = _row_means(second) - _row_means(first)
    by_seed = by_seed[np.isfinite(by_seed)]
    of_seeds = float(by_seed.var(ddof=1) / len(by_seed)) if len(by_seed) > 1 else np.nan
    # prompts' variance holds their cells' noise; so do the seeds' differences, where it is counted a second time
    of_prompts = own.of_prompts + other.of_prompts
    variance = max(of_seeds + of_prompts - own.of_cells - other.of_cells, of_seeds, of_prompts)
    freedom = min(own.freedom, other.freedom)
    return _shift(other.value - own.value, variance, freedom, first, second, confidence)


def _shift(value: float, variance: float, freedom: int, first: Floats, second: Floats, confidence: float) -> Shift:
    cells = min(int((~np.isnan(table)).sum()) for table in (first, second))
    if freedom < 1 or not np.isfinite(variance):
        return Shift(value, np.nan, np.nan, np.nan, cells)
    error = float(variance) ** 0.5
    reach = float(stats.t.ppf(0.5 + confidence / 2, freedom)) * error
    p = 2 * float(stats.t.sf(abs(value) / error, freedom)) if error > 0 else float(value == 0)
    return Shift(value, value - reach, value + reach, p, cells)


def _clustered(table: Floats) -> _Mean:
    """The mean over the known cells of ``S × P``, and its variance by Cameron, Gelbach & Miller 2011 (J. Bus. Econ.
    Stat. 29): sums of residuals squared, over seeds, over prompts, and over cells.

        V_seeds = S/(S − 1) Σ_s (Σ_p e_sp)² / N²,   V_prompts alike,   V_cells = Σ e_sp² / N²
    """
    known = ~np.isnan(table)
    n = int(known.sum())
    seeds, prompts = int(known.any(axis=1).sum()), int(known.any(axis=0).sum())
    if min(seeds, prompts) < 2:
        return _Mean(float(np.nanmean(table)) if n else np.nan, np.nan, np.nan, np.nan, 0)
    value = float(np.nanmean(table))
    rest = np.where(known, table - value, 0.0)
    of_seeds = seeds / (seeds - 1) * float((rest.sum(axis=1) ** 2).sum()) / n**2
    of_prompts = prompts / (prompts - 1) * float((rest.sum(axis=0) ** 2).sum()) / n**2
    return _Mean(value, of_seeds, of_prompts, float((rest**2).sum()) / n**2, min(seeds, prompts) - 1)


def _row_means(table: Floats) -> Floats:
    known = ~np.isnan(table)
    counts = known.sum(axis=1)
    sums = np.where(known, table, 0.0).sum(axis=1)
    return np.asarray(np.divide(sums, counts, out=np.full(len(table), np.nan), where=counts > 0))
