"""Two-stage eigenvalues against LAPACK's direct ones and against matrices of known eigenvalues."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch

from seedml.per_seed import eigenvalues
from seedml.per_seed.eigenvalues import congruence, symmetric_eigenvalues, to_band


def _with_eigenvalues(values: np.ndarray, seed: int = 0) -> torch.Tensor:
    """A full matrix of known eigenvalues."""
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(values), len(values))))[0]
    matrix = (rotation * values) @ rotation.T
    return torch.from_numpy((matrix + matrix.T) / 2)


def _dense(band: torch.Tensor) -> np.ndarray:
    """The symmetric matrix of which these are the lower diagonals."""
    lower = sum(np.diag(row[: band.shape[1] - offset], -offset) for offset, row in enumerate(band.numpy()))
    return lower + np.tril(lower, -1).T


SPECTRA = {
    "flat": lambda d: np.ones(d),
    "power law": lambda d: np.arange(1, d + 1) ** -2.5,
    "exponential": lambda d: np.exp(-np.linspace(0, 30, d)),
    "rank deficient": lambda d: np.where(np.arange(d) < d // 3, 1.0 + np.arange(d), 0.0),
    "both signs": lambda d: np.linspace(-3, 5, d),
    "one": lambda d: np.eye(d)[0],
    "none": lambda d: np.zeros(d),
}


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("width", [1, 2, 5, 16])
@pytest.mark.parametrize("d", [1, 2, 3, 6, 16, 17, 18, 33, 40])
def test_a_band_keeps_the_eigenvalues(d: int, width: int, spectrum: str) -> None:
    values = SPECTRA[spectrum](d)
    matrix = _with_eigenvalues(values)
    before = matrix.clone()
    band = to_band(matrix, width)
    assert torch.equal(matrix, before), "the argument is not for writing"
    assert band.shape == (min(width, d - 1) + 1, d)
    found = np.linalg.eigvalsh(_dense(band))
    np.testing.assert_allclose(found, np.sort(values), rtol=0, atol=1e-14 * d * max(1, np.abs(values).max()))


@pytest.mark.parametrize("kind", ["diagonal", "tridiagonal", "blocks"])
def test_a_matrix_that_is_a_band_already(kind: str) -> None:
    """All columns that a panel would clear are zero: reflections of length zero."""
    rng, d = np.random.default_rng(1), 50
    if kind == "blocks":
        matrix = scipy.linalg.block_diag(*(np.full((10, 10), float(k)) for k in range(5)))
    else:
        matrix = np.diag(rng.normal(size=d)) + (np.diag(rng.normal(size=d - 1), 1) if kind == "tridiagonal" else 0)
    matrix = np.triu(matrix) + np.triu(matrix, 1).T
    found = np.linalg.eigvalsh(_dense(to_band(torch.from_numpy(matrix), 4)))
    np.testing.assert_allclose(found, np.linalg.eigvalsh(matrix), rtol=0, atol=1e-13)


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_large_matrices_take_two_stages_and_agree_with_known_eigenvalues(spectrum: str) -> None:
    d = eigenvalues._LARGE + 5
    wanted = [np.sort(SPECTRA[spectrum](d)), np.sort(2 * SPECTRA["power law"](d))]
    both = torch.stack([_with_eigenvalues(values, seed) for seed, values in enumerate(wanted)])
    found = symmetric_eigenvalues(both[:, None])
    assert found.shape == (2, 1, d)
    assert found.dtype == torch.float64
    for row, values in zip(found[:, 0].numpy(), wanted, strict=True):
        assert (np.diff(row) >= 0).all()
        np.testing.assert_allclose(row, values, rtol=0, atol=1e-14 * max(1, np.abs(values).max()) * d**0.5)


def test_both_sides_of_the_size_limit_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    matrices = torch.stack([_with_eigenvalues(SPECTRA["power law"](90), seed) for seed in range(3)])
    direct = symmetric_eigenvalues(matrices)
    monkeypatch.setattr(eigenvalues, "_LARGE", 1)
    torch.testing.assert_close(symmetric_eigenvalues(matrices), direct, rtol=0, atol=1e-15)


@pytest.mark.parametrize("d", [1, 7, 255, 256, 257, 600])
def test_a_congruence_is_the_two_products(d: int) -> None:
    generator = np.random.default_rng(d)
    factor = torch.from_numpy(np.triu(generator.normal(size=(d, d))))
    matrices = torch.stack([_with_eigenvalues(generator.normal(size=d), seed) for seed in range(2)])
    found = congruence(factor, matrices)
    torch.testing.assert_close(found, factor @ matrices @ factor.mT, rtol=0, atol=1e-12 * d)
    torch.testing.assert_close(found, found.mT, rtol=0, atol=1e-13 * d)


@pytest.mark.parametrize("d", [10, eigenvalues._LARGE])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_raises(d: int, value: float) -> None:
    matrix = torch.eye(d, dtype=torch.float64)
    matrix[3, 1] = matrix[1, 3] = value
    with pytest.raises(ArithmeticError, match="2 entries of a matrix are NaN or infinite"):
        symmetric_eigenvalues(matrix)
