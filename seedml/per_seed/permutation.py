"""Is there a seed effect at all? Seed labels are shuffled within each prompt.

If the seed does nothing, the images of one prompt are exchangeable between seeds, and a shuffled study is as good as
the true one. This is exact for any statistic and any distribution of images, and keeps the prompts' own differences.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from seedml.per_seed.balance import Floats, Ints
from seedml.per_seed.frechet import Reference, frechet_distances_of_samples

_CHUNK = 512
"""Prompts shuffled at a time, so that they stay in the processor's cache."""


def label_permutations(n_seeds: int, n_prompts: int, count: int, generator: np.random.Generator) -> Iterator[Ints]:
    """``count`` arrays ``S × P`` int64 whose columns are independent permutations of 0 … S − 1."""
    identity = np.repeat(np.arange(n_seeds)[:, None], n_prompts, axis=1)
    for _ in range(count):
        yield generator.permuted(identity, axis=0)


def frechet_null(
    features: torch.Tensor, reference: Reference, permutations: Iterable[Ints], device: str = "cpu"
) -> Floats:
    """Fréchet distances of shuffled seeds: features ``S × P × D`` -> ``B × S`` float64.

    A shuffled seed is a mixture of all seeds; where seeds differ much it is more diverse than any true seed, so the
    null's *level* is not the study's: only its spread is to be compared.
    """
    cube, reference = features.to(device).double(), reference.to(device)
    prompts = torch.arange(cube.shape[1], device=device)
    distances = [
        frechet_distances_of_samples(cube[torch.from_numpy(labels).to(device), prompts], reference).cpu().numpy()
        for labels in permutations
    ]
    return np.stack(distances)


def mean_null(table: Floats, permutations: Iterable[Ints]) -> Floats:
    """Seed means of shuffled seeds: ``S × P × C`` (no NaN) -> ``B × S × C``."""
    prompts = np.arange(table.shape[1])
    return np.stack([table[labels, prompts].mean(axis=1) for labels in permutations])


def spread(values: Floats) -> Floats:
    """Largest minus smallest over seeds, the next to last axis of ``… × S × C``."""
    return np.asarray(values.max(axis=-2) - values.min(axis=-2))


def permutation_p(observed: Floats | float, null: Floats) -> Floats:
    """P-value (1 + #{null ≥ observed}) / (1 + B) over the first axis of ``B × …`` (Phipson & Smyth 2010): never 0."""
    reached = null >= np.asarray(observed) - 1e-12 * np.abs(observed)  # sums of the same numbers in another order
    return np.asarray((1 + reached.sum(axis=0)) / (1 + len(null)))


def deviation_p(means: Floats, null: Floats) -> Floats:
    """Two-sided p-value of each seed's deviation from the mean of all seeds: means ``S``, null ``B × S`` -> ``S``.

    Under the shuffle every seed's mean has the same distribution, so the null is pooled over seeds: B·S values, enough
    for Benjamini-Hochberg over S seeds. Seeds with a true effect widen it: conservative.
    """
    return pooled_p(means - means.mean(), null - null.mean(axis=1, keepdims=True), 1 + np.abs(means))


def pooled_p(observed: Floats, null: Floats, scale: Floats | float = 1.0) -> Floats:
    """Two-sided p-values of numbers ``S`` that share one null ``B × S``; ``scale`` is what rounding is relative to."""
    pooled = np.sort(np.abs(null).ravel())
    below = np.searchsorted(pooled, np.abs(observed) - 1e-12 * scale, side="left")
    return np.asarray((1 + len(pooled) - below) / (1 + len(pooled)))


class Deviations(NamedTuple):
    """How far seeds are from the mean of all seeds on the prompts they have, against the shuffle of their labels.

    Attributes:
        value: ``S``, mean over a seed's prompts of its value less the mean of all seeds there; NaN without any value.
        error: ``S``, standard deviation of that under the shuffle, exactly.
        null: ``B × S``, the same of shuffled seeds.

    """

    value: Floats
    error: Floats
    null: Floats

    def p_values(self) -> Floats:
        """Two-sided, ``S``: deviations over their errors against those of all shuffled seeds together.

        A seed that lacks cells has a larger error, which the division takes out. Seeds with a true effect widen the
        null: conservative.
        """
        error = np.where(self.error > 0, self.error, np.inf)
        known = ~np.isnan(self.value)
        p = pooled_p(self.value[known] / error[known], self.null[:, known] / error[known])
        found = np.full_like(self.value, np.nan)
        found[known] = p
        return found

    def spread_p(self) -> float:
        """P-value of largest minus smallest."""
        known = ~np.isnan(self.value)
        chance = spread(self.null[:, known, None])[:, 0]
        return float(permutation_p(spread(self.value[known, None])[0], chance))


def shuffled_deviations(table: Floats, count: int, generator: np.random.Generator) -> Deviations:
    """Deviations of ``S × P`` (NaN where there is no value; a value at every prompt), and of ``count`` shuffles.

    Within each prompt the values there are, in the order of seeds, are rotated by a random number of places. Rotations
    are a group, so the test is exact (Hemerik & Goeman 2018, TEST 27), and each shuffled seed is drawn as a full
    permutation would draw it; but a rotation is a copy of memory, twenty times as fast.
    """
    known = ~np.isnan(table)
    counts = np.maximum(known.sum(axis=1), 1)
    present = known.sum(axis=0)
    centred = np.where(known, table, 0.0)
    centred = np.where(known, table - centred.sum(axis=0) / present, 0.0)
    variance = (centred**2).sum(axis=0) / present
    null = np.zeros((count, len(table)))
    for start in range(0, table.shape[1], _CHUNK):
        chunk = slice(start, start + _CHUNK)
        null += _rotated_sums(centred[:, chunk].T, known[:, chunk].T, count, generator)
    value = np.where(known.any(axis=1), centred.sum(axis=1) / counts, np.nan)
    return Deviations(value, np.sqrt(known @ variance) / counts, null / counts)


def _rotated_sums(values: Floats, known: NDArray[np.bool_], count: int, generator: np.random.Generator) -> Floats:
    """Sums over prompts of rotated values ``P × S`` (0 where not ``known``): ``count × S``."""
    prompts, seeds = values.shape
    present = known.sum(axis=1)
    rank = np.cumsum(known, axis=1) - 1  # the how manieth of its prompt a cell is
    place = (np.arange(2 * seeds) % present[:, None]).astype(np.int64)
    packed = np.take_along_axis(values, np.argsort(~known, axis=1, kind="stable"), axis=1)
    ring = np.take_along_axis(packed, place, axis=1)  # twice round, so that a rotation is a window
    windows = np.lib.stride_tricks.sliding_window_view(ring, seeds, axis=1)
    turns = generator.integers(0, present, size=(count, prompts))
    complete, rows = bool(known.all()), np.arange(prompts)
    sums = np.empty((count, seeds))
    for index, turn in enumerate(turns):
        rotated = windows[rows, turn]
        sums[index] = (rotated if complete else np.take_along_axis(rotated, rank, axis=1) * known).sum(axis=0)
    return sums
