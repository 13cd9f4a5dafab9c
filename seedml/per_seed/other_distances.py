"""Distances beside FID that a study may ask for, seed by seed: FID at infinitely many images, KID, CMMD.

Each costs a pass over the features. All give folds of single prompts, so that they have the intervals and tests of FID.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seedml.errors import UserError
from seedml.per_seed.balance import Cube, Floats
from seedml.per_seed.extrapolation import extrapolated_distances, subset_sizes
from seedml.per_seed.folds import Folds
from seedml.per_seed.frechet import Reference
from seedml.per_seed.influence import first_order_folds
from seedml.per_seed.kernel_distances import CMMD, KID, KernelReference, kernel_distances
from seedml.progress import track

FID_INFINITY = "fid_infinity"
KERNELS = {"kid": KID, "cmmd": CMMD}
"""Column -> kernel."""


def other_folds(
    name: str, cube: Cube, reference: Reference, features: Callable[[], NDArray[np.float32]], seed: int
) -> Folds:
    """The folds of one distance, leaving out one prompt each, on the reference's device.

    Args:
        name: ``fid_infinity``, ``kid`` or ``cmmd``.
        cube: the study's features.
        reference: what Fréchet distances are measured from.
        features: gives the reference's vectors ``M × D``, for kernels.
        seed: of the subsets of prompts behind the extrapolation; the same subsets for all seeds.

    Raises:
        UserError: too few prompts; a reference without vectors.

    """
    prompts = cube.shape[1]
    fewest = 8 if name == FID_INFINITY else 3  # a quarter has to have a covariance; a fold needs a pair
    if prompts < fewest:
        raise UserError(
            f"statistics.distances: {name} needs more prompts", given=prompts, legal=f"{fewest} or more",
            remedy="leave it out, or take more prompts",
        )  # fmt: skip
    device = reference.mean.device
    rows: Callable[[Tensor], Floats]
    if name == FID_INFINITY:
        rows = partial(_extrapolated, reference=reference, seed=seed)
    else:
        vectors = torch.from_numpy(features()).to(device)
        rows = partial(_kernel, reference=KernelReference.of_samples(vectors, KERNELS[name]))
    found = [
        rows(torch.from_numpy(own).to(device)) for own in track(cube.by_seed(), name, len(cube.seeds), unit="seeds")
    ]
    table = np.stack(found)
    return first_order_folds(table[:, 0], table[:, 1:], np.ones(prompts, np.int64))


def _kernel(images: Tensor, reference: KernelReference) -> Floats:
    """Distance and deletions, ``1 + P``."""
    distance, values = kernel_distances(images, reference)
    return torch.cat([distance[None], values]).cpu().numpy()


def _extrapolated(images: Tensor, reference: Reference, seed: int) -> Floats:
    """Limit and influences, ``1 + P``: the generator starts anew for each seed, so that all have the same subsets."""
    found = extrapolated_distances(images[None], reference, subset_sizes(len(images)), np.random.default_rng([seed, 5]))
    return np.concatenate([found.limit, found.influences[0]])
