"""Additive sums of feature vectors: the only thing a Fréchet distance needs to know of its images.

A group is any set of images (a seed; a seed's prompts of one block). Sums of disjoint groups add, whether they come
from batches, tiles, ranks or earlier runs, so that every fold, half or jackknife is a sum of groups and never a second
pass over images. Does not know what a group stands for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from seedml.files import atomic_path


def packed_size(d: int) -> int:
    """Numbers in a symmetric ``d × d`` matrix: d (d + 1) / 2."""
    return d * (d + 1) // 2


def pack(matrices: Tensor) -> Tensor:
    """Symmetric matrices ``… × d × d`` with each number once: ``… × d(d+1)/2``.

    Rectangular full packed form (Gustavson et al. 2010, ACM Trans. Math. Softw. 37, 18): the two triangles on the
    diagonal fill one rectangle and the square between them follows, so that packing copies blocks and needs no index.
    """
    h = matrices.shape[-1] // 2
    k = matrices.shape[-1] - h
    triangles = matrices.new_zeros(*matrices.shape[:-2], k, h + 1)
    triangles[..., :h, 1:] = matrices[..., :h, :h].triu()
    triangles[..., :, :k] += matrices[..., h:, h:].tril()
    return torch.cat([triangles.flatten(-2), matrices[..., :h, h:].flatten(-2)], -1)


def unpack(packed: Tensor, d: int) -> Tensor:
    """The inverse of :func:`pack`: ``… × d(d+1)/2`` -> ``… × d × d``."""
    h = d // 2
    k = d - h
    shape = packed.shape[:-1]
    triangles = packed[..., : k * (h + 1)].reshape(*shape, k, h + 1)
    between = packed[..., k * (h + 1) :].reshape(*shape, h, k)
    upper, lower = triangles[..., :h, 1:].triu(), triangles[..., :, :k].tril()
    matrices = packed.new_empty(*shape, d, d)
    matrices[..., :h, :h] = upper + upper.triu(1).mT
    matrices[..., h:, h:] = lower + lower.tril(-1).mT
    matrices[..., :h, h:] = between
    matrices[..., h:, :h] = between.mT
    return matrices


@dataclass(frozen=True)
class Moments:
    """Sums of vectors ``y = x − origin`` in groups of any leading shape ``G``.

    The origin (any fixed point near the data, usually the reference's mean) keeps the sums of squares from drowning
    the covariance when features have a large offset. Only sums with the same origin add.

    Attributes:
        count: ``G`` int64, number of vectors.
        total: ``G × d`` float64, Σ y.
        packed: ``G × d(d+1)/2`` float64, Σ y yᵀ with each number once (:func:`pack`): 16.8 MB a group at d = 2,048.
        origin: ``d`` float64.

    """

    count: Tensor
    total: Tensor
    packed: Tensor
    origin: Tensor

    @classmethod
    def zeros(cls, shape: tuple[int, ...], origin: Tensor) -> Moments:
        """Empty sums for groups of leading shape ``shape``."""
        d, device = origin.shape[0], origin.device
        return cls(
            torch.zeros(shape, dtype=torch.int64, device=device),
            torch.zeros(*shape, d, dtype=torch.float64, device=device),
            torch.zeros(*shape, packed_size(d), dtype=torch.float64, device=device),
            origin.double(),
        )

    @classmethod
    def of(cls, features: Tensor, origin: Tensor | None = None) -> Moments:
        """The sums over the next to last axis: ``G × n × d`` (any float) -> groups ``G``."""
        y = features.double()
        origin = torch.zeros(y.shape[-1], dtype=torch.float64, device=y.device) if origin is None else origin.double()
        y = y - origin
        count = torch.full(y.shape[:-2], y.shape[-2], dtype=torch.int64, device=y.device)
        return cls(count, y.sum(-2), pack(y.mT @ y), origin)

    @classmethod
    def load(cls, path: Path) -> Moments:
        """Sums that :meth:`save` wrote."""
        from safetensors.torch import load_file

        arrays = load_file(path)
        return cls(arrays["count"], arrays["total"], arrays["packed"], arrays["origin"])

    def save(self, path: Path) -> None:
        """Keep the sums; the file is there whole or not at all."""
        from safetensors.torch import save_file

        with atomic_path(path) as temporary:
            arrays = {"count": self.count, "total": self.total, "packed": self.packed, "origin": self.origin}
            save_file({name: array.cpu().contiguous() for name, array in arrays.items()}, temporary)

    @property
    def outer(self) -> Tensor:
        """``G × d × d`` float64, Σ y yᵀ."""
        return unpack(self.packed, self.origin.shape[0])

    def add_rows(self, features: Tensor, groups: Tensor) -> None:
        """Add rows in place: ``features`` ``N × d``, ``groups`` ``N`` int64, indices into the flattened shape ``G``."""
        y = features.double() - self.origin
        d = self.origin.shape[0]
        count, total, packed = self.count.view(-1), self.total.view(-1, d), self.packed.view(-1, packed_size(d))
        for group in torch.unique(groups).tolist():
            rows = y[groups == group]
            count[group] += len(rows)
            total[group] += rows.sum(0)
            packed[group] += pack(rows.mT @ rows)

    def __add__(self, other: Moments) -> Moments:
        assert torch.equal(self.origin, other.origin), "sums with different origins do not add"
        return Moments(self.count + other.count, self.total + other.total, self.packed + other.packed, self.origin)

    def __sub__(self, other: Moments) -> Moments:
        """The rest of a group when a part is taken out."""
        assert torch.equal(self.origin, other.origin), "sums with different origins do not subtract"
        return Moments(self.count - other.count, self.total - other.total, self.packed - other.packed, self.origin)

    def __getitem__(self, index: int | slice | Tensor | tuple[int | slice | Tensor, ...]) -> Moments:
        """Some of the groups: an index that addresses only the leading shape."""
        return Moments(self.count[index], self.total[index], self.packed[index], self.origin)

    def sum(self, axis: int) -> Moments:
        """Merge the groups along one axis of the leading shape (counted from the front)."""
        assert 0 <= axis < self.count.dim(), "the axis must be one of the leading shape"
        return Moments(self.count.sum(axis), self.total.sum(axis), self.packed.sum(axis), self.origin)

    def gaussian(self) -> tuple[Tensor, Tensor]:
        """Means ``G × d`` and unbiased covariances (divisor n − 1) ``G × d × d``, float64.

        Raises:
            ValueError: a group has fewer than two vectors.

        """
        if bool((self.count < 2).any()):
            raise ValueError(f"a covariance needs two images or more; the smallest group has {int(self.count.min())}")
        n = self.count.double()[..., None]
        mean = self.total / n
        scatter = self.outer.sub_(self.total[..., :, None] * mean[..., None, :])
        return self.origin + mean, scatter.div_(n[..., None] - 1)
