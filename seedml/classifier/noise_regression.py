"""How much of a seed's initial noise can be read back from a picture? Ridge regression with held-out seeds.

The picture around each latent position predicts the noise at that position, with the same weights everywhere. A seed
has one noise, so what has been learnt shows on *other seeds* only: folds are of seeds, and pictures that are tested
are of prompts that the fit never saw. Noise is white, so R² = 0 is what a picture that says nothing gives.

Pure numerics over sums: pictures come in one batch after another and are not kept. Knows no file and no network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seedml.classifier.corruptions import radial_frequencies
from seedml.summary import figure

Doubles = np.ndarray[Any, np.dtype[np.float64]]
Floats = np.ndarray[Any, np.dtype[np.float32]]

CELLS = 2
"""Picture pixels a latent position and direction, after reduction."""
MARGIN = 4
"""Pixels of the reduced picture beyond the position's own, on each side: a patch is 10 × 10, two latents around."""
FOLDS = 8
PENALTIES = tuple(float(value) for value in np.logspace(-4, 2, 13))
"""Ridge penalties tried, in units of the features' mean variance."""
BAND_EDGES = (0.0, 1.0, 2.0, 4.0, 8.0)
"""Cycles a picture at which frequency bands begin; the last one has no end."""
_FIELD_NUMBERS = 1 << 24
"""Predicted numbers in memory at a time."""


def patches(pictures: Tensor) -> Tensor:
    """What surrounds each latent position.

    Args:
        pictures: N × 3 × (2·h) × (2·w) float32.

    Returns:
        N × (h·w) × F float32, F = 3 · 10². Beyond the edge a picture is continued by its outermost pixels.

    """
    padded = F.pad(pictures, (MARGIN,) * 4, mode="replicate")
    return F.unfold(padded, CELLS + 2 * MARGIN, stride=CELLS).transpose(1, 2)


