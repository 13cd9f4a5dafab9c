"""How much does one image move a Fréchet distance? From one decomposition a seed, instead of one a fold.

With weights ε on an image x and 1 − ε on the rest, the distance d² of :mod:`~seedml.per_seed.frechet` moves by ε times

    IF(x) = 2 (μs − μr)ᵀ y + c yᵀ A y − tr (A Σs),   y = x − μs,   A = I − R (R Σs R)^−½ R,   R = Σr^½,   c = n/(n − 1)

(c because Σs has divisor n − 1; so a seed's own influences sum to 0). The derivative of the Bures metric is standard
(Bhatia, Jain & Lim 2019, Expo. Math. 37, 165); the *infinitesimal jackknife* that sums its squares is Jaeckel's (1972),
see Efron 1982, The Jackknife, ch. 6. Every statistic that resamples prompts becomes a sum over a table seeds × prompts.

Two tables are offered. *Influences* are the derivative above. *Deletions* are ``(n − 1)(d² − d²₋ᵢ)`` with ``d²₋ᵢ`` the
exact distance without image i: the pseudo-values of the delete-one jackknife, mean = −(its estimate of the bias). They
come out of the same decomposition: a rank-one change v vᵀ of a matrix M changes the trace of its root by

    tr (M − v vᵀ)^½ − tr M^½ = 1/π ∫₀^∞ log(1 − vᵀ (M + s²)⁻¹ v) ds

(ours: √λ = 1/π ∫ λ/(λ + t) t^−½ dt, the matrix determinant lemma, and one integration by parts). Both tables fit all
functions below. Does not know where features come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import ceil, log, pi
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seedml.per_seed.balance import Floats, Ints
from seedml.per_seed.folds import Folds
from seedml.per_seed.frechet import Reference
from seedml.per_seed.moments import Moments
from seedml.per_seed.permutation import mean_null, permutation_p, spread

_STEP = 0.4
"""Step in log s of the trapezoid rule. The integrand is analytic for |Im log s| < π/2: error exp(−π²/0.4) = 2e-11."""
_TAIL = log(1e10)
"""How far, in log s, the rule reaches beyond the roots of the smallest and the largest eigenvalue: error 1e-10."""
_PAIRS_AT_ONCE = 512
"""Pairs whose products of eigenvectors are held at a time."""


class Influences(NamedTuple):
    """What images do to the distance of the set that they belong to.

    Attributes:
        distance: ``…`` float64, ≥ 0.
        value: ``… × n`` float64, in the unit of the distance: without image i it is about ``distance − value/(n − 1)``.

    """

    distance: Tensor
    value: Tensor


class _Set(NamedTuple):
    """A set of vectors seen from a reference.

    Attributes:
        n: vectors.
        offset: ``… × d``, mean minus the reference's.
        centred: ``… × n × d``, Y.
        eigenvalues: ``… × k``, g: of Y Σr Yᵀ, k = min(n, d), 0 where rounding cannot tell them from 0.
        left: ``… × n × k``, the eigenvectors of Y Σr Yᵀ: 0 where the eigenvalue is.
        distance: ``…``.

    """

    n: int
    offset: Tensor
    centred: Tensor
    eigenvalues: Tensor
    left: Tensor
    distance: Tensor


def influences_of_samples(features: Tensor, reference: Reference) -> Influences:
    """Distances of sets ``… × n × d`` (any float, n ≥ 2) and the influence of each vector.

    With fewer vectors than dimensions no d × d matrix is formed: the part of ``yᵀ A y`` that needs a root is
    ``√(n − 1) diag((Y Σr Yᵀ)^½)``. Rank-deficient covariances and dead features are as good as others: weights on the
    set's own images never leave its span, within which the distance is smooth.
    """
    x = _set_of(features, reference)
    rooted = (x.left.square() * x.eigenvalues.sqrt()[..., None, :]).sum(-1) * (x.n - 1) ** 0.5
    quadratic = x.centred.square().sum(-1) - rooted
    scaled = x.n / (x.n - 1) * (quadratic - quadratic.mean(-1, keepdim=True))
    return Influences(x.distance, 2 * (x.centred * x.offset[..., None, :]).sum(-1) + scaled)


def deletions_of_samples(features: Tensor, reference: Reference) -> Influences:
    """Distances of sets ``… × n × d`` (n ≥ 3), and ``(n − 1)(distance − distance without the vector)``, exactly.

    Relative error of the differences 1e-9 or what float64 leaves of them.
    """
    x = _set_of(features, reference)
    if x.n < 3:
        raise ValueError(f"a deletion must leave two images or more, given: {x.n} images")
    return Influences(x.distance, -(x.n - 1) * _changes_without_one(x))


class Deletions(NamedTuple):
    """Deletions of single images, and of pairs of them.

    Attributes:
        distance: ``…`` float64, ≥ 0.
        value: ``… × n``, as in :class:`Influences`.
        second: ``… × K``, of each pair i, j:  distance − distance₋ᵢ − distance₋ⱼ + distance₋ᵢⱼ.

    """

    distance: Tensor
    value: Tensor
    second: Tensor


def deletions_of_pairs(features: Tensor, reference: Reference, pairs: Ints) -> Deletions:
    """As :func:`deletions_of_samples` (n ≥ 4), with the second differences of some pairs.

    They sharpen errors (:func:`~seedml.per_seed.intervals.sharpened`).

    Args:
        features: ``… × n × d``, any float.
        reference: what to measure from.
        pairs: ``K × 2`` indices of two different vectors (:func:`random_pairs`).

    """
    x = _set_of(features, reference)
    if x.n < 4:
        raise ValueError(f"deletions of pairs must leave two images or more, given: {x.n} images")
    one = _changes_without_one(x)
    second = [
        _changes_without_two(x, *part.unbind(1)) - one[..., part].sum(-1)
        for part in torch.split(torch.from_numpy(pairs).to(one.device), _PAIRS_AT_ONCE)
    ]
    return Deletions(x.distance, -(x.n - 1) * one, torch.cat(second, -1))


def random_pairs(n: int, count: int, generator: np.random.Generator) -> Ints:
    """``count`` pairs of different numbers in 0 … n − 1: ``count × 2`` int64."""
    first = generator.integers(n, size=count)
    return np.stack([first, (first + generator.integers(1, n, size=count)) % n], 1)


def _changes_without_one(x: _Set) -> Tensor:
    """Distance without each image, minus the distance: ``… × n``. The scatter that is left is ``S − c y yᵀ``."""
    n, c, u2 = x.n, x.n / (x.n - 1), x.left.square()
    at_zero = _or_zero(1 - c * u2.sum(-1, keepdim=True)).clamp(min=0)

    def logarithm(near: Tensor, far: Tensor) -> Tensor:
        q = c * u2 @ near
        return torch.where(q < 0.5, torch.log1p(-q.clamp(max=0.5)), torch.log(at_zero + c * u2 @ far))

    return _change(x, x.centred, c * x.centred.square().sum(-1), _root_change(x, logarithm), n - 1)


def _changes_without_two(x: _Set, first: Tensor, second: Tensor) -> Tensor:
    """Distance without two images, minus the distance: ``… × K``.

    The scatter that is left is ``S − Z C Zᵀ`` with the two vectors as Z and ``C = 1 + 11ᵀ/(n − 2)``, and the logarithm
    that of the determinant of the 2 × 2 matrix ``1 − C Zᵀ (M + s²)⁻¹ Z``.
    """
    n, i, j = x.n, x.left[..., first, :], x.left[..., second, :]
    products = torch.stack([i * i, j * j, i * j])  # 3 × … × K × k

    def times_c(p: Tensor) -> Tensor:
        both = p / (n - 2)
        return torch.stack([p[0] + both[0] + both[2], p[2] + both[2] + both[1],
                            p[2] + both[2] + both[0], p[1] + both[1] + both[2]])  # fmt: skip

    identity = torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=i.dtype, device=i.device).view(4, *[1] * i.dim())
    at_zero = _or_zero(identity - times_c(products.sum(-1, keepdim=True)))

    def logarithm(near: Tensor, far: Tensor) -> Tensor:
        q = times_c(products @ near)
        lost = q[0] + q[3] - (q[0] * q[3] - q[1] * q[2])
        far_only = products @ far
        e = at_zero + times_c(far_only)
        # rounding aside, the determinant is at least that of the part that at_zero is added to
        least = n / (n - 2) * (far_only[0] * far_only[1] - far_only[2].square())
        kept = torch.maximum(e[0] * e[3] - e[1] * e[2], least.clamp(min=torch.finfo(i.dtype).tiny))
        return torch.where(lost < 0.5, torch.log1p(-lost.clamp(max=0.5)), torch.log(kept))

    yi, yj = x.centred[..., first, :], x.centred[..., second, :]
    scatter = yi.square().sum(-1) + yj.square().sum(-1) + (yi + yj).square().sum(-1) / (n - 2)
    return _change(x, yi + yj, scatter, _root_change(x, logarithm), n - 2)


def _change(x: _Set, removed: Tensor, scatter: Tensor, root: Tensor, left: int) -> Tensor:
    """Distance of what is left minus the distance.

    Args:
        x: the whole set.
        removed: ``… × K × d``, sum of the centred vectors that were taken out.
        scatter: ``… × K``, trace of the scatter they took with them.
        root: ``… × K``, change of the trace of the root of the scatter, seen from the reference.
        left: vectors left.

    """
    total, roots = x.centred.square().sum((-1, -2)), x.eigenvalues.sqrt().sum(-1)
    mean = removed.square().sum(-1) / left**2 - 2 * (removed * x.offset[..., None, :]).sum(-1) / left
    trace = (total * (x.n - left) / (x.n - 1))[..., None] / (left - 1) - scatter / (left - 1)
    divisor = (left - 1) ** -0.5 - (x.n - 1) ** -0.5  # the change of divisor, apart from the change of the scatter
    overlap: Tensor = (divisor * roots)[..., None] + root * (left - 1) ** -0.5
    return mean + trace - 2 * overlap


def _or_zero(values: Tensor) -> Tensor:
    """What rounding makes of 0 is 0: so is 1 − q at s = 0 of a set whose vectors are independent."""
    return torch.where(values.abs() > 1e-9, values, 0.0)


def _root_change(x: _Set, logarithm: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """``1/π ∫₀^∞ log(…) ds`` for each vector or pair, by the trapezoid rule in log s.

    Args:
        x: the whole set.
        logarithm: ``g/(g + s²)`` and ``s²/(g + s²)`` for eigenvalues g and nodes s, ``… × k × nodes`` each -> ``… × K ×
            nodes``. The one makes the matrix that is subtracted from 1 (small for large s), the other what is left of
            it at small s, where 1 − q would cancel.

    """
    g = x.eigenvalues
    alive = g[g > 0] if bool((g > 0).any()) else torch.ones_like(g[..., :1])
    low, high = 0.5 * log(float(alive.min())) - _TAIL, 0.5 * log(float(alive.max())) + _TAIL
    s = torch.exp(torch.linspace(low, high, ceil((high - low) / _STEP) + 1, dtype=g.dtype, device=g.device))
    sum_of_squares = g[..., None] + s.square()
    integrand = logarithm(g[..., None] / sum_of_squares, s.square() / sum_of_squares) * s
    return integrand.sum(-1) * (high - low) / (len(s) - 1) / pi


def _set_of(features: Tensor, reference: Reference) -> _Set:
    features = features.double()
    n, d = features.shape[-2:]
    if n < 2:
        raise ValueError(f"a Fréchet distance needs two images or more, given: {n}")
    mean = features.mean(-2)
    centred = features - mean[..., None, :]
    rooted = centred @ reference.root
    if n <= d + 1:  # up to there the vectors may be independent, and `left` has to be orthogonal to the last digit
        eigenvalues, left = torch.linalg.eigh(rooted @ rooted.mT)
        left = left - left.mean(-2, keepdim=True)  # small eigenvalues' vectors mix with the known null vector, 1
        left = left / torch.linalg.vector_norm(left, dim=-2, keepdim=True).clamp(min=torch.finfo(left.dtype).tiny)
    else:
        _, vectors = torch.linalg.eigh(rooted.mT @ rooted)
        left = rooted @ vectors
        eigenvalues = left.square().sum(-2)  # Rayleigh quotients: better than eigh's, and the influences sum to 0
        left = left / eigenvalues.clamp(min=torch.finfo(torch.float64).tiny).sqrt()[..., None, :]
    eigenvalues = _above_rounding(eigenvalues)
    left = torch.where(eigenvalues[..., None, :] > 0, left, 0.0)
    overlap = eigenvalues.sqrt().sum(-1) / (n - 1) ** 0.5
    offset, trace = mean - reference.mean, centred.square().sum((-1, -2)) / (n - 1)
    return _Set(n, offset, centred, eigenvalues, left, _distance(offset, trace, overlap, reference))


def _above_rounding(eigenvalues: Tensor) -> Tensor:
    """Eigenvalues ``… × k`` of a Gram matrix with those that are rounding noise set to 0."""
    if not bool(eigenvalues.isfinite().all()):
        raise ArithmeticError("a covariance has no finite eigenvalues; are there NaN or infinite features?")
    noise = eigenvalues.shape[-1] ** 0.5 * torch.finfo(eigenvalues.dtype).eps * eigenvalues.amax(-1, keepdim=True)
    return torch.where(eigenvalues > noise, eigenvalues, 0.0)


def _distance(offset: Tensor, trace: Tensor, overlap: Tensor, reference: Reference) -> Tensor:
    """The three terms; what rounding cannot tell from zero is zero, by the rule of :mod:`~seedml.per_seed.frechet`."""
    distance = offset.square().sum(-1) + trace + reference.trace - 2 * overlap
    rounding = torch.finfo(distance.dtype).eps ** 0.5 * offset.shape[-1] ** 0.5 * (trace + reference.trace)
    return torch.where(distance > rounding, distance, 0.0)


@dataclass(frozen=True)
class Gradient:
    """The derivative of the distance at Gaussians, for images or sums that are at hand later, or are not their own.

    Attributes:
        distance: ``…`` float64.
        mean: ``… × d``, where it was taken.
        slope: ``… × d``, 2 (μ − μr).
        curvature: ``… × d × d``, A.
        level: ``…``, tr (A Σ).

    """

    distance: Tensor
    mean: Tensor
    slope: Tensor
    curvature: Tensor
    level: Tensor

    @classmethod
    def at(cls, means: Tensor, covariances: Tensor, reference: Reference) -> Gradient:
        """At Gaussians ``… × d``, ``… × d × d`` float64.

        Directions in which the Gaussian has no variance get the derivative 0 of the rooted part. For images within its
        support that is exact; towards images outside it the distance falls like a root, and has no derivative.
        """
        values, vectors = torch.linalg.eigh(reference.root @ covariances @ reference.root)
        values = _above_rounding(values)
        inverse = torch.where(values > 0, values.clamp(min=torch.finfo(values.dtype).tiny).rsqrt(), 0.0)
        rooted = reference.root @ vectors
        identity = torch.eye(means.shape[-1], dtype=values.dtype, device=values.device)
        curvature = identity - (rooted * inverse[..., None, :]) @ rooted.mT
        offset, trace = means - reference.mean, covariances.diagonal(dim1=-2, dim2=-1).sum(-1)
        distance = _distance(offset, trace, values.sqrt().sum(-1), reference)
        return cls(distance, means, 2 * offset, curvature, (curvature * covariances).sum((-1, -2)))

    def influences(self, features: Tensor, n: int) -> Tensor:
        """Influences ``… × m`` of vectors ``… × m × d`` on the distance of a set of ``n`` vectors."""
        y = features.double() - self.mean[..., None, :]
        linear = (y * self.slope[..., None, :]).sum(-1)
        return linear + n / (n - 1) * ((y @ self.curvature) * y).sum(-1) - self.level[..., None]

    def influences_of_sums(self, moments: Moments) -> Tensor:
        """Sums of influences over groups ``… × B`` of vectors that together are the set: ``… × B``, sum 0.

        So block moments, from which folds are made, are enough for first-order folds: one decomposition a seed.
        """
        count, total, shift = moments.count.double(), moments.total, self.mean[..., None, :] - moments.origin
        n = count.sum(-1, keepdim=True)
        centred = total - count[..., None] * shift
        outer = moments.outer - total[..., :, None] * shift[..., None, :] - shift[..., :, None] * centred[..., None, :]
        quadratic = (outer * self.curvature[..., None, :, :]).sum((-1, -2))
        sums = (centred * self.slope[..., None, :]).sum(-1) + n / (n - 1) * quadratic - count * self.level[..., None]
        return sums - count / n * sums.sum(-1, keepdim=True)  # 0 but for rounding


def block_sums(influences: Floats, blocks: Ints) -> tuple[Floats, Ints]:
    """Sums of ``S × P`` over blocks of prompts ``P`` (0 … B − 1), ``S × B``, and the blocks' sizes ``B``."""
    sizes = np.bincount(blocks)
    return influences @ np.eye(len(sizes))[blocks], sizes


