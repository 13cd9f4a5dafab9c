"""Intervals from resampling prompts.

Prompts are what a study samples; seeds are what it compares. Every seed sees the same prompts, so prompts are resampled
jointly for all seeds, and differences between seeds are paired. Does not know what the numbers measure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from seedml.per_seed.additive import Additive, adjusted_means
from seedml.per_seed.balance import Floats, Ints


class Interval(NamedTuple):
    """Estimates with confidence limits; arrays of one shape."""

    value: Floats
    low: Floats
    high: Floats


class Jackknife(NamedTuple):
    """What the delete-a-block jackknife says of estimates of shape ``…``.

    Attributes:
        value: the estimate from all blocks, as given: with its bias.
        corrected: the estimate with its bias of order 1/n removed.
        error: standard error of ``value``.
        freedom: degrees of freedom of ``error``: blocks − 1.

    """

    value: Floats
    corrected: Floats
    error: Floats
    freedom: int

    def interval(self, confidence: float = 0.95) -> Interval:
        """Student-t limits around ``value``: they cover the expectation of ``value`` *at this n*, bias included."""
        reach = stats.t.ppf(0.5 + confidence / 2, self.freedom) * self.error
        return Interval(self.value, self.value - reach, self.value + reach)

    def p_value(self) -> Floats:
        """Two-sided Student-t test that the expectation is 0; 1 where value and error are both 0, NaN without error."""
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.abs(self.value) / self.error
        t = np.where((self.value == 0) & (self.error == 0), 0.0, t)
        return np.asarray(2 * stats.t.sf(t, self.freedom))


def block_jackknife(value: ArrayLike, deleted: ArrayLike, sizes: Ints) -> Jackknife:
    """Delete-a-block jackknife with blocks of any sizes (Busing, Meijer & van der Leeden 1999, Stat. Comput. 9).

        h_j = n / m_j,   pseudo-value  θ̃_j = h_j θ − (h_j − 1) θ_(−j)
        θ_J = B θ − Σ (1 − m_j/n) θ_(−j),   var = 1/B Σ (θ̃_j − θ_J)² / (h_j − 1)

    Args:
        value: ``…``, the estimate θ from everything.
        deleted: ``B × …``, the estimate without block j.
        sizes: ``B``, prompts in block j.

    """
    theta, without = np.asarray(value, np.float64), np.asarray(deleted, np.float64)
    blocks = len(without)
    if blocks < 2:
        raise ValueError(f"a jackknife needs two blocks or more, given: {blocks}")
    share = (np.asarray(sizes, np.float64) / np.sum(sizes)).reshape(-1, *[1] * theta.ndim)
    corrected = blocks * theta - ((1 - share) * without).sum(0)
    pseudo = theta / share - (1 / share - 1) * without
    variance = ((pseudo - corrected) ** 2 / (1 / share - 1)).mean(0)
    return Jackknife(theta, corrected, np.sqrt(variance), blocks - 1)


def sharpened(jackknife: Jackknife, second: Floats, n: int) -> Jackknife:
    """A jackknife of single prompts whose variance is freed of what it counts double (Efron & Stein 1981, section 5).

    A distance is a mean of the images' own effects plus a mean over *pairs* of images. The jackknife finds the variance
    of the first, and twice that of the second: ``n²/2 · var(second differences)``, which is taken off once. The result
    is at least half the given variance, which is all that can be due to pairs.

    In simulated studies (prompts shared by 6 seeds, 40 to 60 repetitions, so ± 0.1) the root mean square of errors over
    the true standard deviation of deviations from the mean seed, and the coverage of 95 % limits, were

        n × d            plain          sharpened
        256 × 16         1.05, 96 %     0.98, 94 %
        256 × 16, null   1.47, 100 %    1.10, 96 %       null: every seed is the reference
        200 × 64, null   1.43, 99 %     1.02, 96 %
        200 × 64         1.26, 98 %     1.03, 95 %
        100 × 64         1.44, 100 %    1.02, 95 %
        50 × 64          1.15, 98 %     0.81, 87 %       n < d: too narrow, do not use

    The infinitesimal jackknife and delete-a-block jackknife (16 blocks) were as wide as the plain one, within 0.1; but
    for n < d influences made it another 0.2 wider: there use deletions. The jackknife's correction of the *bias* left
    −0.2 to −0.3 of a bias of 3.3 to 5.8 at 200 × 64, −1.6 of 12 at 100 × 64, and overshot by 7 of 29 at 50 × 64.

    Not what the study's own intervals use: in simulated studies as real ones are (correlated, skewed features, topics;
    ``benchmarks/calibration.py``'s worlds; 16 seeds, 16 blocks), where seeds are never just the reference, the plain
    jackknife covered 95 to 97 % of deviations and 3 % (96 × 64) and none (200 × 40) of 40 and 60 studies without an
    effect had a verdict; sharpened it covered 93 to 94 %, and 13 and 5 % had one.

    Args:
        jackknife: of ``…``, from folds of single prompts.
        second: ``… × K``, the same linear function of the seeds' second differences
            (:func:`~seedml.per_seed.influence.deletions_of_pairs`).
        n: prompts.

    """
    variance = np.asarray(jackknife.error) ** 2
    double = n**2 / 2 * second.var(axis=-1)
    return jackknife._replace(error=np.sqrt(np.maximum(variance - double, variance / 2)))


def jackknife_of(statistic: Callable[[Ints], ArrayLike], blocks: Ints) -> Jackknife:
    """The jackknife of a function of the kept prompts.

    Args:
        statistic: positions of prompts, int64 -> estimate of shape ``…``.
        blocks: the block of each prompt (:func:`~seedml.per_seed.balance.prompt_blocks`).

    """
    names, sizes = np.unique(blocks, return_counts=True)
    everything = np.arange(len(blocks))
    deleted = np.stack([np.asarray(statistic(everything[blocks != name])) for name in names])
    return block_jackknife(statistic(everything), deleted, sizes)


def resampling_weights(n: int, count: int, generator: np.random.Generator) -> Floats:
    """Bootstrap weights ``count × n``: how often each prompt is drawn, over n; rows sum to 1."""
    return generator.multinomial(n, np.full(n, 1 / n), size=count) / n


def bootstrap_means(table: Floats, weights: Floats, confidence: float = 0.95, fit: Additive | None = None) -> Interval:
    """Means over prompts of ``S × P`` with bootstrap limits: ``S``.

    Percentile limits at levels that make them Student-like in small samples ("expanded percentile", Hesterberg 2015,
    The American Statistician 69): plain ones are too narrow by √((n−1)/n) and by a normal quantile.

    Args:
        table: NaN only with a ``fit``.
        weights: ``B × P`` of :func:`resampling_weights`: the same for all seeds, so that seeds stay paired.
        confidence: of the limits.
        fit: of the table; with it, means are those of
            :func:`~seedml.per_seed.additive.adjusted_means`, so that seeds may lack different prompts. A drawn prompt
            brings its effect and what each seed that has it adds to that; the effects count as known.

    """
    known = ~np.isnan(table)
    assert fit is not None or known.all(), "missing cells need the fit of the table"
    means = table.mean(axis=1) if fit is None else adjusted_means(table, fit)
    effects = np.zeros(table.shape[1]) if fit is None else fit.prompts
    with np.errstate(divide="ignore", invalid="ignore"):  # a seed of few cells may be drawn without any
        drawn = (weights @ np.where(known, table - effects, 0.0).T) / (weights @ known.T.astype(np.float64))
    resampled = drawn + (weights @ effects)[:, None]
    low, high = np.full_like(means, np.nan), np.full_like(means, np.nan)
    counts = known.sum(axis=1)
    for n in np.unique(counts[counts > 1]):
        tail = stats.norm.cdf(np.sqrt(n / (n - 1)) * stats.t.ppf(0.5 - confidence / 2, n - 1))
        low[counts == n], high[counts == n] = np.quantile(resampled[:, counts == n], [tail, 1 - tail], axis=0)
    return Interval(means, low, high)


def wilson_shares(table: Floats, confidence: float = 0.95) -> Interval:
    """Shares of 0/1 values ``S × P`` over prompts with Wilson score limits: ``S``."""
    return wilson_limits(table.mean(axis=1), np.full(len(table), table.shape[1]), confidence)


def wilson_limits(share: Floats, n: Ints, confidence: float = 0.95) -> Interval:
    """Shares ``S`` of ``n`` ``S`` images with Wilson score limits; NaN where n is 0.

    Where the bootstrap fails: a seed without a single grayscale image still has an upper limit above 0
    (Wilson 1927, J. Am. Stat. Assoc. 22, 209). Prompts may differ as much as they like: a prompt taken at random
    shows the attribute with the mean chance, and images of different prompts are independent. For the prompts at hand,
    taken as fixed, limits are too wide.
    """
    z2 = float(stats.norm.ppf(0.5 + confidence / 2)) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = (share + z2 / (2 * n)) / (1 + z2 / n)
        reach = np.sqrt(z2) / (1 + z2 / n) * np.sqrt(share * (1 - share) / n + z2 / (4 * n**2))
    # the limits touch the share at 0 and 1 exactly; rounding must not put them inside
    low, high = np.minimum(centre - reach, share), np.maximum(centre + reach, share)
    return Interval(share, np.clip(low, 0, 1), np.clip(high, 0, 1))
