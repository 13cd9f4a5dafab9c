"""How strong is the seed's grip? Variance shares of seed, prompt and the rest."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

from seedml.per_seed.balance import Floats, prompt_blocks


class Components(NamedTuple):
    """Variance components, each ≥ 0, in the attribute's unit squared."""

    seed: float
    prompt: float
    residual: float

    def shares(self) -> Floats:
        """Shares of seed, prompt and residual (interaction included): 3, sum 1; NaN for a constant attribute."""
        parts = np.array(self)
        total = parts.sum()
        return parts / total if total > 0 else np.full(3, np.nan)


class Shares(NamedTuple):
    """Variance shares with limits; arrays of 3: seed, prompt, residual."""

    value: Floats
    low: Floats
    high: Floats


def variance_components(table: Floats) -> Components:
    """Method of moments for ``y_sp = μ + a_s + b_p + e_sp`` with random a, b, e; ``S × P``, one image a cell.

        MS_S = P/(S−1) Σ (ȳ_s − ȳ)²,   MS_P = S/(P−1) Σ (ȳ_p − ȳ)²,   MS_E = the rest over (S−1)(P−1)
        σ²_seed = (MS_S − MS_E)/P,   σ²_prompt = (MS_P − MS_E)/S,   σ²_residual = MS_E

    (Searle, Casella & McCulloch 1992, Variance Components, ch. 4.) Unbiased until negative estimates are set to 0.
    Interaction of seed and prompt cannot be told from residual with one image a cell.
    """
    s, p = table.shape
    assert s > 1, "variance components need two seeds or more"
    assert p > 1, "variance components need two prompts or more"
    if table.max() == table.min():
        return Components(0.0, 0.0, 0.0)  # exactly, not the rounding of means
    grand, seeds, prompts = table.mean(), table.mean(axis=1), table.mean(axis=0)
    ms_seed = p * ((seeds - grand) ** 2).sum() / (s - 1)
    ms_prompt = s * ((prompts - grand) ** 2).sum() / (p - 1)
    rest = table - seeds[:, None] - prompts[None, :] + grand
    ms_rest = (rest**2).sum() / ((s - 1) * (p - 1))
    return Components(max((ms_seed - ms_rest) / p, 0.0), max((ms_prompt - ms_rest) / s, 0.0), float(ms_rest))


def variance_shares(table: Floats, blocks: int = 16, confidence: float = 0.95) -> Shares:
    """Shares of seed, prompt and residual of ``S × P`` (no NaN), with limits for *other seeds and other prompts*.

    Variance of the jackknife over blocks of seeds plus that over blocks of prompts: both are samples. (A bootstrap
    would draw a seed twice, and twins look like less residual than there is.)
    """
    unknown = np.full(3, np.nan)
    if min(table.shape) < 2:
        return Shares(unknown, unknown, unknown)
    value = variance_components(table).shares()
    if min(table.shape) < 3:
        return Shares(value, unknown, unknown)
    without_seeds, without_prompts = (_without_blocks(table, axis, blocks) for axis in (0, 1))
    error = np.sqrt(_jackknife_variance(without_seeds) + _jackknife_variance(without_prompts))
    freedom = min(len(without_seeds), len(without_prompts)) - 1
    reach = stats.t.ppf(0.5 + confidence / 2, freedom) * error
    return Shares(value, np.clip(value - reach, 0, 1), np.clip(value + reach, 0, 1))


def _without_blocks(table: Floats, axis: int, blocks: int) -> Floats:
    """Shares without each block of seeds (axis 0) or prompts (axis 1): ``B × 3``."""
    block = prompt_blocks(table.shape[axis], blocks)
    kept = (np.compress(block != name, table, axis=axis) for name in np.unique(block))
    return np.stack([variance_components(part).shares() for part in kept])


def _jackknife_variance(deleted: Floats) -> Floats:
    """Variance from ``B × 3`` estimates that each lack one block."""
    b = len(deleted)
    return np.asarray((b - 1) / b * ((deleted - deleted.mean(axis=0)) ** 2).sum(axis=0))
