"""Additive sums of feature vectors: the only thing a Fréchet distance needs to know of its images.

A group is any set of images (a seed; a seed's prompts of one block). Sums of disjoint groups add, whether they come
from batches, tiles, ranks or earlier runs, so that every fold, half or jackknife is a sum of groups and never a second
pass over images. Does not know what a group stands for.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Sums of vectors ``y = x − origin`` in groups of any leading shape ``G``.

    The origin (any fixed point near the data, usually the reference's mean) keeps the sums of squares from drowning
    the covariance when features have a large offset. Only sums with the same origin add.

    Attributes:
        count: ``G`` int64, number of vectors.
        total: ``G × d`` float64, Σ y.
        outer: ``G × d × d`` float64, Σ y yᵀ.
        origin: ``d`` float64.

    """

    count: Tensor
    total: Tensor
    outer: Tensor
    origin: Tensor

    @classmethod
    def zeros(cls, shape: tuple[int, ...], origin: Tensor) -> Moments:
        """Empty sums for groups of leading shape ``shape``."""
        d, device = origin.shape[0], origin.device
        return cls(
            torch.zeros(shape, dtype=torch.int64, device=device),
            torch.zeros(*shape, d, dtype=torch.float64, device=device),
            torch.zeros(*shape, d, d, dtype=torch.float64, device=device),
            origin.double(),
        )

    @classmethod
    def of(cls, features: Tensor, origin: Tensor | None = None) -> Moments:
        """The sums over the next to last axis: ``G × n × d`` (any float) -> groups ``G``."""
        y = features.double()
        origin = torch.zeros(y.shape[-1], dtype=torch.float64, device=y.device) if origin is None else origin.double()
        y = y - origin
        count = torch.full(y.shape[:-2], y.shape[-2], dtype=torch.int64, device=y.device)
        return cls(count, y.sum(-2), y.mT @ y, origin)

    def add_rows(self, features: Tensor, groups: Tensor) -> None:
        """Add rows in place: ``features`` ``N × d``, ``groups`` ``N`` int64, indices into the flattened shape ``G``."""
        y = features.double() - self.origin
        d = self.origin.shape[0]
        count, total, outer = self.count.view(-1), self.total.view(-1, d), self.outer.view(-1, d, d)
        for group in torch.unique(groups).tolist():
            rows = y[groups == group]
            count[group] += len(rows)
            total[group] += rows.sum(0)
            outer[group] += rows.mT @ rows

    def __add__(self, other: Moments) -> Moments:
        assert torch.equal(self.origin, other.origin), "sums with different origins do not add"
        return Moments(self.count + other.count, self.total + other.total, self.outer + other.outer, self.origin)

    def __sub__(self, other: Moments) -> Moments:
        """The rest of a group when a part is taken out."""
        assert torch.equal(self.origin, other.origin), "sums with different origins do not subtract"
        return Moments(self.count - other.count, self.total - other.total, self.outer - other.outer, self.origin)

    def __getitem__(self, index: int | slice | Tensor | tuple[int | slice | Tensor, ...]) -> Moments:
        """Some of the groups: an index that addresses only the leading shape."""
        return Moments(self.count[index], self.total[index], self.outer[index], self.origin)

    def sum(self, axis: int) -> Moments:
        """Merge the groups along one axis of the leading shape (counted from the front)."""
        assert 0 <= axis < self.count.dim(), "the axis must be one of the leading shape"
        return Moments(self.count.sum(axis), self.total.sum(axis), self.outer.sum(axis), self.origin)

    def gaussian(self) -> tuple[Tensor, Tensor]:
        """Means ``G × d`` and unbiased covariances (divisor n − 1) ``G × d × d``, float64.

        Raises:
            ValueError: a group has fewer than two vectors.

        """
        if bool((self.count < 2).any()):
            raise ValueError(f"a covariance needs two images or more; the smallest group has {int(self.count.min())}")
        n = self.count.double()[..., None]
        mean = self.total / n
        scatter = self.outer - self.total[..., :, None] * mean[..., None, :]
        return self.origin + mean, scatter / (n[..., None] - 1)
