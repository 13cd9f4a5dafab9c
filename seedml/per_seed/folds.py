"""Fréchet distances of folds: every fold is a sum of prompt blocks, so no image is read a second time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch

from seedml.per_seed.balance import Floats, Ints, require_equal_samples
from seedml.per_seed.frechet import Reference, frechet_distances
from seedml.per_seed.intervals import Interval, Jackknife, block_jackknife
from seedml.per_seed.moments import Moments

_NUMBERS = 1 << 22
"""Numbers in the covariances that are decomposed in one call: 34 MB."""


class Folds(NamedTuple):
    """Distances of all seeds, from all prompts and with each block of prompts left out.

    Attributes:
        full: ``S`` float64.
        deleted: ``B × S`` float64; ``0 × S`` where a fold would be left with fewer than two prompts.
        sizes: ``B``, prompts in each block.
        n: prompts, the same for every seed.

    """

    full: Floats
    deleted: Floats
    sizes: Ints
    n: int

    def jackknife(self, statistic: Callable[[Floats], Floats | float] = lambda distances: distances) -> Jackknife:
        """The jackknife of a function of all seeds' distances, paired by prompts.

        Standard errors are conservative (too large by up to √2) where seed and reference are the same distribution:
        the distance is then a square of noise, and the jackknife counts it double
        (:func:`~seedml.per_seed.intervals.sharpened` would take that off, at the price of its own noise). Away from
        there they are right. With too few prompts for any fold they are NaN.
        """
        value = np.asarray(statistic(self.full), np.float64)
        if len(self.deleted) < 2:
            unknown = np.full_like(value, np.nan)
            return Jackknife(value, unknown, unknown, 1)
        return block_jackknife(value, np.stack([statistic(row) for row in self.deleted]), self.sizes)

    def intervals(self, confidence: float) -> Interval:
        """Distances with limits, none below 0."""
        value, low, high = self.jackknife().interval(confidence)
        return Interval(value, np.maximum(low, 0), high)


def block_moments(features: torch.Tensor, blocks: Ints, origin: torch.Tensor) -> Moments:
    """Sums of ``… × P × D`` over each block of prompts: groups ``… × B``.

    Args:
        features: any float.
        blocks: the block of each prompt, 0 … B − 1.
        origin: ``D``, see :class:`~seedml.per_seed.moments.Moments`.

    """
    groups = [torch.from_numpy(blocks == b) for b in range(int(blocks.max()) + 1)]
    parts = [Moments.of(features[..., chosen, :], origin) for chosen in groups]
    return Moments(
        torch.stack([part.count for part in parts], -1), torch.stack([part.total for part in parts], -2),
        torch.stack([part.packed for part in parts], -2), parts[0].origin,
    )  # fmt: skip


class SeedDistances(NamedTuple):
    """One seed's distances.

    Attributes:
        full: from all prompts.
        deleted: ``B`` float64, with each block left out; empty where a fold would be left with fewer than two prompts.
        halves: ``2 × K`` float64, from the first and the second halves of K splits.

    """

    full: float
    deleted: Floats
    halves: Floats


def has_folds(sizes: Ints) -> bool:
    """Whether two prompts or more are left whichever block of these sizes ``B`` is taken out."""
    return len(sizes) > 1 and int(sizes.sum() - sizes.max()) >= 2


def seed_distances(moments: Moments, reference: Reference, halves: Ints | None = None) -> SeedDistances:
    """Distances of one seed from its sums of ``B`` groups.

    Args:
        moments: groups ``B``.
        reference: what to measure from.
        halves: ``K × B`` of 0 and 1 (:func:`~seedml.per_seed.reliability.random_halves`); ``None`` = no splits.

    """
    sizes, total = moments.count.cpu().numpy(), moments.sum(0)
    full = float(frechet_distances(*total.gaussian(), reference))
    deleted = np.empty(0)
    if has_folds(sizes):
        deleted = _distances_of_groups((total - moments[b] for b in range(len(sizes))), reference)
    sides = [np.empty(0), np.empty(0)]
    if halves is not None:
        sides = [_distances_of_groups(_chosen(moments, halves, side), reference) for side in (0, 1)]
    return SeedDistances(full, deleted, np.stack(sides))


def _chosen(moments: Moments, halves: Ints, side: int) -> Iterator[Moments]:
    return (moments[torch.from_numpy(split == side)].sum(0) for split in halves)


def _distances_of_groups(groups: Iterator[Moments], reference: Reference) -> Floats:
    """Distances of single groups, as many at a time as fit."""
    at_once = max(1, _NUMBERS // reference.mean.shape[0] ** 2)
    found = []
    while some := list(islice(groups, at_once)):
        means, covariances = zip(*(group.gaussian() for group in some), strict=True)
        found.append(frechet_distances(torch.stack(means), torch.stack(covariances), reference).cpu().numpy())
    return np.concatenate(found)


def join_distances(seeds: Sequence[SeedDistances], sizes: Ints) -> Folds:
    """The folds of all seeds; ``sizes`` ``B``, prompts in each block."""
    full, deleted = np.array([seed.full for seed in seeds]), np.stack([seed.deleted for seed in seeds], axis=1)
    return Folds(full, deleted, sizes, int(sizes.sum()))


def join_halves(seeds: Sequence[SeedDistances]) -> tuple[Floats, Floats]:
    """Distances from the first and the second halves, ``K × S`` float64 each."""
    first, second = np.stack([seed.halves for seed in seeds], axis=2)
    return first, second


def fold_distances(moments: Moments, reference: Reference) -> Folds:
    """Distances from sums of ``S × B`` groups.

    Raises:
        UnequalSamplesError: seeds have different numbers of images in a block.

    """
    sizes = np.array([require_equal_samples(column.numpy()) for column in moments.count.cpu().unbind(1)])
    return join_distances([seed_distances(moments[s], reference) for s in range(len(moments.count))], sizes)


def half_distances(moments: Moments, halves: Ints, reference: Reference) -> tuple[Floats, Floats]:
    """Distances from the two halves of the blocks, for K splits.

    Args:
        moments: groups ``S × B``.
        halves: ``K × B`` of 0 and 1 (:func:`~seedml.per_seed.reliability.random_halves`).
        reference: what to measure from.

    Returns:
        First and second halves, ``K × S`` float64 each.

    """
    return join_halves([seed_distances(moments[s], reference, halves) for s in range(len(moments.count))])


def deviations(distances: Floats) -> Floats:
    """Distance minus the mean over seeds, ``S`` -> ``S``: the bias that all seeds share cancels."""
    return np.asarray(distances - distances.mean())
