"""Fréchet distances of so many dimensions that covariances are taken side by side."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
import torch

from seedml.per_seed import eigenvalues
from seedml.per_seed.frechet import Reference, frechet_distances, frechet_distances_of_samples

D = eigenvalues._LARGE + 32
SPECTRA = {
    "power law": np.arange(1.0, D + 1) ** -2.5,
    "exponential": np.exp(-np.linspace(0, 20, D)),
    "flat": np.ones(D),
}
"""Eigenvalues of covariances; the first two fall by seven and nine orders of magnitude: products by twice as many."""


@lru_cache
def _rotation(seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(D, D)))[0]


def _features(n: int, spectrum: str, seed: int) -> np.ndarray:
    generator = np.random.default_rng([n, seed])
    return (generator.normal(size=(n, D)) * SPECTRA[spectrum] ** 0.5) @ _rotation(0).T


def _gaussian(x: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(x.mean(0)), torch.from_numpy(np.cov(x, rowvar=False))


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_two_covariances_with_the_same_axes_add_up_axis_by_axis(spectrum: str) -> None:
    axes, theirs = _rotation(1), SPECTRA[spectrum]
    ours = theirs * np.random.default_rng(2).uniform(0.5, 2, D)
    zero = torch.zeros(D, dtype=torch.float64)
    reference = Reference.of_gaussian(zero, torch.from_numpy((axes * theirs) @ axes.T), 10)
    found = float(frechet_distances(zero, torch.from_numpy((axes * ours) @ axes.T), reference))
    assert found == pytest.approx(((ours**0.5 - theirs**0.5) ** 2).sum(), rel=1e-9)


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("n", [100, 3 * D])
def test_singular_values_of_the_rooted_features_give_the_same(n: int, spectrum: str) -> None:
    """These need no square of anything, so they keep all digits. Differences below 1e-9 of the sum of the traces.

    Through a covariance of fewer images than dimensions 1e-8: null directions, noise each, are most of the spectrum.
    """
    sets = [_features(n, spectrum, seed) for seed in (3, 4)]
    reference = Reference.of_samples(torch.from_numpy(_features(3 * D, spectrum, 5)))
    means, covariances = (torch.stack(parts) for parts in zip(*map(_gaussian, sets), strict=True))
    rooted = [(x - x.mean(0)) @ reference.root.numpy() / (n - 1) ** 0.5 for x in sets]
    overlaps = torch.tensor([np.linalg.svd(x, compute_uv=False).sum() for x in rooted], dtype=torch.float64)
    traces = covariances.diagonal(dim1=-2, dim2=-1).sum(-1) + reference.trace
    wanted = (means - reference.mean).square().sum(-1) + traces - 2 * overlaps
    tolerance = 1e-9 * float(traces.min())
    full, null = frechet_distances(means, covariances, reference), 10 if n < D else 1
    torch.testing.assert_close(full, wanted, rtol=0, atol=null * tolerance)
    thin = frechet_distances_of_samples(torch.from_numpy(np.stack(sets)), reference)
    torch.testing.assert_close(thin, wanted, rtol=0, atol=tolerance)
    assert len(set(wanted.tolist())) == 2


@pytest.mark.parametrize("n", [100, 3 * D])
def test_a_set_has_no_distance_from_itself(n: int) -> None:
    x = _features(n, "power law", 6)
    reference = Reference.of_samples(torch.from_numpy(x))
    assert float(frechet_distances(*_gaussian(x), reference)) == 0
    assert float(frechet_distances_of_samples(torch.from_numpy(x), reference)) == 0


def test_dead_features_and_a_large_offset_change_nothing() -> None:
    x, y = (_features(3 * D, "exponential", seed)[:, : D - 40] for seed in (7, 8))
    alive = frechet_distances_of_samples(torch.from_numpy(x), Reference.of_samples(torch.from_numpy(y)))
    x, y = (np.pad(z, ((0, 0), (15, 25))) + 1e3 for z in (x, y))
    dead = frechet_distances_of_samples(torch.from_numpy(x), Reference.of_samples(torch.from_numpy(y)))
    torch.testing.assert_close(dead, alive, rtol=1e-7, atol=0)


def test_what_is_no_covariance_raises() -> None:
    reference = Reference.of_samples(torch.from_numpy(_features(3 * D, "flat", 9)))
    axes, values = _rotation(10), np.ones(D)
    values[-1] = -1e-3
    indefinite = torch.from_numpy((axes * values) @ axes.T)
    with pytest.raises(ArithmeticError, match="must be positive semidefinite"):
        frechet_distances(reference.mean, indefinite, reference)
    indefinite[5, 7] = torch.nan
    with pytest.raises(ArithmeticError, match="NaN or infinite"):
        frechet_distances(reference.mean, indefinite, reference)
