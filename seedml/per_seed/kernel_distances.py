"""Kernel distances beside the Fréchet distance, from the same stored features: KID and CMMD.

    MMD² = E k(x, x') + E k(y, y') − 2 E k(x, y),   x, x' images of a seed, y, y' of the reference
    KID:   k = (xᵀy/d + 1)³                              (Bińkowski et al. 2018, arXiv 1801.01401)
    CMMD:  1000 · MMD² with k = exp(−|x − y|²/(2·10²)) on unit-length CLIP embeddings
                                                         (Jayasumana et al. 2024, arXiv 2401.09603)

estimated without bias by a U-statistic: pairs of an image with itself are left out (Gretton et al. 2012, JMLR 13,
eq. 3). So, unlike a Fréchet distance, values do not depend on n on average, and of equal distributions about half are
negative. The CMMD paper calls its estimate unbiased, but the code released with it computes the V-statistic, which
counts those pairs (ibid., eq. 5): ``biased=True`` gives that number.

A U-statistic's delete-one jackknife is a closed form in row means of the kernel. So every distance comes with a table
images × deletions, for which :mod:`~seedml.per_seed.influence` has folds, intervals, halves and tests.

At unit length σ = 10 is so wide that the CMMD kernel is nearly linear: k ≈ 1 − |x − y|²/200, and CMMD is about
10·|difference of means|². It sees means of embeddings, hardly their spread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from seedml.per_seed.balance import Ints
from seedml.per_seed.influence import Influences

ROWS = 1024
"""Rows of a kernel matrix that are held at a time."""


@dataclass(frozen=True)
class Kernel:
    """A positive definite kernel and what a distance with it is called.

    Attributes:
        name: of the distance.
        of: ``n × d``, ``m × d`` float64 -> ``n × m``; up to a constant, which cancels.
        scale: the distance is this times MMD².
        unit_length: vectors are divided by their length first.

    """

    name: str
    of: Callable[[Tensor, Tensor], Tensor]
    scale: float = 1.0
    unit_length: bool = False

    def prepared(self, features: Tensor) -> Tensor:
        """Vectors ``… × n × d`` of any float as the kernel takes them, float64.

        Raises:
            ArithmeticError: NaN or infinite features, or a vector of length 0 where a direction is needed.

        """
        x = features.double()
        if self.unit_length:
            x = x / torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        if not bool(x.isfinite().all()):
            raise ArithmeticError(f"{self.name} needs finite features, and of non-zero length for CMMD")
        return x


def _cubic(x: Tensor, y: Tensor) -> Tensor:
    base = torch.addmm(x.new_ones(()), x, y.mT, alpha=1 / x.shape[-1])
    return base.square() * base


def _gaussian(x: Tensor, y: Tensor) -> Tensor:
    """Minus 1: at this width nearly all digits of the kernel are those of 1."""
    squares = x.square().sum(-1)[:, None] + y.square().sum(-1)
    return torch.expm1(torch.addmm(squares, x, y.mT, beta=-1, alpha=2) / (2 * 10.0**2))


KID = Kernel("KID", _cubic)
CMMD = Kernel("CMMD", _gaussian, scale=1000.0, unit_length=True)


@dataclass(frozen=True)
class KernelReference:
    """The reference's images, and what they have to do with each other, which is the same for every seed.

    Attributes:
        kernel: of the distance.
        features: ``m × d`` float64, prepared.
        within: mean of k over pairs of different images.
        diagonal: mean of k over images with themselves.

    """

    kernel: Kernel
    features: Tensor
    within: float
    diagonal: float

    @classmethod
    def of_samples(cls, features: Tensor, kernel: Kernel, rows: int = ROWS) -> KernelReference:
        """From vectors ``m × d``, m ≥ 2. Time m²d/2, memory ``rows × m``."""
        y = kernel.prepared(features)
        pairs, diagonal = _means_within(y, kernel, rows)
        return cls(kernel, y, float(pairs.mean()), diagonal)


def kernel_distances(
    features: Tensor, reference: KernelReference, rows: int = ROWS, biased: bool = False
) -> Influences:
    """Distances of sets ``… × n × d`` (n ≥ 3), and of each image ``(n − 1)(distance − distance without it)``.

    With row means a (over a seed's other images) and b (over the reference's) the distance is ``ā + const − 2 b̄``, and

        (n − 1)(MMD² − MMD²₋ᵢ) = 2 (n − 1)/(n − 2) (aᵢ − ā) − 2 (bᵢ − b̄)

    These sum to 0, as an unbiased estimate has no bias to find. The reference is taken as given, without an error.

    Args:
        features: any float.
        reference: what to measure from.
        rows: of kernel matrices held at a time: memory ``rows × max(n, m)`` float64, time n(n/2 + m)d a set.
        biased: add what makes the V-statistic, as the released CMMD code gives it: ``(diagonal − mean of pairs)/n``
            of either side. The table stays that of the unbiased distance.

    """
    sets = features.reshape(-1, *features.shape[-2:])
    parts = [_one_set(reference.kernel.prepared(x), reference, rows, biased) for x in sets]
    shape = features.shape[:-1]
    distances, values = (torch.stack(part) for part in zip(*parts, strict=True))
    return Influences(distances.reshape(shape[:-1]), values.reshape(shape))


def _one_set(x: Tensor, reference: KernelReference, rows: int, biased: bool) -> tuple[Tensor, Tensor]:
    n, scale = len(x), reference.kernel.scale
    if n < 3:
        raise ValueError(f"a deletion must leave two images or more, given: {n} images")
    own, diagonal = _means_within(x, reference.kernel, rows)
    across = torch.cat([reference.kernel.of(part, reference.features).mean(-1) for part in torch.split(x, rows)])
    distance = own.mean() + reference.within - 2 * across.mean()
    deletions = 2 * (n - 1) / (n - 2) * (own - own.mean()) - 2 * (across - across.mean())
    if biased:
        m = len(reference.features)
        distance = distance + (diagonal - own.mean()) / n + (reference.diagonal - reference.within) / m
    return scale * distance, scale * deletions


def _means_within(x: Tensor, kernel: Kernel, rows: int) -> tuple[Tensor, float]:
    """Mean of k between each vector and the others, ``n``, and the mean of k with itself; each pair computed once."""
    n = len(x)
    if n < 2:
        raise ValueError(f"a kernel distance needs two images or more, given: {n}")
    sums, diagonal = torch.zeros_like(x[:, 0]), 0.0
    for start in range(0, n, rows):
        block = kernel.of(x[start : start + rows], x[start:])
        stop = start + len(block)
        diagonal += float(block.diagonal().sum())
        block.diagonal().zero_()
        sums[start:stop] += block.sum(1)
        sums[stop:] += block[:, len(block) :].sum(0)
    return sums / (n - 1), diagonal / n


def random_subsets(n: int, size: int, count: int, generator: np.random.Generator) -> Ints:
    """``count`` subsets of 0 … n − 1 without repeats: ``count × size`` int64."""
    if size > n:
        raise ValueError(f"a subset of {size} of {n} images")
    return np.stack([generator.permutation(n)[:size] for _ in range(count)])


def subset_distances(features: Tensor, reference: KernelReference, own: Ints, theirs: Ints) -> Tensor:
    """Distances of subsets, as KID is usually reported: sets ``… × n × d`` -> ``K × …`` float64.

    The mean over rows is the KID of other libraries and their standard deviation its "±" (population form). That ± is
    the noise of *one subset*; over √K it is what subsampling adds to the distance of all images, and says nothing of
    how few images there are. For that take :func:`kernel_distances` and the jackknife.

    Args:
        features: any float.
        reference: what to measure from.
        own: ``K × b`` indices into the sets: the same prompts for every seed.
        theirs: ``K × c`` indices into the reference.

    """
    kernel = reference.kernel
    sets = kernel.prepared(features.reshape(-1, *features.shape[-2:]))
    rows = []
    for mine, other in zip(own, theirs, strict=True):
        y = reference.features[torch.from_numpy(other).to(sets.device)]
        within = _means_within(y, kernel, len(y))[0].mean()
        chosen = sets[:, torch.from_numpy(mine).to(sets.device)]
        rows.append(
            torch.stack(
                [_means_within(x, kernel, len(x))[0].mean() + within - 2 * kernel.of(x, y).mean() for x in chosen]
            )
        )
    return kernel.scale * torch.stack(rows).reshape(len(rows), *features.shape[:-2])
