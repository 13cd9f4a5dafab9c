"""How strong is the seed's grip? Variance shares of seed, prompt and the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from seedml.per_seed.additive import additive_fit
from seedml.per_seed.balance import Floats, prompt_blocks
from seedml.per_seed.intervals import Interval

_TINY = 1e-12
"""Shares this near to 0 or 1 are 0 or 1 on the logarithmic scale of their limits."""


class Components(NamedTuple):
    """Variance components, each ≥ 0, in the attribute's unit squared; NaN where too few cells are there."""

    seed: float
    prompt: float
    residual: float

    def shares(self) -> Floats:
        """Shares of seed, prompt and residual (interaction included): 3, sum 1; NaN for a constant attribute."""
        return component_shares(np.array(self))


class Shares(NamedTuple):
    """Variance shares with limits; arrays of 3: seed, prompt, residual."""

    value: Floats
    low: Floats
    high: Floats


class FoldedComponents(NamedTuple):
    """Variance components of a table and of its folds; the last axis is seed, prompt, residual.

    Attributes:
        whole: ``3``.
        without_seeds: ``B × 3``, each block of seeds left out in turn; ``0 × 3`` where a fold would be too small.
        without_prompts: ``B' × 3``, the same of prompts.
        shape: seeds and prompts that have a cell.

    """

    whole: Floats
    without_seeds: Floats
    without_prompts: Floats
    shape: tuple[int, int]


def variance_components(table: Floats) -> Components:
    """Method of moments for ``y_sp = μ + a_s + b_p + e_sp`` with random a, b, e; ``S × P``, one image a cell, or NaN.

        σ²_residual = R(rest) / f,                          f = N − S − P + 1
        σ²_seed = (R(a | μ, b) − (S − 1) σ²_residual) / (N − P)
        σ²_prompt = (R(b | μ, a) − (P − 1) σ²_residual) / (N − S)

    with N the cells that are there and R the sums of squares of least squares, each effect beyond the other: the
    fitting-constants method (Henderson 1953, Biometrics 9, method III; Searle, Casella & McCulloch 1992, Variance
    Components, ch. 5.5). The divisors are traces that cells of 0 or 1 images make whole numbers; without missing cells
    these are the textbook mean squares, ``(MS_S − MS_E)/P`` and so on (there, ch. 4). Unbiased, for any distribution,
    where cells are missing at random, until negative estimates are set to 0. Seeds and prompts without any cell do not
    count. Interaction of seed and prompt cannot be told from residual with one image a cell.
    """
    there = table[~np.isnan(table)]
    if there.size and there.max() == there.min():
        return Components(0.0, 0.0, 0.0)  # exactly, not the rounding of means
    fit = additive_fit(table) if there.size else None
    if fit is None or min(fit.freedom, fit.n_seeds - 1, fit.n_prompts - 1) < 1:
        return Components(np.nan, np.nan, np.nan)
    rest = fit.rest / fit.freedom
    seed = (fit.for_seeds - (fit.n_seeds - fit.groups) * rest) / (fit.cells - fit.n_prompts)
    prompt = (fit.for_prompts - (fit.n_prompts - fit.groups) * rest) / (fit.cells - fit.n_seeds)
    return Components(max(seed, 0.0), max(prompt, 0.0), rest)


def folded_components(table: Floats, blocks: int = 16) -> FoldedComponents:
    """Components of ``S × P`` (NaN where there is no value), whole and with each block left out."""
    known = ~np.isnan(table)
    inner = table[np.ix_(known.any(axis=1), known.any(axis=0))]
    shape = (inner.shape[0], inner.shape[1])
    if min(shape) < 2:
        return FoldedComponents(np.full(3, np.nan), np.empty((0, 3)), np.empty((0, 3)), shape)
    whole = np.array(variance_components(inner))
    if min(shape) < 3:
        return FoldedComponents(whole, np.empty((0, 3)), np.empty((0, 3)), shape)
    return FoldedComponents(whole, _without_blocks(inner, 0, blocks), _without_blocks(inner, 1, blocks), shape)


def component_shares(components: Floats) -> Floats:
    """Shares ``… × 3`` of components ``… × 3``; NaN where all are 0."""
    total = components.sum(axis=-1, keepdims=True)
    return np.asarray(np.divide(components, total, out=np.full_like(components, np.nan), where=total > 0))


def variance_shares(table: Floats, blocks: int = 16, confidence: float = 0.95) -> Shares:
    """Shares of seed, prompt and residual of ``S × P`` (NaN allowed), with limits for *other seeds and prompts*."""
    return shares_of(folded_components(table, blocks), confidence)


