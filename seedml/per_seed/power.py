"""The smallest difference a study could have detected (MDE), so that "inconclusive" says how much was looked for.

An effect of this size is found with the promised power; a smaller one may be missed. It is a property of the study
(its prompts, seeds and noise), not of the seed that came out best. Does not know what the numbers measure.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats

from seedml.errors import UserError
from seedml.per_seed.balance import Floats

POWER = 0.8
"""Chance of finding an effect of the size promised."""
_EVERYWHERE = 30.0
"""Log odds ratio that makes any chance that is not 0 a certainty."""


def threshold(tests: int, level: float, share: float = 0.0, power: float = POWER) -> float:
    """The p-value that Benjamini-Hochberg over ``tests`` will ask of a seed with a true effect.

        one seed differs (share = 0):  level / tests, Bonferroni's
        a share π of them differs:     t = level · π · power / (1 − level · (1 − π)), so that the expected rejections
                                       π · power + (1 − π) · t give back t (Genovese & Wasserman 2002, JRSS B 64)

    The larger of both. The first is the assumption of every number of ours that says nothing else: the rarest effect is
    the hardest to find, so it never promises too much.

    Raises:
        UserError: a level, share or power that is none.

    """
    _check(tests, level, share, power)
    return max(level / tests, level * share * power / (1 - level * (1 - share)))


def minimal_detectable_effect(
    error: ArrayLike, freedom: float, tests: int, level: float, power: float = POWER, share: float = 0.0
) -> Floats:
    """Smallest true deviation, up or down, that a two-sided Student test finds with chance ``power``: shape of error.

        MDE = δ · error,   P(|T_f(δ)| > t_f(1 − α/2)) = power,   α = threshold(tests, level, share, power)

    with Student's noncentral T of ``f`` degrees of freedom (Cohen 1988, ch. 2).

    Args:
        error: standard errors of the seeds' paired deviations from the mean seed. NaN stays NaN.
        freedom: their degrees of freedom; infinite where the error is known (permutation tests).
        tests: seeds tested together.
        level: accepted share of false finds, ``1 − statistics.confidence``.
        power: chance of finding it.
        share: share of the seeds that differ by as much; 0: this one only.

    Returns:
        In the unit of ``error``. A seed whose own error exceeds ``error`` needs more. The deviation is from the mean
        of *all* seeds: a seed that differs by Δ from all S − 1 others deviates by (1 − 1/S) Δ.

    """
    alpha = threshold(tests, level, share, power)
    return np.asarray(_noncentrality(freedom, alpha, power) * np.asarray(error, np.float64))


def _noncentrality(freedom: float, alpha: float, power: float) -> float:
    """δ at which a two-sided test at ``alpha`` has this power; NaN without degrees of freedom."""
    if not freedom >= 1:
        return np.nan
    if np.isinf(freedom):
        critical = stats.norm.isf(alpha / 2)

        def missing(delta: float) -> float:
            return float(stats.norm.sf(critical - delta) + stats.norm.cdf(-critical - delta) - power)
    else:
        critical = stats.t.isf(alpha / 2, freedom)

        def missing(delta: float) -> float:
            return float(stats.nct.sf(critical, freedom, delta) - power)  # the other tail is below alpha / 2

    if missing(0.0) >= 0:
        return 0.0  # a test this lax rejects that often by chance
    return float(optimize.brentq(missing, 0.0, 4 * critical + 20, xtol=1e-10))


def minimal_detectable_share(
    chances: Floats, tests: int, level: float, power: float = POWER, share: float = 0.0
) -> float:
    """Smallest rise of a seed's share of 0/1 images that is found with chance ``power``; NaN where none could be.

    The number of images that show it is a sum of unlike coins, one a prompt. A rise multiplies the odds of every prompt
    by one factor: what no seed shows at a prompt, this one does not either. Upwards, because that is where it can be
    found: rare attributes cannot fall far.

    Args:
        chances: ``P``, share of all seeds that show it at each prompt.
        tests: seeds tested together.
        level: accepted share of false finds.
        power: chance of finding it.
        share: share of the seeds that differ by as much; 0: this one only.

    """
    alpha = threshold(tests, level, share, power)
    base = np.asarray(chances, np.float64)
    critical = _critical_count(base, alpha)
    if critical > np.count_nonzero(base):
        return np.nan

    def missing(log_factor: float) -> float:
        return float(coin_sums_tail(raised(base, np.exp(log_factor)))[critical] - power)

    if missing(_EVERYWHERE) < 0:
        return np.nan
    if missing(0.0) >= 0:
        return 0.0
    factor = np.exp(optimize.brentq(missing, 0.0, _EVERYWHERE, xtol=1e-6))
    return float(raised(base, factor).mean() - base.mean())


def _critical_count(chances: Floats, alpha: float) -> int:
    """Smallest count above the expected one whose distance from it has a chance of at most ``alpha``."""
    tail, expected = coin_sums_tail(chances), chances.sum()
    counts = np.arange(int(np.floor(expected)) + 1, len(tail))
    mirrored = np.floor(2 * expected - counts + 1e-9).astype(np.int64)  # as far below as the count is above
    below = np.where(mirrored >= 0, 1 - tail[np.clip(mirrored, -1, None) + 1], 0.0)
    return int(counts[tail[counts] + below <= alpha][0])  # the last, P + 1 heads, has none


def raised(chances: Floats, factor: float) -> Floats:
    """Chances whose odds are ``factor`` times as high."""
    return np.asarray(factor * chances / (1 - chances + factor * chances))


def coin_sums_tail(chances: Floats) -> Floats:
    """P(X ≥ k) for k = 0 … P + 1 of the number X of heads among ``P`` coins with these ``chances``.

    From the characteristic function at P + 1 points (Hong 2013, Comput. Stat. Data Anal. 59), equal coins taken
    together. Good to about 1e-13, absolutely.
    """
    points = len(chances) + 1
    turns = np.exp(2j * np.pi * np.arange(points // 2 + 1) / points)  # the other half is the mirror image
    transform = np.ones(len(turns), np.complex128)
    for value, count in zip(*np.unique(chances, return_counts=True), strict=True):
        transform *= (1 - value + value * turns) ** count
    mass = np.fft.irfft(transform.conj(), points)
    tail = np.cumsum(np.clip(mass, 0, None)[::-1])[::-1]
    return np.append(np.clip(tail, 0, 1), 0.0)


def _check(tests: int, level: float, share: float, power: float) -> None:
    for name, given, legal, fine in (
        ("tests", tests, "1 or more", tests >= 1),
        ("level", level, "between 0 and 1", 0 < level < 1),
        ("share", share, "0 to 1", 0 <= share <= 1),
        ("power", power, "between 0 and 1", 0 < power < 1),
    ):
        if not fine:
            raise UserError(f"{name} of a detectable effect", given=given, legal=legal)
