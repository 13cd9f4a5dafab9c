"""Sets of seeds: diverse ones chosen by where seeds are in a space, random ones that share no seed, and their FID.

Choosing is deterministic: a given starting point, and ties go to the smaller position. Knows no images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from seedml.per_seed.balance import Cube, Floats, Ints
from seedml.per_seed.first_order import LINEAR, folds_of_cube, image_distances, resampling_for
from seedml.per_seed.folds import Folds
from seedml.per_seed.influence import first_order_folds

if TYPE_CHECKING:
    from seedml.config import StatisticsConfig
    from seedml.per_seed.frechet import Reference

FARTHEST_POINTS, K_MEDOIDS, MAX_SUM = "farthest_points", "k_medoids", "max_sum"
METHODS = (FARTHEST_POINTS, K_MEDOIDS, MAX_SUM)


def diverse_set(distances: Floats, method: str, first: int, count: int, allowed: Ints) -> Ints:
    """Positions of ``count`` seeds that differ much from each other; fewer where fewer are allowed.

    Args:
        distances: ``S × S``, symmetric.
        method: ``farthest_points`` takes the outermost, each next one farthest from its nearest (Gonzalez 1985);
            ``k_medoids`` those in the middle of groups; ``max_sum`` those with the largest mean distance of pairs.
        first: the seed to start from, in ``allowed``; ``k_medoids`` needs none.
        count: how many.
        allowed: positions that may be taken.

    """
    places = np.sort(allowed)
    among, start = distances[np.ix_(places, places)], int(np.searchsorted(places, first))
    if method == K_MEDOIDS:
        return np.asarray(places[k_medoids(among, count)])
    grow = np.min if method == FARTHEST_POINTS else np.sum
    chosen = [start]
    while len(chosen) < min(count, len(places)):
        reach = np.asarray(grow(among[:, chosen], axis=1), np.float64)
        reach[chosen] = -np.inf
        chosen.append(int(reach.argmax()))
    if method == MAX_SUM:
        chosen = _improved(chosen, lambda some: -float(among[np.ix_(some, some)].sum()), len(places))
    return np.asarray(places[chosen])


def k_medoids(distances: Floats, count: int) -> Ints:
    """Partitioning around medoids: ``count`` points with the least sum of distances to the nearest of them.

    BUILD, then SWAP until no swap lowers the sum (Kaufman & Rousseeuw 1990, "Finding Groups in Data", ch. 2): a local
    minimum, the same every time.

    Args:
        distances: ``N × N``, symmetric.
        count: medoids; all points where it is N or more.

    Returns:
        Positions, ascending.

    """
    n = len(distances)

    def cost(medoids: Sequence[int]) -> float:
        return float(distances[:, list(medoids)].min(axis=1).sum())

    medoids: list[int] = []
    while len(medoids) < min(count, n):
        others = [point for point in range(n) if point not in medoids]
        medoids.append(others[int(np.argmin([cost([*medoids, point]) for point in others]))])
    return np.array(sorted(_improved(medoids, cost, n)), np.int64)


def _improved(chosen: list[int], cost: Callable[[Sequence[int]], float], n: int) -> list[int]:
    """``chosen`` of ``0 … n − 1`` after the swaps that each lower the cost most, until none does."""
    while True:
        others = [point for point in range(n) if point not in chosen]
        swaps = [[*chosen[:at], point, *chosen[at + 1 :]] for at in range(len(chosen)) for point in others]
        costs = np.array([cost(swap) for swap in swaps])
        now = cost(chosen)
        if not swaps or costs.min() >= now - 1e-9 * max(1.0, abs(now)):
            return chosen
        chosen = swaps[int(costs.argmin())]


def random_sets(positions: Ints, size: int, generator: np.random.Generator) -> list[Ints]:
    """As many sets of ``size`` as there can be without a seed in two, so that they are independent of each other.

    At least one, of fewer seeds where there are fewer than ``size``.
    """
    order = generator.permutation(positions)
    return [np.sort(order[start : start + size]) for start in range(0, max(1, len(order) - size + 1), size)]


def set_folds(
    features: NDArray[np.float32], sets: Sequence[Ints], blocks: Ints, reference: Reference,
    statistics: StatisticsConfig,
) -> Folds:  # fmt: skip
    """Fréchet distances of the pictures of whole sets of seeds, with each block of prompts left out.

    Args:
        features: ``S × P × D``.
        sets: R sets of K positions, all of one size: distances of unequal n must not be compared.
        blocks: the block of each prompt, ``P``.
        reference: what to measure from.
        statistics: exact or linear folds.

    """
    seeds, prompts, _ = features.shape
    cells = np.arange(seeds * prompts).reshape(seeds, prompts)
    return picture_folds(features, np.stack([cells[chosen].ravel() for chosen in sets]), blocks, reference, statistics)


def picture_folds(
    features: NDArray[np.float32], pictures: Ints, blocks: Ints, reference: Reference, statistics: StatisticsConfig
) -> Folds:
    """Fréchet distances of any sets of pictures, all prompts as often as each other.

    Args:
        features: ``S × P × D``.
        pictures: ``R × M``, positions in the flattened ``S · P``: K of every prompt in every row.
        blocks: the block of each prompt, ``P``.
        reference: what to measure from.
        statistics: exact or linear folds.

    """
    seeds, prompts, dimension = features.shape
    of_picture = blocks[pictures % prompts]
    order = np.argsort(of_picture, axis=1, kind="stable")
    pictures, of_picture = np.take_along_axis(pictures, order, 1), np.take_along_axis(of_picture, order, 1)
    assert (of_picture == of_picture[0]).all(), "the same prompts in every set"
    flat = features.reshape(seeds * prompts, dimension)
    cube = Cube(flat, pictures, np.arange(len(pictures)), np.arange(pictures.shape[1]), ())
    if resampling_for(statistics.resampling, cube) != LINEAR:
        return folds_of_cube(cube, reference, of_picture[0], "exact")
    return _linear_folds(cube, of_picture[0], reference)


def _linear_folds(cube: Cube, blocks: Ints, reference: Reference) -> Folds:
    """Folds of blocks of prompts from what each picture does to its set's distance: one decomposition a set."""
    import torch

    device = reference.mean.device
    rows = np.stack([image_distances(torch.from_numpy(own).to(device), reference) for own in cube.by_seed()])
    sizes = np.bincount(blocks)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    return first_order_folds(rows[:, 0], np.add.reduceat(rows[:, 1:], starts, axis=1), sizes)
