"""Sets of seeds: random ones that share no seed, and the FID of any. Knows no images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from seedml.per_seed.balance import Cube, Ints
from seedml.per_seed.first_order import LINEAR, folds_of_cube, image_distances, resampling_for
from seedml.per_seed.folds import Folds
from seedml.per_seed.influence import first_order_folds

if TYPE_CHECKING:
    from seedml.config import StatisticsConfig
    from seedml.per_seed.frechet import Reference


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
