"""Which pictures show what a seed does: the most typical and the most extreme of each seed. Positions, no pictures."""

from __future__ import annotations

import numpy as np

from seedml.per_seed.balance import Floats, Ints


def typical_and_extreme(table: Floats) -> tuple[Ints, Ints]:
    """For each seed two prompts of a table ``S × P`` (NaN where an image does not tell): ``S`` int64 each.

    What the caption does is taken out first: each prompt's mean over seeds. *Typical* is the image nearest to the
    seed's mean; *extreme* the one farthest to that side of zero on which the seed's mean lies. Of equals the first
    prompt; −1 for a seed without any value.
    """
    known = ~np.isnan(table)
    counts = known.sum(axis=0)
    means = np.divide(np.nansum(table, axis=0), counts, out=np.zeros(table.shape[1]), where=counts > 0)
    effect = np.where(known, table - means, 0.0)
    of_seed = effect.sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    side = np.where(of_seed < 0, -1.0, 1.0)
    typical = np.where(known, np.abs(effect - of_seed[:, None]), np.inf).argmin(axis=1)
    extreme = np.where(known, side[:, None] * effect, -np.inf).argmax(axis=1)
    told = known.any(axis=1)
    return np.where(told, typical, -1), np.where(told, extreme, -1)


def standard_scores(means: Floats) -> Floats:
    """How many standard deviations of the seeds each seed's mean is from the mean of all: ``S × A`` -> ``S × A``.

    NaN stays; an attribute that is the same for all seeds gives 0.
    """
    known = ~np.isnan(means)
    counts = np.maximum(known.sum(axis=0), 1)
    centred = means - np.where(known, means, 0.0).sum(axis=0) / counts
    spread = np.sqrt(np.where(known, centred**2, 0.0).sum(axis=0) / np.maximum(counts - 1, 1))
    return np.asarray(centred / np.where(spread > 1e-12 * (1 + np.abs(means[known]).max(initial=0)), spread, np.inf))


def clustered_order(scores: Floats) -> Ints:
    """Order of the rows of ``S × A`` in which neighbours are alike: leaves of an average-linkage tree.

    Branches are turned so that neighbouring leaves are as near as can be (Bar-Joseph et al. 2001). NaN counts as 0.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage

    if len(scores) < 3:
        return np.arange(len(scores))
    tree = linkage(np.nan_to_num(scores), "average", optimal_ordering=True)
    return np.asarray(leaves_list(tree), np.int64)
