"""Fréchet distances against independent implementations, on the same features."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch

from seedml.per_seed.frechet import Reference, frechet_distances, frechet_distances_of_samples

CASES = [(1000, 2000, 64), (160, 3000, 64), (400, 500, 192), (50, 800, 64), (30, 40, 64)]
"""Images of the seed, images of the reference, dimensions."""


def _features(n: int, m: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Correlated features of a decaying spectrum, as networks give them, shifted and stretched between the sets."""
    generator = np.random.default_rng([n, m, d])
    mixing = generator.normal(size=(d, d)) * np.exp(-np.arange(d) / (d / 4)) + 0.1 * np.eye(d)
    ours = (generator.normal(size=(n, d)) * 1.2 + 0.2) @ mixing
    theirs = generator.normal(size=(m, d)) @ mixing
    return ours, theirs


def _ours(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Through the samples, and through the covariance."""
    reference = Reference.of_samples(torch.from_numpy(y))
    covariance = torch.from_numpy(np.cov(x, rowvar=False))
    full = frechet_distances(torch.from_numpy(x.mean(0)), covariance, reference)
    return float(frechet_distances_of_samples(torch.from_numpy(x), reference)), float(full)


@pytest.mark.parametrize(("n", "m", "d"), CASES)
def test_scipys_square_root(n: int, m: int, d: int) -> None:
    x, y = _features(n, m, d)
    ours, theirs = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(ours @ theirs).real
    wanted = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(ours + theirs - 2 * root)
    # rooting eigenvalues near zero costs us half of the digits, and sqrtm too where the product is singular
    np.testing.assert_allclose(_ours(x, y), wanted, rtol=1e-7 if min(n, m) > d else 1e-6)


@pytest.mark.parametrize(("n", "m", "d"), CASES)
def test_torch_fidelity(n: int, m: int, d: int) -> None:
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    x, y = _features(n, m, d)
    statistics = (fid_features_to_statistics(torch.from_numpy(features)) for features in (x, y))
    wanted = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    np.testing.assert_allclose(_ours(x, y), wanted, rtol=1e-6)


@pytest.mark.parametrize(("n", "m", "d"), CASES[:3])
def test_torchmetrics(n: int, m: int, d: int) -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Identity(torch.nn.Module):
        num_features = d

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return features

    metric = FrechetInceptionDistance(feature=Identity()).set_dtype(torch.float64)
    x, y = _features(n, m, d)
    metric.update(torch.from_numpy(x), real=False)
    metric.update(torch.from_numpy(y), real=True)
    # torchmetrics returns the features' precision, float64 here; its sums of raw squares cost some digits
    np.testing.assert_allclose(_ours(x, y), float(metric.compute()), rtol=1e-6)
