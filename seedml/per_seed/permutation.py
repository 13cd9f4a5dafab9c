"""Is there a seed effect at all? Seed labels are shuffled within each prompt.

If the seed does nothing, the images of one prompt are exchangeable between seeds, and a shuffled study is as good as
the true one. This is exact for any statistic and any distribution of images, and keeps the prompts' own differences.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from seedml.per_seed.balance import Floats, Ints
from seedml.per_seed.frechet import Reference, frechet_distances_of_samples


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
    observed = np.abs(means - means.mean())
    pooled = np.sort(np.abs(null - null.mean(axis=1, keepdims=True)).ravel())
    below = np.searchsorted(pooled, observed - 1e-12 * (1 + np.abs(means)), side="left")
    return np.asarray((1 + len(pooled) - below) / (1 + len(pooled)))
