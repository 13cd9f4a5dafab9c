"""What a logit is worth: a temperature for probabilities, and how usual a picture's score is among known seeds.

Both rest on the validation prompts, which the network was not trained on. Pure functions over arrays; knows no network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seedml.files import atomic_write_json, read_json

Floats = np.ndarray[Any, np.dtype[np.float64]]
Integers = np.ndarray[Any, np.dtype[np.int64]]

KEPT = 10_001
"""Scores that a file holds at most; of more, as many evenly spaced ones of their order."""
_BINS = 15  # of the expected calibration error, as in Guo et al.
_DRAWS = 200  # of that error if every probability were right
_BETA = (1e-3, 1e3)  # of the reciprocal temperature


@dataclass(frozen=True)
class Calibration:
    """What turns a network's logits into probabilities, and its score into a rank among pictures of known seeds."""

    temperature: float
    """Logits are divided by it."""
    scores: Floats
    """M, ascending: :func:`known_score` of validation pictures, or evenly spaced ones of their order."""
    n: int
    """Validation pictures."""
    checkpoint: str
    """SHA-256 of the network's file."""

    def probabilities(self, logits: Floats) -> Floats:
        """N × K logits -> N × K, each row adding up to 1: probabilities if the seed is one of the known ones."""
        return softmax(logits / self.temperature)

    def usualness(self, scores: Floats) -> Floats:
        """The share of pictures of known seeds with so low a score: a conformal p-value, N in (0, 1].

        Of pictures that are like the validation ones a share of at most α has a value of α or less, whatever the
        network (Vovk, Gammerman and Shafer 2005, section 2.2; Bates et al. 2023 for finding what is unlike). Pictures
        of one prompt or seed are alike, so with few validation prompts the true share scatters around α.
        """
        lower = np.searchsorted(self.scores, scores, side="right")
        return np.asarray((1 + lower) / (1 + len(self.scores)))

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        content = {"temperature": self.temperature, "n": self.n, "checkpoint": self.checkpoint}
        atomic_write_json(path, {**content, "scores": [round(float(score), 6) for score in self.scores]})

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Read it back."""
        content: Mapping[str, Any] = read_json(path)
        scores = np.asarray(content["scores"], np.float64)
        return cls(float(content["temperature"]), scores, int(content["n"]), str(content["checkpoint"]))


def calibrate(logits: Floats, labels: Integers, checkpoint: str) -> Calibration:
    """From N × K logits of validation pictures and their true classes."""
    scores = np.sort(known_score(logits))
    kept = scores[np.linspace(0, len(scores) - 1, min(len(scores), KEPT)).round().astype(np.int64)]
    return Calibration(best_temperature(logits, labels), kept, len(logits), checkpoint)


def known_score(logits: Floats) -> Floats:
    """How much a picture looks like one of a known seed: its highest logit. N × K -> N.

    The probability of the first name says less: it compares known seeds with each other, and a picture of another seed
    may be far nearer to one of them than to all others (Vaze et al. 2022, Open-Set Recognition: A Good Closed-Set
    Classifier Is All You Need, section 4).
    """
    return np.asarray(logits.max(1))


def softmax(logits: Floats) -> Floats:
    """N × K -> N × K."""
    from scipy.special import softmax as of_rows

    return np.asarray(of_rows(logits, axis=1))


def best_temperature(logits: Floats, labels: Integers) -> float:
    """The temperature that makes validation labels likeliest (Guo et al. 2017, On Calibration of Modern Networks).

    A network that is right on every validation picture would be scaled up without end. So the label gets the
    probability 1 − 1/(n+2) and the other classes share the rest: what the rule of succession expects after n right
    answers (as in Platt 1999, section 2.2). The loss is convex in 1/T.

    Args:
        logits: N × K.
        labels: N, 0 … K−1.

    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    n, k = logits.shape
    rest = 1 / (n + 2)
    own = logits[np.arange(n), labels]
    wanted = (1 - rest) * own + rest * (logits.sum(1) - own) / max(1, k - 1)

    def loss(log_beta: float) -> float:
        beta = float(np.exp(log_beta))
        return float((logsumexp(beta * logits, axis=1) - beta * wanted).mean())

    low, high = np.log(_BETA)
    return float(np.exp(-minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6}).x))


def calibration_error(probability: Floats, right: np.ndarray[Any, np.dtype[np.bool_]]) -> float:
    """Expected calibration error of first names: mean |accuracy − mean probability| over bins of equal counts.

    Args:
        probability: N, of the class named first.
        right: N, whether it was the true one.

    """
    order = np.argsort(probability, kind="stable")
    gaps = [abs(right[part].mean() - probability[part].mean()) * len(part) for part in _bins(order)]
    return float(np.sum(gaps) / len(probability))


def calibration_error_by_chance(probability: Floats, confidence: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Mean and upper limit of :func:`calibration_error` where every probability is right: it is never 0 in a sample."""
    random = np.random.default_rng(seed)
    drawn = [calibration_error(probability, random.random(len(probability)) < probability) for _ in range(_DRAWS)]
    return float(np.mean(drawn)), float(np.quantile(drawn, confidence))


def _bins(order: Integers) -> list[Integers]:
    return [part for part in np.array_split(order, _BINS) if len(part)]
