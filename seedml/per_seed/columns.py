"""All that is said of one attribute over all seeds: means or shares, tests, variance shares, what could be detected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from seedml.per_seed.additive import additive_fit, adjusted_means
from seedml.per_seed.balance import Floats
from seedml.per_seed.intervals import Interval, bootstrap_means, resampling_weights, wilson_limits
from seedml.per_seed.multiplicity import q_values
from seedml.per_seed.permutation import Deviations, shuffled_deviations
from seedml.per_seed.power import minimal_detectable_effect, minimal_detectable_share
from seedml.per_seed.variance import FoldedComponents, Shares, folded_components, shares_of

if TYPE_CHECKING:
    from seedml.config import StatisticsConfig


@dataclass(frozen=True)
class ColumnStatistics:
    """One attribute column over all seeds.

    Attributes:
        means: ``S`` with limits; of a 0/1 column the share. Over the same prompts for every seed: where a seed lacks
            some, its mean is that of the additive fit.
        q: ``S``, adjusted p-values of "this seed's mean is that of all seeds".
        shares: variance shares of seed, prompt and residual.
        spread_p: permutation p-value of the spread of means over seeds.
        n: prompts behind it: those at which two seeds or more have a value.
        detectable: smallest deviation of a single seed from the mean of all seeds that would have been found with 80 %
            power, for a seed with the median number of values; of a 0/1 column the smallest rise. NaN for one seed.
        components: variance components with their folds, for :func:`~seedml.per_seed.variance.seed_grip`.

    """

    means: Interval
    q: Floats
    shares: Shares
    spread_p: float
    n: int
    detectable: float
    components: FoldedComponents


def column_statistics(table: Floats, is_share: bool, statistics: StatisticsConfig) -> ColumnStatistics:
    """All statistics of one column ``S × P``, NaN where an image does not tell.

    Prompts at which fewer than two seeds have a value say nothing about seeds and are left out; all others count, with
    the values that are there. Assumes that values are missing at random given seed and prompt.
    """
    seeds = len(table)
    kept = table[:, (~np.isnan(table)).sum(axis=0) >= min(2, seeds)]
    components = folded_components(kept, statistics.blocks)
    shares = shares_of(components, statistics.confidence)
    if kept.shape[1] < 1:
        unknown = np.full(seeds, np.nan)
        return ColumnStatistics(Interval(unknown, unknown, unknown), unknown, shares, np.nan, 0, np.nan, components)
    generator = np.random.default_rng([statistics.seed, 3])
    deviations = shuffled_deviations(kept, statistics.permutations, generator)
    return ColumnStatistics(
        means=_means(kept, is_share, statistics),
        q=q_values(deviations.p_values()),
        shares=shares,
        spread_p=deviations.spread_p(),
        n=kept.shape[1],
        detectable=_detectable(kept, deviations, is_share, 1 - statistics.confidence),
        components=components,
    )


def _means(table: Floats, is_share: bool, statistics: StatisticsConfig) -> Interval:
    """Means with bootstrap limits, or shares with Wilson's."""
    fit = additive_fit(table)
    if is_share:
        counts = (~np.isnan(table)).sum(axis=1)
        return wilson_limits(np.clip(adjusted_means(table, fit), 0, 1), counts, statistics.confidence)
    weights = resampling_weights(table.shape[1], statistics.bootstrap, np.random.default_rng([statistics.seed, 2]))
    return bootstrap_means(table, weights, statistics.confidence, fit)


def _detectable(table: Floats, deviations: Deviations, is_share: bool, level: float) -> float:
    seeds = len(table)
    if seeds < 2:
        return np.nan
    if not is_share:
        return float(minimal_detectable_effect(np.median(deviations.error), np.inf, seeds, level))
    chances = np.sort(np.nanmean(table, axis=0))
    count = int(np.median((~np.isnan(table)).sum(axis=1)))
    alike = chances[np.linspace(0, len(chances) - 1, max(count, 1)).round().astype(np.int64)]
    return minimal_detectable_share(alike, seeds, level)
