"""Points that are far from each other, without numpy: for books of thousands of seeds, and hundreds of them taken."""

from __future__ import annotations

import math
from collections.abc import Sequence


def farthest_first(points: Sequence[Sequence[float]], count: int) -> list[int]:
    """Farthest-point sampling (Gonzalez 1985): each next point is the one farthest from all that were taken.

    Args:
        points: the first one is taken first; of equally far ones the earlier is.
        count: how many to take, at most as many as there are.

    Returns:
        Positions in the order taken.

    """
    if not points:
        return []
    taken = [0]
    nearest = [math.dist(point, points[0]) for point in points]
    while len(taken) < min(count, len(points)):
        nearest[taken[-1]] = -1.0  # never again, even where all points are one
        at = max(range(len(points)), key=nearest.__getitem__)
        taken.append(at)
        nearest = [min(old, math.dist(point, points[at])) for old, point in zip(nearest, points, strict=True)]
    return taken
