"""Does the choice hold on prompts that had no part in it, and what would chance alone have given?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from seedml.per_seed.balance import Floats, Ints
from seedml.per_seed.folds import Folds, deviations
from seedml.per_seed.intervals import Interval, Jackknife

_RANDOM_SETS = 2000


def gain(folds: Folds, chosen: Ints) -> Jackknife:
    """How much smaller the mean distance of the ``chosen`` positions is than that of all seeds: above 0 is better.

    On prompts that had no part in choosing this is free of the winner's curse. Prompts are paired: the error is that of
    the difference. All seeds, the chosen among them, stand for "a seed taken at random".
    """
    return folds.jackknife(lambda distances: distances.mean() - distances[chosen].mean())


def loss(folds: Folds, chosen: Ints) -> Jackknife:
    """How much larger the mean distance of the ``chosen`` positions is than that of all seeds."""
    return folds.jackknife(lambda distances: distances[chosen].mean() - distances.mean())


class Shrunken(NamedTuple):
    """What is left of each seed's deviation from the mean seed when its luck is taken out.

    Attributes:
        raw: ``S``, the deviation as measured; below 0 is better.
        error: its standard error, one for all seeds.
        share: of every deviation that is luck, 0 (none) to 1 (all).

    """

    raw: Floats
    error: float
    share: float

    def interval(self, confidence: float = 0.95) -> Interval:
        """True deviations ``S`` with limits of each seed (Morris 1983, eq. 1.17).

        On average over seeds 95 % limits cover 92 to 95 % of the truths: least where nearly all of the spread is luck.
        """
        s = len(self.raw)
        variance = self.error**2 * (1 - (s - 1) / s * self.share) + _doubt(s) * (self.share * self.raw) ** 2
        return _normal_limits((1 - self.share) * self.raw, variance, confidence)

    def gain(self, chosen: Ints, confidence: float = 0.95) -> Interval:
        """The gain of the ``chosen`` positions over the mean seed: above 0 is better; three 0-d arrays.

        Free of the winner's curse without any held-out prompt, as long as true deviations are about normal.
        """
        s, raw = len(self.raw), self.raw[chosen].mean()
        own = self.error**2 * (1 - (s - 1) / s * self.share) / len(chosen)
        # doubt about the share of luck is one for all seeds: it does not average out
        variance = own + _doubt(s) * (self.share * raw) ** 2
        return _normal_limits(-(1 - self.share) * raw, variance, confidence)


def _doubt(seeds: int) -> float:
    """Relative variance of the share of luck, estimated from that many seeds."""
    return 2 / (seeds - 3) if seeds > 3 else np.nan


def _normal_limits(value: Floats | float, variance: Floats | float, confidence: float) -> Interval:
    reach = stats.norm.ppf(0.5 + confidence / 2) * np.sqrt(variance)
    return Interval(np.asarray(value), np.asarray(value - reach), np.asarray(value + reach))


def shrunken_deviations(folds: Folds) -> Shrunken:
    """Each seed's true deviation from the mean seed, from the prompts it was chosen on alone: empirical Bayes.

        θ_s ~ N(0, τ²),  d_s ~ N(θ_s, e²)   ⟹   E[θ_s | d_s] = (1 − B) d_s
        B = (S−3)/(S−1) · min(1, e² / (Σ d_s²/(S−1)))

    (James & Stein 1961; factor and limits of Morris 1983, J. Am. Stat. Assoc. 78, 47.) The best of many is shrunk like
    any other, and that is enough: given d_s it does not matter that s was picked by it. e² is the mean over seeds of
    the squared jackknife errors of the paired deviation; each seed's own would be noisier than it is different: in
    simulation it leaves the gain of the best too large.

    Bias: B is below 1, so where no seed differs from any other up to a fifth of the measured gain stays (24 seeds or
    more; near a half with 8). Seeds far from the reference have larger errors than e: inferior ones are shrunk too
    little, golden ones too much.

    Needs four seeds; NaN with fewer, or without folds.
    """
    found = folds.jackknife(deviations)
    s, raw = len(found.value), found.value
    error2, total = float((found.error**2).mean()), float((raw**2).sum() / max(s - 1, 1))
    if s < 4 or not np.isfinite(error2):
        return Shrunken(raw, np.nan, np.nan)
    luck = min(1.0, error2 / total) if total > 0 else 1.0
    return Shrunken(raw, error2**0.5, (s - 3) / (s - 1) * luck)


def chance_gain(distances: Floats, size: int, confidence: float, generator: np.random.Generator) -> Floats:
    """Mean and limits of the gain of ``size`` seeds drawn at random: 3 numbers. The mean is 0 but for the drawing."""
    draws = generator.permuted(np.tile(distances, (_RANDOM_SETS, 1)), axis=1)[:, :size]
    gains = distances.mean() - draws.mean(axis=1)
    low, high = np.quantile(gains, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return np.array([gains.mean(), low, high])


class Overlap(NamedTuple):
    """Two lists of seeds have members in common.

    Attributes:
        shared: how many.
        expected: how many two random lists of these lengths have.
        low, high: limits of that by chance.
        p: chance of as many or more.
        first, second: the lengths.

    """

    shared: int
    expected: float
    low: int
    high: int
    p: float
    first: int
    second: int


def overlap(first: Ints, second: Ints, seeds: int, confidence: float = 0.95) -> Overlap:
    """Members that two lists share, against the hypergeometric null for lists from ``seeds`` seeds.

    "In the top 256 of 1,024 by FID and in the top 256 by preference" finds 64 ± 6 seeds without any seed effect.
    """
    null = stats.hypergeom(seeds, len(first), len(second))
    shared = len(np.intersect1d(first, second))
    low, high = null.interval(confidence)
    return Overlap(
        shared,
        len(first) * len(second) / seeds,
        int(low),
        int(high),
        float(null.sf(shared - 1)),
        len(first),
        len(second),
    )
