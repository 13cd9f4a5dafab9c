"""Figures with intervals for chosen seeds against seeds at random, on the same prompts.

Two things are drawn at random: the prompts, and the seeds that stand for any seed. An interval has to hold for other
prompts and for other random seeds alike, so both are resampled. Chosen seeds are not: they are what is looked at.
Does not know what the numbers measure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import stats

from seedml.per_seed.balance import Floats, Ints, prompt_blocks
from seedml.per_seed.folds import Folds
from seedml.per_seed.intervals import Interval, Jackknife, block_jackknife, wilson_limits
from seedml.summary import figure

UNITS = 32
"""Most groups of random seeds that are left out in turn."""


class TwoWay(NamedTuple):
    """An estimate with the errors that prompts and random seeds bring.

    Attributes:
        value: the estimate.
        by_prompts: standard error from the drawing of prompts; NaN where there were too few to tell.
        by_seeds: the same from the drawing of random seeds; 0 where none were drawn.
        freedom: degrees of freedom of both together (Welch & Satterthwaite).

    """

    value: float
    by_prompts: float
    by_seeds: float
    freedom: float

    @property
    def error(self) -> float:
        """Of both. What prompts and seeds do together is in both parts and so counted twice: a little too large.

        (Owen 2007, "The pigeonhole bootstrap", Ann. Appl. Stat. 1, 386: the sum of the two is conservative.)
        """
        return float(np.hypot(self.by_prompts, self.by_seeds))

    def interval(self, confidence: float) -> Interval:
        """Value with Student's limits."""
        reach = stats.t.ppf(0.5 + confidence / 2, self.freedom) * self.error
        return Interval(np.asarray(self.value), np.asarray(self.value - reach), np.asarray(self.value + reach))


def two_way(by_prompts: Jackknife, by_seeds: Jackknife | None = None) -> TwoWay:
    """From a jackknife over blocks of prompts and one over random seeds of the same scalar estimate."""
    parts = [(float(part.error), part.freedom) for part in (by_prompts, by_seeds) if part is not None]
    variances = np.array([error**2 for error, _ in parts])
    total = variances.sum()
    freedom = total**2 / sum(v**2 / f for v, (_, f) in zip(variances, parts, strict=True)) if total > 0 else 1.0
    by = float(by_seeds.error) if by_seeds is not None else 0.0
    return TwoWay(float(by_prompts.value), float(by_prompts.error), by, float(freedom))


def of_tables(statistic: Callable[[Ints, Ints], float], prompts: int, blocks: int, units: int) -> TwoWay:
    """Any function of kept prompts and kept random seeds.

    Args:
        statistic: positions of prompts, positions of random seeds -> a number.
        prompts: how many there are.
        blocks: of prompts, left out in turn.
        units: random seeds there are; 0 or 1 = none are drawn.

    """
    everything, seeds = np.arange(prompts), np.arange(units)
    of_prompts = _jackknife(lambda kept: statistic(kept, seeds), everything, prompt_blocks(prompts, blocks))
    if units < 2:
        return two_way(of_prompts)
    return two_way(of_prompts, _jackknife(lambda kept: statistic(everything, kept), seeds, prompt_blocks(units, UNITS)))


def _jackknife(statistic: Callable[[Ints], float], positions: Ints, blocks: Ints) -> Jackknife:
    names, sizes = np.unique(blocks, return_counts=True)
    value = np.asarray(statistic(positions), np.float64)
    if len(names) < 2:
        return Jackknife(value, value, np.full_like(value, np.nan), 1)
    deleted = [statistic(positions[blocks != name]) for name in names]
    return block_jackknife(value, np.array(deleted, np.float64), sizes)


def of_folds(statistic: Callable[[Floats, Ints], float], folds: Folds, units: int) -> TwoWay:
    """A function of Fréchet distances of some sets of images, some of which are of random seeds.

    Args:
        statistic: distances of all sets, positions of the random sets to use (0 … units − 1) -> a number.
        folds: distances, whole and with blocks of prompts left out.
        units: random sets there are, which share no seed.

    """
    sets = np.arange(units)
    by_prompts = folds.jackknife(lambda distances: statistic(distances, sets))
    if units < 2:
        return two_way(by_prompts)
    return two_way(by_prompts, _jackknife(lambda kept: statistic(folds.full, kept), sets, prompt_blocks(units, UNITS)))


def bounded(interval: Interval, n: int) -> dict[str, object]:
    """A figure of the results: limits that are not known are left out; ``n`` are prompts unless said otherwise."""
    value, low, high = (float(bound) for bound in interval)
    known = np.isfinite(low) and np.isfinite(high)
    return figure(value, low if known else None, high if known else None, n)


def share_limits(estimate: TwoWay, images: int, confidence: float) -> Interval:
    """Limits of a share within 0 … 1.

    Wilson's, which also hold where no image (or every one) shows it, but count images as independent. Student's on
    the logit scale where they are wider: images of one prompt are alike, and so are those of one seed; a few prompts,
    or a few of the seeds that were drawn at random, may show all of it.
    """
    value = np.array([estimate.value])
    wilson = wilson_limits(value, np.array([images]), confidence)
    low, high = float(wilson.low[0]), float(wilson.high[0])
    if 0 < estimate.value < 1 and np.isfinite(estimate.error):
        spread = estimate.value * (1 - estimate.value)
        reach = stats.t.ppf(0.5 + confidence / 2, estimate.freedom) * estimate.error / spread
        logit = np.log(estimate.value) - np.log1p(-estimate.value)
        low, high = (
            min(low, float(1 / (1 + np.exp(reach - logit)))),
            max(high, float(1 / (1 + np.exp(-reach - logit)))),
        )
    return Interval(np.asarray(estimate.value), np.asarray(low), np.asarray(high))


def removed_share(left: Interval, before: Interval) -> Interval:
    """How much of a rate is gone, ``1 − left / before``, from the limits of both rates.

    Limits of the ratio by the method of variance estimates recovery (Donner & Zou 2012, Stat. Methods Med. Res. 21,
    347, eq. 9), which needs no error of its own: so it also holds where nothing is left. The rates count as
    independent; on the same prompts they rise together, if at all, and the limits are too wide. NaN where nothing was
    there before; no lower limit where it may have been nothing.
    """
    (a, a_low, a_high), (b, b_low, b_high) = (tuple(float(x) for x in side) for side in (left, before))
    if b <= 0:
        return Interval(*(np.asarray(np.nan) for _ in range(3)))
    product = a * b
    few, many = a_low * (2 * a - a_low), a_high * (2 * a - a_high)
    above, below = b_high * (2 * b - b_high), b_low * (2 * b - b_low)
    root = np.sqrt(max(0.0, product**2 - few * above))
    low = few / (product + root) if product + root > 0 else 0.0
    high = (product + np.sqrt(max(0.0, product**2 - many * below))) / below if below > 0 else np.inf
    return Interval(np.asarray(1 - a / b), np.asarray(1 - high), np.asarray(1 - low))
