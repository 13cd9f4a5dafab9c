"""The Fréchet distance between Gaussians ("FID" when the vectors are Inception features).

    d² = |μs − μr|² + tr Σs + tr Σr − 2 tr (Σr^½ Σs Σr^½)^½          (Heusel et al. 2017, arXiv 1706.08500, eq. 6)

in the exact symmetric form: ``Σr^½`` is taken once for a reference, and the trace is the sum of the roots of the
eigenvalues of a symmetric matrix, where ``sqrtm(Σs Σr)`` would root an unsymmetric one. Any ``U`` with ``Uᵀ U = Σr``
gives the same eigenvalues. A triangular one is a third of the work, and as it orders directions by their variance,
small eigenvalues come out with errors as small: for spectra over many orders of magnitude it is more exact than the
symmetric root, too. Knows nothing of images.

Bias: estimated from n vectors the distance is too large on average, by about c/n with a constant that depends on both
Gaussians. Compare distances only at equal n, with equal features, resize rule and reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from seedml.per_seed.eigenvalues import congruent_eigenvalues, symmetric_eigenvalues

_ROUNDING = 16.0
"""Rounding errors of a d × d product are below this many d·ε of its factors' norms; beyond that we raise."""


@dataclass(frozen=True)
class Reference:
    """A reference Gaussian with the root of its covariance.

    Attributes:
        mean: ``d`` float64.
        root: ``d × d`` float64, symmetric positive semidefinite, ``root @ root`` is the covariance.
        trace: trace of the covariance.
        n: vectors it was estimated from.

    """

    mean: Tensor
    root: Tensor
    trace: float
    n: int

    @classmethod
    def of_gaussian(cls, mean: Tensor, covariance: Tensor, n: int) -> Reference:
        """From a mean ``d`` and a covariance ``d × d``."""
        covariance = covariance.double()
        return cls(mean.double(), symmetric_root(covariance), float(covariance.trace()), n)

    @classmethod
    def of_samples(cls, features: Tensor) -> Reference:
        """From vectors ``n × d``, n ≥ 2; covariance with divisor n − 1."""
        features = features.double()
        mean = features.mean(0)
        centred = features - mean
        return cls.of_gaussian(mean, centred.mT @ centred / (len(features) - 1), len(features))

    @cached_property
    def factor(self) -> Tensor:
        """Upper triangular ``U`` (``d × d`` float64) with ``Uᵀ U`` the covariance, of whatever rank."""
        triangle: Tensor = torch.linalg.qr(self.root, mode="r").R
        return triangle

    def to(self, device: torch.device | str) -> Reference:
        """The same on another device."""
        return Reference(self.mean.to(device), self.root.to(device), self.trace, self.n)


def symmetric_root(covariance: Tensor) -> Tensor:
    """The symmetric root of positive semidefinite matrices ``… × d × d`` float64.

    Raises:
        ArithmeticError: an eigenvalue is negative beyond rounding: no covariance.

    """
    values, vectors = torch.linalg.eigh(covariance)
    values = _nonnegative(values, values.abs().amax(-1))
    root: Tensor = (vectors * values.sqrt()[..., None, :]) @ vectors.mT
    return root


def _nonnegative(eigenvalues: Tensor, scale: Tensor) -> Tensor:
    """Set eigenvalues that are rounding noise to zero, refuse truly negative ones.

    Noise of ε·λ is a root of √ε·√λ, so a rank-deficient matrix would gain a little from each of its null directions.
    How large noise is in this matrix, its most negative eigenvalue shows: none smaller than twice that is told from 0.

    Args:
        eigenvalues: ``… × d``, ascending.
        scale: ``…``, the norm that rounding errors are relative to.

    """
    epsilon, d = torch.finfo(eigenvalues.dtype).eps, eigenvalues.shape[-1]
    rounding = _ROUNDING * d * epsilon * scale[..., None]
    if not bool((eigenvalues >= -rounding).all()):  # `not all` rather than `any`: NaN must not pass
        raise ArithmeticError(
            f"eigenvalue {float(eigenvalues.min()):.3g} of a matrix that must be positive semidefinite "
            f"(rounding explains {float(rounding.max()):.3g}); are there NaN or infinite features?"
        )
    noise = -2 * eigenvalues[..., :1].clamp(max=0)
    return torch.where(eigenvalues > noise, eigenvalues, 0.0)


def frechet_distances(means: Tensor, covariances: Tensor, reference: Reference) -> Tensor:
    """Distances of Gaussians ``… × d``, ``… × d × d`` (float64) from the reference: ``…`` float64, ≥ 0.

    Raises:
        ArithmeticError: a matrix is no covariance.

    """
    # sums about the reference's mean carry the squared offset, whose last digits the covariance inherits
    offsets = (means - reference.mean).square().sum(-1)
    norms = reference.root.square().sum() * (torch.linalg.matrix_norm(covariances) + offsets)
    overlap = _nonnegative(congruent_eigenvalues(reference.factor, covariances), norms).sqrt().sum(-1)
    traces = covariances.diagonal(dim1=-2, dim2=-1).sum(-1)
    return _distance(means, traces, overlap, reference)


def frechet_distances_of_samples(features: Tensor, reference: Reference) -> Tensor:
    """Distances of sets of vectors ``… × n × d`` (n ≥ 2, one n for all) from the reference: ``…`` float64, ≥ 0.

    With fewer vectors than dimensions the covariance is never formed: the non-zero eigenvalues of ``Σr^½ Σs Σr^½``
    are those of the ``n × n`` matrix ``A Σr Aᵀ`` where ``A`` is the centred features over √(n − 1).

    Raises:
        ValueError: n < 2.
        ArithmeticError: features are infinite or not a number.

    """
    features = features.double()
    n, d = features.shape[-2:]
    if n < 2:
        raise ValueError(f"a Fréchet distance needs two images or more, given: {n}")
    means = features.mean(-2)
    centred = (features - means[..., None, :]) / (n - 1) ** 0.5
    if n >= d:
        return frechet_distances(means, centred.mT @ centred, reference)
    rooted = centred @ reference.root
    product = rooted @ rooted.mT
    traces = centred.square().sum((-1, -2))
    norms = reference.root.square().sum() * traces
    eigenvalues = _nonnegative(symmetric_eigenvalues(product), norms)
    overlap = eigenvalues[..., 1:].sqrt().sum(-1)  # the smallest is 0: centred rows add up to nothing
    return _distance(means, traces, overlap, reference)


def _distance(means: Tensor, traces: Tensor, overlap: Tensor, reference: Reference) -> Tensor:
    """Put the three terms together; what rounding cannot tell from zero is zero.

    A root doubles the relative error of an eigenvalue near zero, so the traces are good to √ε, not to ε.
    """
    distance = (means - reference.mean).square().sum(-1) + traces + reference.trace - 2 * overlap
    scale = traces + reference.trace
    rounding = torch.finfo(distance.dtype).eps ** 0.5 * reference.mean.shape[0] ** 0.5 * scale
    assert bool((distance >= -rounding).all()), "a squared distance is negative beyond rounding"
    return torch.where(distance > rounding, distance, 0.0)
