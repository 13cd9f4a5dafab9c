"""Eigenvalues side by side against matrices of known eigenvalues; congruences against two products."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seedml.per_seed import eigenvalues
from seedml.per_seed.eigenvalues import congruence, congruent_eigenvalues, symmetric_eigenvalues


def _with_eigenvalues(values: np.ndarray, seed: int = 0) -> torch.Tensor:
    """A full matrix of known eigenvalues."""
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(values), len(values))))[0]
    matrix = (rotation * values) @ rotation.T
    return torch.from_numpy((matrix + matrix.T) / 2)


SPECTRA = {
    "flat": lambda d: np.ones(d),
    "power law": lambda d: np.arange(1, d + 1) ** -2.5,
    "exponential": lambda d: np.exp(-np.linspace(0, 30, d)),
    "rank deficient": lambda d: np.where(np.arange(d) < d // 3, 1.0 + np.arange(d), 0.0),
    "both signs": lambda d: np.linspace(-3, 5, d),
    "none": lambda d: np.zeros(d),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("d", [1, 2, 17, eigenvalues._LARGE - 1, eigenvalues._LARGE, eigenvalues._LARGE + 50])
def test_known_eigenvalues_of_every_matrix_in_its_place(d: int, threads: int) -> None:
    before = torch.get_num_threads()
    wanted = np.stack([np.sort(spectrum(d)) for spectrum in SPECTRA.values()]).reshape(2, 3, d)
    matrices = torch.stack([_with_eigenvalues(values, seed) for seed, values in enumerate(wanted.reshape(6, d))])
    try:
        torch.set_num_threads(threads)
        found = symmetric_eigenvalues(matrices.reshape(2, 3, d, d))
        assert torch.get_num_threads() == threads, "the workers' number of threads is not the caller's"
    finally:
        torch.set_num_threads(before)
    assert found.shape == (2, 3, d)
    assert found.dtype == torch.float64
    scales = np.maximum(1, np.abs(wanted).max(-1, keepdims=True))
    np.testing.assert_allclose(found.numpy() / scales, wanted / scales, rtol=0, atol=1e-14 * d**0.5)


@pytest.mark.parametrize("d", [20, eigenvalues._LARGE + 30])
def test_one_matrix_is_what_it_is_among_others(d: int) -> None:
    matrices = torch.stack([_with_eigenvalues(SPECTRA["power law"](d) + 0.1, seed) for seed in range(3)])
    alone = torch.stack([symmetric_eigenvalues(matrix) for matrix in matrices])
    torch.testing.assert_close(symmetric_eigenvalues(matrices), alone, rtol=1e-12, atol=0)
    assert symmetric_eigenvalues(matrices[:0]).shape == (0, d)


@pytest.mark.parametrize("d", [1, 7, 255, 256, 257, 600])
def test_a_congruence_is_the_two_products(d: int) -> None:
    generator = np.random.default_rng(d)
    factor = torch.from_numpy(np.triu(generator.normal(size=(d, d))))
    matrices = torch.stack([_with_eigenvalues(generator.normal(size=d), seed) for seed in range(2)])
    found, products = congruence(factor, matrices), factor @ matrices @ factor.mT
    torch.testing.assert_close(found, products, rtol=0, atol=1e-12 * d)
    torch.testing.assert_close(found, found.mT, rtol=0, atol=1e-12 * d)
    wanted = torch.linalg.eigvalsh(products)
    torch.testing.assert_close(congruent_eigenvalues(factor, matrices), wanted, rtol=0, atol=1e-12 * d)


@pytest.mark.parametrize("d", [10, eigenvalues._LARGE])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_raises(d: int, value: float) -> None:
    matrix = torch.eye(d, dtype=torch.float64)
    matrix[3, 1] = matrix[1, 3] = value
    with pytest.raises(ArithmeticError, match="2 entries of a matrix are NaN or infinite"):
        symmetric_eigenvalues(torch.stack([torch.eye(d, dtype=torch.float64), matrix]))
