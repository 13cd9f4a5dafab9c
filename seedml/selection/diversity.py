"""Seeds that differ most from each other: chosen by their mean features, confirmed by their images on other prompts."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform

from seedml.per_seed.balance import Floats, Ints, prompt_blocks
from seedml.per_seed.intervals import Jackknife, jackknife_of


def seed_layouts(features: Floats | Iterable[NDArray[np.floating]]) -> Floats:
    """Where each seed is: mean over prompts, in units of the spread within a seed: ``S × D``.

    All seeds have the same prompts, so what captions say cancels, and what the seed does remains.

    Args:
        features: ``S × P × D``, or ``P × D`` of one seed after another.

    """
    both = [(own.mean(axis=0, dtype=np.float64), own.std(axis=0, dtype=np.float64)) for own in features]
    means, deviations = np.stack(both, axis=1)
    within = deviations.mean(axis=0)
    return np.asarray(means / np.where(within > 0, within, 1.0))


def farthest_points(points: Floats, first: int, count: int, allowed: Ints) -> Ints:
    """Farthest-point sampling (Gonzalez 1985): each next point is the one farthest from all that were taken.

    Args:
        points: ``S × D``.
        first: position of the first.
        count: how many to take, at most as many as allowed.
        allowed: positions that may be taken; holds ``first``.

    Returns:
        Positions in the order taken.

    """
    taken = [first]
    nearest = np.linalg.norm(points - points[first], axis=1)
    open_ = np.zeros(len(points), bool)
    open_[allowed] = True
    while len(taken) < min(count, len(allowed)):
        open_[taken] = False
        candidates = np.flatnonzero(open_)
        taken.append(int(candidates[nearest[candidates].argmax()]))
        nearest = np.minimum(nearest, np.linalg.norm(points - points[taken[-1]], axis=1))
    return np.array(taken, np.int64)


def pair_distances(features: Floats | Iterable[NDArray[np.floating]], chosen: Ints) -> tuple[Floats, Floats]:
    """Mean distance between images of one prompt, over pairs of chosen seeds and over pairs of all seeds: ``P`` each.

    The mean over all pairs is what sets of seeds drawn at random have on average, whatever their size.

    Args:
        features: ``S × P × D``, or ``S × D`` of one prompt after another.
        chosen: positions of seeds.

    """
    among, all_pairs = [], []
    for of_prompt in features.swapaxes(0, 1) if isinstance(features, np.ndarray) else features:
        distances = pdist(of_prompt)
        all_pairs.append(distances.mean())
        among.append(squareform(distances)[np.ix_(chosen, chosen)][np.triu_indices(len(chosen), 1)].mean())
    return np.array(among), np.array(all_pairs)


def diversity_gain(features: Floats | Iterable[NDArray[np.floating]], chosen: Ints, blocks: int) -> Jackknife:
    """Relative gain in mean pairwise distance over random seeds: 0.1 is 10 % farther apart. Prompts are resampled.

    Needs two chosen seeds and two prompts. Feature distance is no human judgement, and grows with odd images too.
    ``features`` as for :func:`pair_distances`.
    """
    among, all_pairs = pair_distances(features, chosen)

    def statistic(prompts: Ints) -> float:
        return float(among[prompts].mean() / all_pairs[prompts].mean() - 1)

    return jackknife_of(statistic, prompt_blocks(len(among), blocks))
