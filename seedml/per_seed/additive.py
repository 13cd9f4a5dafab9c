"""A table seeds × prompts as seed effect + prompt effect + rest, by least squares, with cells missing or not.

A seed that lacks the image of a hard prompt must not look better for it. The fit compares seeds on the prompts they
share, and uses every cell that is there. Knows nothing of variances or tests.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from seedml.per_seed.balance import Floats


class Additive(NamedTuple):
    """The least-squares fit ``y_sp = μ + a_s + b_p + e_sp`` over the cells that are there.

    Attributes:
        level: μ; both kinds of effects have mean 0 over those that are known.
        seeds: ``S``, a; NaN for a seed without any cell.
        prompts: ``P``, b; NaN for a prompt without any cell.
        for_seeds: sum of squares that the seeds explain beyond the prompts, R(a | μ, b).
        for_prompts: sum of squares that the prompts explain beyond the seeds, R(b | μ, a).
        rest: sum of squared residuals.
        cells, n_seeds, n_prompts: how many there are, those without any cell not counted.
        groups: parts of the table that share neither seed nor prompt; effects of different parts cannot be compared.

    """

    level: float
    seeds: Floats
    prompts: Floats
    for_seeds: float
    for_prompts: float
    rest: float
    cells: int
    n_seeds: int
    n_prompts: int
    groups: int

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the residuals."""
        return self.cells - self.n_seeds - self.n_prompts + self.groups


def additive_fit(table: Floats) -> Additive:
    """Fit ``S × P`` float64, NaN where there is no value; one cell at least.

    Without missing cells the effects are plain differences of means. With missing ones the normal equations are
    reduced to the smaller of the two sides, ``C a = r`` with ``C = diag(n_s) − N diag(1/m_p) Nᵀ`` (Searle, Casella &
    McCulloch 1992, sec. 4.6): nothing larger than the table or min(S, P)² is made.
    """
    known = ~np.isnan(table)
    rows, columns = np.asarray(known.any(axis=1)), np.asarray(known.any(axis=0))
    assert rows.any(), "a fit needs a cell"
    if known.all():
        return _complete_fit(table)
    fit = _partial_fit(table[np.ix_(rows, columns)])
    seeds, prompts = np.full(len(rows), np.nan), np.full(len(columns), np.nan)
    seeds[rows], prompts[columns] = fit.seeds, fit.prompts
    return fit._replace(seeds=seeds, prompts=prompts)


def adjusted_means(table: Floats, fit: Additive) -> Floats:
    """Mean of each seed of ``S × P`` over *all* prompts: those it lacks are put in as its own effect would have them.

    ``S``; the plain mean where a seed lacks none.
    """
    known = ~np.isnan(table)
    counts = np.maximum(known.sum(axis=1), 1)
    asked_for = np.where(known, fit.prompts, 0.0).sum(axis=1) / counts
    plain = np.where(known, table, 0.0).sum(axis=1) / counts
    mean = plain + np.where(known.all(axis=1), 0.0, np.nanmean(fit.prompts) - asked_for)
    return np.where(known.any(axis=1), mean, np.nan)


def _complete_fit(table: Floats) -> Additive:
    """Means do it."""
    s, p = table.shape
    level = float(table.mean())
    a, b = table.mean(axis=1) - level, table.mean(axis=0) - level
    rest = table - (a + level)[:, None]
    rest -= b
    squares = float(np.einsum("sp,sp->", rest, rest))
    return Additive(level, a, b, p * float(a @ a), s * float(b @ b), squares, s * p, s, p, 1)


def _partial_fit(table: Floats) -> Additive:
    """Least squares; every row and column has a cell."""
    known = ~np.isnan(table)
    centre = float(table[known].mean())
    values = np.where(known, table - centre, 0.0)
    if table.shape[0] <= table.shape[1]:
        a, b, groups = _reduced(values, known)
    else:
        b, a, groups = _reduced(values.T, known.T)
    rest = np.where(known, values - a[:, None] - b[None, :], 0.0)
    # a' r rather than a difference of sums of squares: a small seed effect keeps its digits
    for_seeds = float(a @ _within(values, known, 0).sum(axis=1))
    for_prompts = float(b @ _within(values, known, 1).sum(axis=0))
    level = float(centre + a.mean() + b.mean())
    return Additive(
        level, a - a.mean(), b - b.mean(), for_seeds, for_prompts, float((rest**2).sum()),
        int(known.sum()), len(a), len(b), groups,
    )  # fmt: skip


def _reduced(values: Floats, known: NDArray[np.bool_]) -> tuple[Floats, Floats, int]:
    """Effects of rows and columns with missing cells (0 there), and the number of connected parts; rows ≤ columns."""
    presence = known.astype(np.float64)
    per_column = presence.sum(axis=0)
    matrix = np.diag(presence.sum(axis=1)) - (presence / per_column) @ presence.T
    right = _within(values, known, 0).sum(axis=1)
    groups = int(connected_components(csr_matrix(matrix != 0), directed=False)[0])
    if groups == 1:
        # the matrix knows effects up to a constant; adding one to all of it sets their sum to 0 and makes it regular
        matrix += presence.mean()
        rows = np.asarray(solve(matrix, right, assume_a="pos"))
    else:
        rows = np.linalg.lstsq(matrix, right)[0]
    return rows, (values - presence * rows[:, None]).sum(axis=0) / per_column, groups


def _within(values: Floats, known: NDArray[np.bool_], axis: int) -> Floats:
    """Values less the mean along ``axis`` of those that are there; 0 where missing."""
    mean = values.sum(axis=axis, keepdims=True) / known.sum(axis=axis, keepdims=True)
    return np.asarray(np.where(known, values - mean, 0.0))
