"""Fréchet distances of folds: every fold is a sum of prompt blocks, so no image is read a second time."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from seedml.per_seed.balance import Floats, Ints, require_equal_samples
from seedml.per_seed.frechet import Reference, frechet_distances
from seedml.per_seed.intervals import Interval, Jackknife, block_jackknife
from seedml.per_seed.moments import Moments


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
        the distance is then a square of noise, and the jackknife counts it double. Away from there they are right.
        With too few prompts for any fold they are NaN.
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
    """Sums of a cube ``S × P × D`` over each block of prompts: groups ``S × B``.

    Args:
        features: any float.
        blocks: the block of each prompt, 0 … B − 1.
        origin: ``D``, see :class:`~seedml.per_seed.moments.Moments`.

    """
    parts = [Moments.of(features[:, torch.from_numpy(blocks == b)], origin) for b in range(int(blocks.max()) + 1)]
    return Moments(
        torch.stack([part.count for part in parts], 1), torch.stack([part.total for part in parts], 1),
        torch.stack([part.outer for part in parts], 1), parts[0].origin,
    )  # fmt: skip


def fold_distances(moments: Moments, reference: Reference) -> Folds:
    """Distances from sums of ``S × B`` groups.

    Raises:
        UnequalSamplesError: seeds have different numbers of images in a block.

    """
    sizes = np.array([require_equal_samples(column.numpy()) for column in moments.count.cpu().unbind(1)])
    total = moments.sum(1)
    n = int(sizes.sum())
    full = frechet_distances(*total.gaussian(), reference).cpu().numpy()
    deleted = np.empty((0, len(full)))
    if len(sizes) > 1 and n - sizes.max() >= 2:
        folds = (total - moments[:, b] for b in range(len(sizes)))  # one at a time: S × D × D each
        deleted = np.stack([frechet_distances(*fold.gaussian(), reference).cpu().numpy() for fold in folds])
    return Folds(full, deleted, sizes, n)


def half_distances(moments: Moments, halves: Ints, reference: Reference) -> tuple[Floats, Floats]:
    """Distances from the two halves of the blocks, for K splits.

    Args:
        moments: groups ``S × B``.
        halves: ``K × B`` of 0 and 1 (:func:`~seedml.per_seed.reliability.random_halves`).
        reference: what to measure from.

    Returns:
        First and second halves, ``K × S`` float64 each.

    """
    sides = []
    for side in (0, 1):
        chosen = (moments[:, torch.from_numpy(split == side)].sum(1) for split in halves)
        sides.append(np.stack([frechet_distances(*half.gaussian(), reference).cpu().numpy() for half in chosen]))
    return sides[0], sides[1]


def deviations(distances: Floats) -> Floats:
    """Distance minus the mean over seeds, ``S`` -> ``S``: the bias that all seeds share cancels."""
    return np.asarray(distances - distances.mean())
