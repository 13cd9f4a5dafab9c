"""What picking the best of many seeds gives by luck alone: every list of top seeds on the page prints it."""

from __future__ import annotations

import numpy as np


def expected_highest_share(share: float, images: int, seeds: int) -> float:
    """Mean of the highest share among ``seeds`` equal seeds of ``images`` images each, all with the true ``share``.

    Images are taken as independent: E[max] = 1/n · Σ_{k<n} (1 − F(k)^seeds) with F the binomial distribution function.
    Pictures of one prompt are alike, so shares vary a little differently in truth; this is a yardstick and no test.
    """
    from scipy.stats import binom

    below = binom.cdf(np.arange(images), images, share)
    return float(np.sum(1.0 - below**seeds) / images)
