"""Which seeds are better or worse than the average seed, and how sure is that?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seedml.per_seed.balance import Floats, Ints
from seedml.per_seed.folds import Folds, deviations
from seedml.per_seed.intervals import Interval
from seedml.per_seed.multiplicity import GOLDEN, INFERIOR, q_values, verdicts


class Ranking(NamedTuple):
    """Seeds by Fréchet distance on the selection prompts.

    Attributes:
        distances: ``S`` with limits.
        q: ``S``, adjusted p-values of "this seed is like the average seed".
        verdict: ``S``: golden, inferior or inconclusive.
        order: ``S`` positions, best first.
        n: prompts.

    """

    distances: Interval
    q: Floats
    verdict: NDArray[np.str_]
    order: Ints
    n: int

    def best(self, count: int) -> Ints:
        """The ``count`` positions of smallest distance, whatever the verdict; never more than half of the seeds."""
        return self.order[: min(count, len(self.order) // 2)]

    def worst(self, count: int) -> Ints:
        """The ``count`` positions of largest distance, worst first; never more than half of the seeds."""
        return self.order[::-1][: min(count, len(self.order) // 2)]

    def golden(self, count: int) -> Ints:
        """Those of the best that are better than the average seed beyond doubt; may be none."""
        return self._sure(self.best(count), GOLDEN)

    def inferior(self, count: int) -> Ints:
        """Those of the worst that are worse than the average seed beyond doubt; may be none."""
        return self._sure(self.worst(count), INFERIOR)

    def _sure(self, positions: Ints, verdict: str) -> Ints:
        return np.asarray(positions[self.verdict[positions] == verdict])


def rank_seeds(folds: Folds, confidence: float) -> Ranking:
    """Distances, tests with false discovery control at ``1 − confidence``, verdicts and order.

    The test is of the paired difference to the mean seed, by the jackknife over prompt blocks: it is right whether
    other seeds have effects or not, and conservative where no seed has any.
    """
    difference = folds.jackknife(deviations)
    q = q_values(difference.p_value())
    return Ranking(
        distances=folds.intervals(confidence),
        q=q,
        verdict=verdicts(difference.value, q, 1 - confidence),
        order=np.argsort(folds.full, kind="stable"),
        n=folds.n,
    )
