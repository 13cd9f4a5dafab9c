"""Fréchet statistics of large studies: one decomposition a seed in place of one a fold, one seed in memory at a time.

Folds and halves are sums over a table of what each image does to its seed's distance; the permutation test shuffles a
table of what each image does to the distance of all images together (:mod:`~seedml.per_seed.influence`). Small studies
take every fold's distance by itself (:mod:`~seedml.per_seed.folds`), which is the check of this.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seedml.per_seed.balance import Cube, Floats, Ints
from seedml.per_seed.folds import Folds, block_moments, join_distances, seed_distances
from seedml.per_seed.frechet import Reference
from seedml.per_seed.influence import Gradient, deletions_of_samples, first_order_folds, influences_of_samples
from seedml.per_seed.kept import KeptRows
from seedml.per_seed.moments import Moments
from seedml.progress import track

EXACT, LINEAR = "exact", "linear"
EXACT_DIMENSION = 256
"""Largest dimension in which ``auto`` decomposes every fold and every shuffled seed."""
EXACT_NUMBERS = 1 << 27
"""Most numbers in a study's features (1 GB in float64) for which ``auto`` does so: it shuffles them in memory."""


def resampling_for(wanted: str, cube: Cube) -> str:
    """``exact`` or ``linear``; ``auto`` is exact up to d = 256 where the study's features fit into memory."""
    if wanted != "auto":
        return wanted
    seeds, prompts, d = cube.shape
    return EXACT if d <= EXACT_DIMENSION and seeds * prompts * d <= EXACT_NUMBERS else LINEAR


def image_distances(images: Tensor, reference: Reference) -> Floats:
    """One seed's distance and what its images do to it, from ``P × D``, P ≥ 2: ``1 + P``.

    The latter are ``(P − 1)(distance − distance without the image)``; of two images, which leave no distance without
    one, the derivative takes its place.
    """
    of_samples = deletions_of_samples if len(images) > 2 else influences_of_samples
    distance, values = of_samples(images, reference)
    row: Floats = torch.cat([distance[None], values]).cpu().numpy()
    if not np.isfinite(row).all():
        raise ArithmeticError("deletions of a seed's images are not finite; are there NaN or infinite features?")
    return row


def _on(images: NDArray[np.floating], device: torch.device) -> Tensor:
    return torch.from_numpy(images).to(device)


def _folds(rows: Floats) -> Folds:
    """From ``S × (1 + P)`` of :func:`image_distances`."""
    return first_order_folds(rows[:, 0], rows[:, 1:], np.ones(rows.shape[1] - 1, np.int64))


def _kept_or(kept: KeptRows, seed: int, make: Callable[[], Floats]) -> Floats:
    row = kept.get(seed)
    if row is None:
        row = make()
        kept.put(seed, row)
    return row


class FirstOrder(NamedTuple):
    """What a study's distances and the tables behind them say.

    Attributes:
        folds: leave out one prompt each.
        deletions: ``S × P``, of each image on its seed's distance (:class:`ImageDistances`).
        pooled: ``S × P``, influences of each image on the distance of all seeds' images together.

    """

    folds: Folds
    deletions: Floats
    pooled: Floats


def first_order(cube: Cube, reference: Reference, folder: Path | None = None) -> FirstOrder:
    """Two passes over the features, one seed in memory at a time, on the reference's device.

    Args:
        cube: the study's features.
        reference: what to measure from.
        folder: where rows of finished seeds are kept, for a pass that goes on after this one was stopped.

    """
    seeds, prompts, _ = cube.shape
    own, pooled = np.empty((seeds, 1 + prompts)), np.empty((seeds, prompts))
    total = Moments.zeros((), reference.mean)
    kept = KeptRows(folder / "distances" if folder else None, 1 + prompts)
    for seed in track(range(seeds), "distances", unit="seeds"):
        images = _on(cube.of_seed(seed), reference.mean.device)
        total = total + Moments.of(images, reference.mean)
        own[seed] = _kept_or(kept, seed, partial(image_distances, images, reference))
    gradient = Gradient.at(*total.gaussian(), reference)
    kept = KeptRows(folder / "pooled" if folder else None, prompts)
    for seed in track(range(seeds), "all seeds together", unit="seeds"):
        pooled[seed] = _kept_or(kept, seed, partial(_pooled_influences, cube, seed, gradient))
    return FirstOrder(_folds(own), own[:, 1:], pooled)


def _pooled_influences(cube: Cube, seed: int, gradient: Gradient) -> Floats:
    images = _on(cube.of_seed(seed), gradient.mean.device)
    return gradient.influences(images, len(images)).cpu().numpy()


def folds_of_cube(cube: Cube, reference: Reference, blocks: Ints, resampling: str) -> Folds:
    """Folds of a study, one seed in memory at a time.

    Args:
        cube: the study's features.
        reference: what to measure from, and on which device.
        blocks: the block of each prompt; where ``resampling`` is linear every prompt is a block of its own.
        resampling: ``exact`` or ``linear``.

    """
    device = reference.mean.device
    if resampling == LINEAR:
        images = track(cube.by_seed(), "distances", total=len(cube.seeds), unit="seeds")
        return _folds(np.stack([image_distances(_on(own, device), reference) for own in images]))
    moments = (block_moments(_on(own, device), blocks, reference.mean) for own in cube.by_seed())
    return join_distances([seed_distances(own, reference) for own in moments], np.bincount(blocks))
