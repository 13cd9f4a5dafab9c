"""Seeds whose pictures differ most from each other: chosen by their pictures, confirmed by those of other prompts.

How far apart two seeds are is the mean distance of their pictures of one prompt. The distance of their *mean* vectors
would hide how much the pictures of each vary: sets chosen by it were no farther apart than random ones (LOG.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform

from seedml.per_seed.balance import Floats, Ints, prompt_blocks
from seedml.per_seed.intervals import Jackknife, jackknife_of

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


def spread_order(distances: Floats, chosen: Ints, first: int) -> Ints:
    """The chosen seeds in an order of which the first few are far apart, too: each next has the largest mean distance.

    Args:
        distances: ``S × S``, symmetric.
        chosen: positions.
        first: of them.

    """
    order, left = [first], [int(place) for place in chosen if place != first]
    while left:
        order.append(left.pop(int(np.argmax(distances[np.ix_(left, order)].sum(axis=1)))))
    return np.array(order, np.int64)


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


def mean_distances(vectors: Floats | Iterable[NDArray[np.floating]]) -> Floats:
    """How far apart seeds are: means over prompts, ``S × S`` float64; NaN where no prompt tells.

    A prompt at which one of two seeds is not known (NaN) is passed over for that pair.

    Args:
        vectors: ``S × P × D``, or ``S × D`` of one prompt after another.

    """
    total = known = np.zeros(())
    for of_prompt in vectors.swapaxes(0, 1) if isinstance(vectors, np.ndarray) else vectors:
        distances = squareform(pdist(of_prompt.astype(np.float64)))
        there = np.isfinite(distances)
        total, known = total + np.where(there, distances, 0.0), known + there
    with np.errstate(invalid="ignore"):
        return np.asarray(total / np.where(known > 0, known, np.nan))


def joint_distances(parts: Mapping[str, Floats], space: str) -> Floats | None:
    """Distances in a space, or in several joined by ``+``: relative to the mean pair, added.

    ``None`` where one of them is not known.

    Args:
        parts: of :func:`mean_distances`.
        space: such as ``style`` or ``features+position``.

    """
    found = [parts.get(name) for name in space.split("+")]
    known = [part / part[np.triu_indices(len(part), 1)].mean() for part in found if part is not None]
    if len(known) < len(found) or not all(np.isfinite(part).all() for part in known):
        return None
    return np.asarray(sum(known))


def pair_distances(features: Floats | Iterable[NDArray[np.floating]], sets: Sequence[Ints]) -> Floats:
    """Mean distance between images of one prompt, over the pairs of each of R sets of seeds: ``R × P``.

    The mean over all pairs of a pool is what sets drawn from it at random have on average, whatever their size.

    Args:
        features: ``S × P × D``, or ``S × D`` of one prompt after another.
        sets: positions of seeds, two or more in each.

    """
    found = []
    for of_prompt in features.swapaxes(0, 1) if isinstance(features, np.ndarray) else features:
        distances = squareform(pdist(of_prompt))
        found.append([distances[np.ix_(own, own)][np.triu_indices(len(own), 1)].mean() for own in sets])
    return np.array(found).T


def diversity_gain(among: Floats, at_random: Floats, blocks: int) -> Jackknife:
    """Relative gain in mean pairwise distance over random seeds: 0.1 is 10 % farther apart. Prompts are resampled.

    Feature distance is no human judgement, and grows with odd images too.

    Args:
        among: of the chosen seeds, and …
        at_random: … of the pool that they are compared with: ``P`` each, of :func:`pair_distances`; two or more.
        blocks: of prompts that are left out together.

    """

    def statistic(prompts: Ints) -> float:
        return float(among[prompts].mean() / at_random[prompts].mean() - 1)

    return jackknife_of(statistic, prompt_blocks(len(among), blocks))
