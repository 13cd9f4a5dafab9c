"""All that is said of one attribute over all seeds: means or shares, tests, variance shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from seedml.per_seed.balance import Floats, complete_prompts
from seedml.per_seed.intervals import Interval, bootstrap_means, resampling_weights, wilson_shares
from seedml.per_seed.multiplicity import q_values
from seedml.per_seed.permutation import deviation_p, label_permutations, mean_null, permutation_p, spread
from seedml.per_seed.variance import Shares, variance_shares

if TYPE_CHECKING:
    from seedml.config import StatisticsConfig


@dataclass(frozen=True)
class ColumnStatistics:
    """One attribute column over all seeds.

    Attributes:
        means: ``S`` with limits; of a 0/1 column the share.
        q: ``S``, adjusted p-values of "this seed's mean is that of all seeds".
        shares: variance shares of seed, prompt and residual.
        spread_p: permutation p-value of the spread of means over seeds.
        n: prompts behind it.

    """

    means: Interval
    q: Floats
    shares: Shares
    spread_p: float
    n: int


def column_statistics(table: Floats, is_share: bool, statistics: StatisticsConfig) -> ColumnStatistics:
    """All statistics of one column, from the prompts at which every seed has a value: ``S × P``, NaN allowed."""
    complete = complete_prompts(table)
    seeds, prompts = complete.shape
    if prompts < 1:
        unknown = np.full(seeds, np.nan)
        return ColumnStatistics(Interval(unknown, unknown, unknown), unknown, variance_shares(complete), np.nan, 0)
    if is_share:
        means = wilson_shares(complete, statistics.confidence)
    else:
        weights = resampling_weights(prompts, statistics.bootstrap, np.random.default_rng([statistics.seed, 2]))
        means = bootstrap_means(complete, weights, statistics.confidence)
    generator = np.random.default_rng([statistics.seed, 3])
    shuffles = label_permutations(seeds, prompts, statistics.permutations, generator)
    null = mean_null(complete[:, :, None], shuffles)
    p = permutation_p(spread(means.value[:, None]), spread(null))
    q = q_values(deviation_p(means.value, null[:, :, 0]))
    shares = variance_shares(complete, statistics.blocks, statistics.confidence)
    return ColumnStatistics(means, q, shares, float(p[0]), prompts)