def shares_of(folded: FoldedComponents, confidence: float = 0.95) -> Shares:
    """Shares with limits, from the variance of a jackknife over blocks of seeds plus that over blocks of prompts.

    Seeds and prompts are both samples. (A bootstrap would draw a seed twice, and twins look like less residual than
    there is.) Limits are Student's on a logarithmic scale on which the error of a variance hardly depends on its size
    (Arvesen & Schmitz 1970, Biometrics 26): on the plain scale a study that happened to underrate the seed also
    underrates its error, and the truth lies above the limits too often. Direction of what error remains: with few
    seeds of very skewed effects limits are still too narrow, above all upwards.
    """
    value = component_shares(folded.whole)
    n_seeds, n_prompts = folded.shape
    # a share below what its mean square's own noise amounts to is no different from 0
    floor = value[2] * np.array([1 / max(n_prompts, 1), 1 / max(n_seeds, 1), 0.0])
    low, high = _limits(
        value, component_shares(folded.without_seeds), component_shares(folded.without_prompts), floor, confidence
    )
    return Shares(value, low, high)


def seed_grip(folded: Sequence[FoldedComponents], confidence: float = 0.95) -> Interval:
    """How strong is the seed's grip on the picture? One number for a model on its prompts, 0 to 1.

        grip = mean over attributes of  σ²_seed / (σ²_seed + σ²_residual)

    Of what a picture's attributes vary *once the prompt is fixed*, the share that the seed decides whatever the prompt.
    0: seeds are interchangeable; 1: the seed alone decides. The prompts' own variance is left out, so that sets of
    prompts that ask for much or for little can be compared. Definition ours; each term is the intraclass correlation
    of a seed within prompts.

    Every attribute weighs the same; those that never vary, or only in a few images, are left out. Compare grips only of
    the same attributes. Biased upwards for few seeds or prompts: negative components are set to 0 in every attribute.

    Args:
        folded: :func:`folded_components` of each attribute, all of the same seeds and prompts.
        confidence: of the limits, for other seeds and prompts; the attributes are taken as given.

    Returns:
        Arrays of no dimension; NaN without any attribute that varies, and limits NaN for fewer than three seeds.

    """
    known = [part for part in folded if all(np.isfinite(_grips(fold)).all() for fold in part[:3])]
    unknown = np.array(np.nan)
    if not known:
        return Interval(unknown, unknown, unknown)
    most = max((len(part.without_seeds), len(part.without_prompts)) for part in known)
    known = [part for part in known if (len(part.without_seeds), len(part.without_prompts)) == most]
    value = np.asarray(np.mean([_grips(part.whole) for part in known]))
    floor = np.asarray((1 - value) / max(1, np.mean([part.shape[1] for part in known])))
    seeds = np.mean([_grips(part.without_seeds) for part in known], axis=0)
    prompts = np.mean([_grips(part.without_prompts) for part in known], axis=0)
    return Interval(value, *_limits(value, seeds, prompts, floor, confidence))


def _grips(components: Floats) -> Floats:
    """σ²_seed / (σ²_seed + σ²_residual) of ``… × 3``: ``…``; NaN where both are 0."""
    within = components[..., 0] + components[..., 2]
    return np.asarray(np.divide(components[..., 0], within, out=np.full_like(within, np.nan), where=within > 0))


def _without_blocks(table: Floats, axis: int, blocks: int) -> Floats:
    """Components without each block of seeds (axis 0) or prompts (axis 1): ``B × 3``."""
    block = prompt_blocks(table.shape[axis], blocks)
    kept = (np.compress(block != name, table, axis=axis) for name in np.unique(block))
    return np.stack([np.array(variance_components(part)) for part in kept])


def _limits(
    value: Floats, without_seeds: Floats, without_prompts: Floats, floor: Floats, confidence: float
) -> tuple[Floats, Floats]:
    """Limits of shares ``…`` from those of folds ``B × …``, made on the scale log((share + floor) / (1 − share))."""
    if min(len(without_seeds), len(without_prompts)) < 2:
        return np.full_like(value, np.nan), np.full_like(value, np.nan)

    def stretched(share: Floats) -> Floats:
        return np.asarray(np.log(np.maximum(share + floor, _TINY) / np.maximum(1 - share, _TINY)))

    error = np.sqrt(_jackknife_variance(stretched(without_seeds)) + _jackknife_variance(stretched(without_prompts)))
    freedom = min(len(without_seeds), len(without_prompts)) - 1
    reach = stats.t.ppf(0.5 + confidence / 2, freedom) * error
    low, high = (_shrunk(stretched(value) + side * reach, floor) for side in (-1, 1))
    return np.clip(np.minimum(low, value), 0, 1), np.clip(np.maximum(high, value), 0, 1)


def _shrunk(stretched: Floats, floor: Floats) -> Floats:
    """Back from the scale of :func:`_limits`: (e^z − floor) / (e^z + 1)."""
    odds = np.exp(np.minimum(stretched, 700.0))
    return np.asarray((odds - floor) / (odds + 1))


def _jackknife_variance(deleted: Floats) -> Floats:
    """Variance from estimates ``B × …`` that each lack one block."""
    b = len(deleted)
    return np.asarray((b - 1) / b * ((deleted - deleted.mean(axis=0)) ** 2).sum(axis=0))
