"""Many seeds are tested at once: false discovery control and verdicts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from seedml.per_seed.balance import Floats

GOLDEN, INFERIOR, INCONCLUSIVE = "golden", "inferior", "inconclusive"


def q_values(p: Floats) -> Floats:
    """Benjamini-Hochberg adjusted p-values ``S`` (NaN stays NaN): reject q ≤ a, and a is the share of false finds."""
    q = np.full_like(p, np.nan, dtype=np.float64)
    known = ~np.isnan(p)
    if known.any():
        q[known] = stats.false_discovery_control(p[known], method="bh")
    return q


def verdicts(deviation: Floats, q: Floats, level: float) -> NDArray[np.str_]:
    """``golden`` / ``inferior`` / ``inconclusive`` per seed: ``S``.

    Args:
        deviation: distance minus the mean over seeds; lower is better.
        q: its adjusted p-value.
        level: accepted share of false finds among the golden and inferior.

    """
    sure = q <= level
    return np.select([sure & (deviation < 0), sure & (deviation > 0)], [GOLDEN, INFERIOR], INCONCLUSIVE)