class NoiseRegression:
    """Sums of training pictures, then predictions on test pictures, both a batch of one seed at a time.

    Args:
        noise: S × C × h × w float32: the initial noise of each seed, standard normal.
        permutations: of the noise among seeds, which give the null.
        seed: of folds and permutations.

    """

    def __init__(self, noise: Tensor, permutations: int = 99, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.shape = tuple(noise.shape[1:])
        self._noise, self._count = noise, len(noise)
        self.folds = np.empty(self._count, np.int64)
        self.folds[rng.permutation(self._count)] = np.arange(self._count) % min(FOLDS, self._count)
        self._orders = np.stack([np.arange(self._count), *(rng.permutation(self._count) for _ in range(permutations))])
        channels, height, width = self.shape
        features = 3 * (CELLS + 2 * MARGIN) ** 2
        self._grams = torch.zeros(int(self.folds.max()) + 1, features, features, dtype=torch.float64)
        self._sums = torch.zeros(self._count, height * width, features)
        self._pictures = torch.zeros(self._count)
        self._weights: list[Tensor] = []
        self._centres: list[Tensor] = []
        self.penalties: list[float] = []
        bands = len(BAND_EDGES)
        self._errors = np.zeros((self._count, len(self._orders), channels, bands))
        self._powers = np.zeros_like(self._errors)
        self._predicted = torch.zeros(self._count, channels, height * width)
        self._tested = torch.zeros(self._count)

    # --- training ----------------------------------------------------------------------------------------------------

    def learn(self, place: int, pictures: Tensor) -> None:
        """Take in training pictures of one seed: N × 3 × (2·h) × (2·w) float32, about -1 … 1."""
        features = patches(pictures)
        flat = features.flatten(0, 1)
        self._grams[self.folds[place]] += (flat.T @ flat).double()
        self._sums[place] += features.sum(0)
        self._pictures[place] += len(pictures)

    def fit(self) -> None:
        """Weights of every fold, from the seeds of all other folds; the penalty from one of these folds, held out."""
        folds = len(self._grams)
        for fold in range(folds):
            inner = (fold + 1) % folds
            chosen = self._best_penalty([k for k in range(folds) if k not in (fold, inner)], inner)
            others = [k for k in range(folds) if k != fold]
            centre = self._centre(others)
            gram, products = self._moments(others, centre, self._orders)
            self._weights.append(_ridge(gram, products, [chosen])[0])
            self._centres.append(centre)
            self.penalties.append(chosen)

    def _members(self, folds: Sequence[int]) -> Tensor:
        return torch.from_numpy(np.flatnonzero(np.isin(self.folds, folds)))

    def _centre(self, folds: Sequence[int]) -> Tensor:
        """L × F: the mean features at each position."""
        members = self._members(folds)
        return self._sums[members].sum(0) / self._pictures[members].sum()

    def _moments(self, folds: Sequence[int], centre: Tensor, orders: Any) -> tuple[Tensor, Tensor]:
        """Gram matrix (F × F) of the centred features, and their products (F × P·C) with P orders of the noise.

        Both are means over pictures and positions, float64.
        """
        members = self._members(folds)
        sums, counts = self._sums[members], self._pictures[members]
        total, n = sums.sum(0).double(), counts.sum().double()
        middle = centre.double()
        cross = total.T @ middle
        gram = self._grams[list(folds)].sum(0) - cross - cross.T + n * (middle.T @ middle)
        centred = sums - counts[:, None, None] * centre
        products = [
            centred[at].T.double() @ self._targets(orders[:, place]).double()
            for at, place in enumerate(members.tolist())
        ]
        scale = n * len(centre)
        return gram / scale, torch.stack(products).sum(0) / scale

    def _targets(self, seeds: Any) -> Tensor:
        """L × (P·C): the noise of these P seeds at each position."""
        return self._noise[torch.as_tensor(seeds)].flatten(2).flatten(0, 1).T

    def _best_penalty(self, folds: Sequence[int], held_out: int) -> float:
        """The penalty whose weights from ``folds`` err least on the seeds of ``held_out``."""
        centre = self._centre(folds)
        truth = self._orders[:1]
        candidates = _ridge(*self._moments(folds, centre, truth), PENALTIES)
        gram, products = self._moments([held_out], centre, truth)
        # mean squared error but for the mean square of the noise, which is the same for all
        errors = [float(((gram @ w) * w).sum() - 2 * (w * products).sum()) for w in candidates]
        return PENALTIES[int(np.argmin(errors))]

    # --- test --------------------------------------------------------------------------------------------------------

    def test(self, place: int, pictures: Tensor) -> None:
        """Predict from test pictures of one seed, with the weights that were fitted without it; shape as in learn."""
        targets = self._orders.shape[0] * self._noise[0].numel()
        for few in torch.split(pictures, max(1, _FIELD_NUMBERS // targets)):
            self._test(place, few)

    def _test(self, place: int, pictures: Tensor) -> None:
        fold = int(self.folds[place])
        centred = patches(pictures) - self._centres[fold]
        channels, height, width = self.shape
        predicted = centred @ self._weights[fold].float()  # N × L × (P·C)
        self._predicted[place] += predicted[..., :channels].sum(0).T
        self._tested[place] += len(pictures)
        fields = predicted.transpose(1, 2).reshape(len(pictures), -1, channels, height, width).numpy()
        truths = self._noise[torch.as_tensor(self._orders[:, place])].numpy()
        self._errors[place] += band_power(fields - truths).sum(0)
        self._powers[place] += len(pictures) * band_power(truths)

    def result(self, confidence: float = 0.95, resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
        """R² from one picture and from all of a seed's together, over all, by channel, by band, and by both.

        Intervals resample seeds. They take the folds' weights as given, so the noise of the fit is not in them.
        """
        present = (self._tested > 0).numpy()
        errors, powers = self._errors[present], self._powers[present]
        even = np.full(len(errors), 1 / len(errors))
        weights = np.random.default_rng(seed).multinomial(len(errors), even, resamples).astype(np.float64)
        table = Scores(errors, powers, weights, confidence)
        channels = range(self.shape[0])
        bands = [(low, high) for low, high in zip(BAND_EDGES, (*BAND_EDGES[1:], None), strict=True)]
        return {
            "one_picture": table.entry(),
            "all_pictures": self._joint(present, weights, confidence).entry(),
            "by_channel": [{"channel": c, **table.entry(c)} for c in channels],
            "by_band": [
                {"above_cycles": low, "up_to_cycles": high, **table.entry(None, b)}
                for b, (low, high) in enumerate(bands)
            ],
            "by_channel_and_band": [[table.entry(c, b) for b in range(len(bands))] for c in channels],
            "penalties": self.penalties,
        }

    def _joint(self, present: Any, weights: Doubles, confidence: float) -> Scores:
        """Scores of the mean prediction over each seed's test pictures; the null is of single pictures only."""
        mean = (self._predicted / self._tested.clamp(min=1)[:, None, None]).reshape(self._noise.shape)
        truth = self._noise.numpy()[present][:, None]
        return Scores(band_power(mean.numpy()[present][:, None] - truth), band_power(truth), weights, confidence)


def _ridge(gram: Tensor, products: Tensor, penalties: Sequence[float]) -> list[Tensor]:
    """Weights (F × targets, float64) of each penalty, which is in units of the features' mean variance."""
    values, vectors = torch.linalg.eigh(gram)
    rotated, unit = vectors.T @ products, float(gram.diagonal().mean())
    floor = 1e-12 * unit or 1e-30  # features that never vary have no weight
    return [vectors @ (rotated / (values.clamp(min=0) + penalty * unit + floor)[:, None]) for penalty in penalties]


def band_power(fields: Floats) -> Doubles:
    """The sum of squares in each frequency band: … × h × w float32 -> … × bands float64.

    The transform (orthonormal DCT-II) keeps sums of squares and leaves white noise white.
    """
    from scipy.fft import dctn

    height, width = fields.shape[-2:]
    squares = np.square(dctn(fields, axes=(-2, -1), norm="ortho")).reshape(*fields.shape[:-2], height * width)
    frequencies = radial_frequencies(height, width).ravel()
    power: Doubles = squares.astype(np.float64) @ _membership(frequencies)
    return power


def _membership(frequencies: Floats) -> Doubles:
    """Coefficients × bands: 1 where the coefficient is in the band."""
    band = np.searchsorted(BAND_EDGES, frequencies, side="right") - 1
    members: Doubles = np.eye(len(BAND_EDGES))[band]
    return members


def _one(index: int | None) -> slice:
    """Only this one, or all."""
    return slice(None) if index is None else slice(index, index + 1)


@dataclass(frozen=True)
class Scores:
    """Squared errors and what they compare with."""

    errors: Doubles
    """S × (1 + permutations) × C × bands: sums of squared errors; the first is of the true noise."""
    powers: Doubles
    """The same of the noise itself."""
    weights: Doubles
    """B × S: how often each seed is in a resample."""
    confidence: float

    def entry(self, channel: int | None = None, band: int | None = None) -> dict[str, Any]:
        """R² of one channel and band, or of all of them, with its interval and what permuted noise gives.

        ``chance`` is the mean over permutations, ``chance_high`` their highest and ``p`` the permutation test's.
        """
        chosen = (slice(None), slice(None), _one(channel), _one(band))
        errors, powers = (side[chosen].sum((2, 3)) for side in (self.errors, self.powers))
        if not powers[:, 0].sum():  # latents too small for the band
            return figure(0.0, n=0)
        r2 = 1 - errors.sum(0) / powers.sum(0)
        resampled = 1 - (self.weights @ errors[:, 0]) / (self.weights @ powers[:, 0])
        tail = (1 - self.confidence) / 2
        low, high = (float(np.quantile(resampled, level)) for level in (tail, 1 - tail))
        null = r2[1:]
        chance: dict[str, object] = {} if not len(null) else {
            "chance": float(null.mean()), "chance_high": float(null.max()),
            "p": float((1 + (null >= r2[0]).sum()) / (1 + len(null))),
        }  # fmt: skip
        return figure(float(r2[0]), low, high, len(errors)) | chance