def first_order_folds(distances: Floats, sums: Floats, sizes: Ints) -> Folds:
    """Folds to first order: ``distance₋ᵦ = distance − sumᵦ / (n − sizeᵦ)``. Their jackknife is the infinitesimal one.

    Args:
        distances: ``S``.
        sums: ``S × B`` of influences or deletions: of single prompts, or of blocks (:func:`block_sums`).
        sizes: ``B``, prompts behind each sum.

    """
    n = int(sizes.sum())
    if len(sizes) < 2 or n - sizes.max() < 2:
        return Folds(distances, np.empty((0, len(distances))), sizes, n)
    return Folds(distances, (distances[:, None] - sums / (n - sizes)).T, sizes, n)


def first_order_halves(distances: Floats, sums: Floats, sizes: Ints, halves: Ints) -> tuple[Floats, Floats]:
    """Distances from the two halves of the prompts to first order, for K splits: ``K × S`` each.

    Influences know nothing of the bias, which is twice as large for a half: compare orders, not levels.

    Args:
        distances: ``S``.
        sums: ``S × B``, as for :func:`first_order_folds`.
        sizes: ``B``.
        halves: ``K × B`` of 0 and 1 (:func:`~seedml.per_seed.reliability.random_halves`).

    """
    sides = []
    for side in (0, 1):
        kept = (halves == side).astype(np.float64)
        sides.append(distances - (1 - kept) @ sums.T / (kept @ sizes)[:, None])
    return sides[0], sides[1]


def spread_test(pooled: Floats, permutations: Iterable[Ints]) -> tuple[float, float]:
    """Is there a seed effect at all? Spread over seeds of mean influences, and its permutation p-value.

    Exact in level, as both the observed spread and the null are of the same statistic: distances to first order about
    the pooled Gaussian. (Against the spread of *exact* distances the null would be too narrow.)

    Args:
        pooled: ``S × P``, influences of all images at the Gaussian of all images together.
        permutations: arrays ``S × P`` (:func:`~seedml.per_seed.permutation.label_permutations`).

    """
    observed = spread(pooled.mean(axis=1)[:, None])
    null = spread(mean_null(pooled[:, :, None], permutations))
    return float(observed[0]), float(permutation_p(observed, null)[0])
