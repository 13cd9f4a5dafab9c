"""Does the classifier notice pictures of seeds that it never saw? Pure functions over logits; knows no network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from seedml.classifier.answers import Answers
from seedml.classifier.calibration import Calibration, Floats, Integers, known_score, softmax
from seedml.classifier.evidence import exact_share
from seedml.summary import figure

_RESAMPLES = 1000
_ROC_POINTS = 101


SCORES: dict[str, Callable[[Floats], Floats]] = {
    "highest_logit": known_score,
    "highest_probability": lambda logits: np.asarray(softmax(logits).max(1)),
    "energy": lambda logits: _log_sum(logits),
}
"""Ways to tell known from unknown: the first is the one in use, the others are reported beside it.

Hendrycks and Gimpel 2017 take the highest probability, Liu et al. 2020 the (negative) energy.
"""


def _log_sum(logits: Floats) -> Floats:
    from scipy.special import logsumexp

    return np.asarray(logsumexp(logits, axis=1))


def open_set_figures(
    known: Answers, unseen: Answers, calibration: Calibration, *, false_refusals: float, confidence: float = 0.95
) -> dict[str, Any]:
    """How well pictures of known and of unseen seeds are told apart, on the same held-out prompts.

    Args:
        known: of held-out pictures of known seeds.
        unseen: of pictures of other seeds.
        calibration: of this network.
        false_refusals: share of known pictures that may be refused; the limit of ``usualness``.
        confidence: of the intervals.

    Returns:
        ``auroc`` (0.5 by chance), ``unseen_refused`` and ``known_refused`` (``false_refusals`` each, by chance),
        ``roc`` (known refused, unseen refused), ``auroc_by_score``, and how many seeds and prompts that was.

    """
    prompts = np.intersect1d(known.prompt_ids, unseen.prompt_ids)
    known = known.of(np.isin(known.prompt_ids, prompts))
    unseen = unseen.of(np.isin(unseen.prompt_ids, prompts))
    scores = {name: (score(known.logits), score(unseen.logits)) for name, score in SCORES.items()}
    first = scores[next(iter(SCORES))]
    low, high = auroc_interval(*first, known, unseen, confidence)
    refused = [calibration.usualness(part) <= false_refusals for part in first]
    found = {
        "auroc": figure(auroc(*first), low, high, len(unseen.seeds)) | {"chance": 0.5},
        "unseen_refused": _refused(refused[1], unseen, false_refusals, confidence),
        "known_refused": _refused(refused[0], known, false_refusals, confidence),
        "auroc_by_score": {name: auroc(*parts) for name, parts in scores.items()},
        "roc": roc(*first),
    }
    counts = {"known_seeds": known.seeds, "unseen_seeds": unseen.seeds, "prompts": prompts}
    return found | {name: len(np.unique(values)) for name, values in counts.items()}


def _refused(
    refused: np.ndarray[Any, np.dtype[np.bool_]], answers: Answers, by_chance: float, confidence: float
) -> dict[str, Any]:
    """The share that is refused, with the wider of two limits at each end.

    Clopper and Pearson's are exact, but take pictures as independent. A seed's pictures may all be refused or none:
    those of other seeds and prompts are found as in :func:`auroc_interval`, and cannot be where none or all are.
    """
    exact: dict[str, Any] = exact_share(int(refused.sum()), len(refused), confidence)
    random, drawn = np.random.default_rng(0), []
    seeds, prompts = _Clusters(answers.seeds), _Clusters(answers.prompt_ids)
    for _ in range(_RESAMPLES):
        weights = seeds.weights(random) * prompts.weights(random)
        if weights.sum():
            drawn.append(float(weights @ refused / weights.sum()))
    tail = (1 - confidence) / 2
    low, high = (float(end) for end in np.quantile(drawn, [tail, 1 - tail]))
    return exact | {"low": min(exact["low"], low), "high": max(exact["high"], high), "chance": by_chance}


def auroc(known: Floats, unseen: Floats) -> float:
    """The share of (known, unseen) pairs in which the known one has the higher score; ties count half."""
    return _weighted_auroc(known, unseen)(np.ones(len(known)), np.ones(len(unseen)))


def auroc_interval(
    known_scores: Floats, unseen_scores: Floats, known: Answers, unseen: Answers, confidence: float = 0.95
) -> tuple[float, float]:
    """Percentile interval of :func:`auroc` over other seeds and other prompts.

    Pictures of one seed are alike, and so are those of one prompt: known seeds, unseen seeds and prompts are each drawn
    again with replacement, and a picture counts as often as its seed times its prompt (the pigeonhole bootstrap, Owen
    2007, Annals of Applied Statistics 1). Where no pair is in the wrong order no resample can show one; the lower
    limit is then that of the share of unseen seeds all of whose pictures are told apart (Clopper and Pearson).
    """
    random = np.random.default_rng(0)
    area = _weighted_auroc(known_scores, unseen_scores)
    own, other = _Clusters(known.seeds), _Clusters(unseen.seeds)
    prompts = _Clusters(np.concatenate([known.prompt_ids, unseen.prompt_ids]))
    drawn = []
    for _ in range(_RESAMPLES):
        shared = prompts.weights(random)
        weights = own.weights(random) * shared[: len(known_scores)], other.weights(random) * shared[len(known_scores) :]
        if weights[0].sum() and weights[1].sum():
            drawn.append(area(*weights))
    tail = (1 - confidence) / 2
    low, high = (float(end) for end in np.quantile(drawn, [tail, 1 - tail]))
    if low < 1:
        return low, high
    whole: Any = exact_share(other.count, other.count, confidence)["low"]
    return float(whole), 1.0


class _Clusters:
    """Groups of pictures that are drawn again together."""

    def __init__(self, names: Integers) -> None:
        found, self._places = np.unique(names, return_inverse=True)
        self.count = len(found)

    def weights(self, random: np.random.Generator) -> Floats:
        """N: how often each picture's group was drawn."""
        drawn = random.multinomial(self.count, np.full(self.count, 1 / self.count))
        return drawn[self._places].astype(np.float64)


def _weighted_auroc(known: Floats, unseen: Floats) -> Callable[[Floats, Floats], float]:
    """A function of the weights of both: sorting is done once."""
    levels, places = np.unique(np.concatenate([known, unseen]), return_inverse=True)
    own, other = places[: len(known)], places[len(known) :]

    def area(own_weights: Floats, other_weights: Floats) -> float:
        above = np.bincount(own, own_weights, len(levels))
        below = np.bincount(other, other_weights, len(levels))
        won = above @ (below.cumsum() - below / 2)
        return float(won / (above.sum() * below.sum()))

    return area


def roc(known: Floats, unseen: Floats) -> list[list[float]]:
    """Shares refused at thresholds that refuse 0, 1, … 100 % of the known: (known refused, unseen refused)."""
    shares = np.linspace(0, 1, _ROC_POINTS)
    limits = np.quantile(known, shares)
    limits[0] = -np.inf  # nobody is refused
    return [
        [round(float(share), 4), float((unseen <= limit).mean())] for share, limit in zip(shares, limits, strict=True)
    ]
