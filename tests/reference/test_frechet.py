"""Fréchet distances against independent implementations, on the same features.

All of them compute in float64 here. Relative difference at most 1e-6 everywhere: rooting eigenvalues near zero costs
each of us half of the digits where covariances are singular or nearly so.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import scipy.linalg
import torch

from seedml.per_seed.frechet import Reference, frechet_distances, frechet_distances_of_samples

SMALL = [(1000, 2000, 64), (160, 3000, 64), (400, 500, 192), (50, 800, 64), (30, 40, 64)]
"""Images of the seed, images of the reference, dimensions."""
LARGER = [(10_000, 10_000, 64), (50, 2000, 192), (10_000, 10_000, 192), (50, 2000, 768)]
LARGE = [(800, 2000, 768), (10_000, 10_000, 768), (50, 4000, 2048), (2100, 4000, 2048), (10_000, 10_000, 2048)]
CASES = [*SMALL, *LARGER, *(pytest.param(case, marks=pytest.mark.slow) for case in LARGE)]


class Sets(NamedTuple):
    """Features of a seed and of the reference, their Gaussians, and our distances: via samples, via covariance."""

    x: np.ndarray
    y: np.ndarray
    gaussian: tuple[np.ndarray, np.ndarray]
    reference: tuple[np.ndarray, np.ndarray]
    ours: tuple[float, float]


def _features(n: int, m: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Correlated features of a decaying spectrum, as networks give them, shifted and stretched between the sets."""
    generator = np.random.default_rng([n, m, d])
    mixing = generator.normal(size=(d, d)) * np.exp(-np.arange(d) / (d / 4)) + 0.1 * np.eye(d)
    ours = (generator.normal(size=(n, d)) * 1.2 + 0.2) @ mixing
    theirs = generator.normal(size=(m, d)) @ mixing
    return ours, theirs


@pytest.fixture(scope="module", params=CASES, ids=str)
def sets(request: pytest.FixtureRequest) -> Sets:
    x, y = _features(*request.param)
    gaussian, other = ((z.mean(0), np.cov(z, rowvar=False)) for z in (x, y))
    reference = Reference.of_samples(torch.from_numpy(y))
    full = frechet_distances(*map(torch.from_numpy, gaussian), reference)
    thin = frechet_distances_of_samples(torch.from_numpy(x), reference)
    return Sets(x, y, gaussian, other, (float(thin), float(full)))


@pytest.mark.parametrize("sets", SMALL, indirect=True, ids=str)
def test_scipys_square_root(sets: Sets) -> None:
    (mean, ours), (other, theirs) = sets.gaussian, sets.reference
    root = scipy.linalg.sqrtm(ours @ theirs).real
    wanted = ((mean - other) ** 2).sum() + np.trace(ours + theirs - 2 * root)
    # rooting eigenvalues near zero costs us half of the digits, and sqrtm too where the product is singular
    np.testing.assert_allclose(sets.ours, wanted, rtol=1e-7 if min(len(sets.x), len(sets.y)) > len(mean) else 1e-6)


@pytest.mark.filterwarnings("ignore:The `disp` argument is deprecated:DeprecationWarning")  # clean-fid's own call
def test_clean_fid(sets: Sets) -> None:
    from cleanfid.fid import frechet_distance

    np.testing.assert_allclose(sets.ours, frechet_distance(*sets.gaussian, *sets.reference), rtol=1e-6)


def test_torch_fidelity(sets: Sets) -> None:
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    statistics = (fid_features_to_statistics(torch.from_numpy(features)) for features in (sets.x, sets.y))
    wanted = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    np.testing.assert_allclose(sets.ours, wanted, rtol=1e-6)


def test_torchmetrics(sets: Sets) -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Identity(torch.nn.Module):
        num_features = sets.x.shape[1]

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return features

    metric = FrechetInceptionDistance(feature=Identity()).set_dtype(torch.float64)
    metric.update(torch.from_numpy(sets.x), real=False)
    metric.update(torch.from_numpy(sets.y), real=True)
    # torchmetrics returns the features' precision, float64 here; its sums of raw squares cost some digits
    np.testing.assert_allclose(sets.ours, float(metric.compute()), rtol=1e-6)


def test_torchmetrics_as_it_comes_in_single_precision() -> None:
    """Without `set_dtype` its sums are float64, of float32 features, and the result is rounded to float32: 1e-6 too."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Identity(torch.nn.Module):
        num_features = 64

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return features

    x, y = (torch.from_numpy(features).float() for features in _features(1000, 2000, 64))
    metric = FrechetInceptionDistance(feature=Identity())
    metric.update(x, real=False)
    metric.update(y, real=True)
    wanted = metric.compute()
    assert wanted.dtype == torch.float32
    ours = float(frechet_distances_of_samples(x, Reference.of_samples(y)))
    assert ours == pytest.approx(float(wanted), rel=1e-6)
