"""Eigenvalues of many symmetric matrices, and of their congruent forms ``U S Uᵀ``.

Half of a symmetric reduction is matrix-vector products, which wait for memory and for each other's threads: on a CPU
one matrix a core is faster than all cores on one matrix. (Reducing to a band first, by matrix products only, and from
there by LAPACK's band routines took 1.5 times as long at 2,048 dimensions.)
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

_LARGE = 256
"""Below this many dimensions a matrix is too quick to be worth a thread of its own."""
_ROWS = 256
"""Rows of a congruence taken at once: enough for full speed, few enough to leave out most of the zeros."""


def symmetric_eigenvalues(matrices: Tensor) -> Tensor:
    """Eigenvalues of symmetric matrices ``… × d × d`` float64, ascending: ``… × d`` float64.

    Raises:
        ArithmeticError: an entry is infinite or not a number.

    """
    return _eigenvalues(matrices, lambda matrix: matrix)


def congruent_eigenvalues(factor: Tensor, matrices: Tensor) -> Tensor:
    """Eigenvalues of ``U S Uᵀ``, ascending (``… × d`` float64), for an upper triangular ``U`` and symmetric ``S``.

    Raises:
        ArithmeticError: an entry is infinite or not a number.

    """
    return _eigenvalues(matrices, lambda matrix: congruence(factor, matrix))


def congruence(factor: Tensor, matrices: Tensor) -> Tensor:
    """``U S Uᵀ`` for an upper triangular ``U`` (``d × d``) and symmetric ``S`` (``… × d × d``).

    Leaves out the zeros of the triangle and computes one half of the result: 4/3 d³ operations where two full products
    need 4 d³.
    """
    product = torch.empty_like(matrices)
    for start in range(0, len(factor), _ROWS):
        rest = factor[start:, start:]
        rows = rest[:_ROWS] @ matrices[..., start:, start:] @ rest.mT
        product[..., start : start + _ROWS, start:] = rows
        product[..., start:, start : start + _ROWS] = rows.mT
    return product


def _eigenvalues(matrices: Tensor, prepare: Callable[[Tensor], Tensor]) -> Tensor:
    """Of prepared matrices: all at once, or, where they are large, side by side."""
    if not bool(torch.isfinite(matrices).all()):
        raise ArithmeticError(f"{matrices.isfinite().logical_not().sum()} entries of a matrix are NaN or infinite")

    def values(some: Tensor) -> Tensor:
        found: Tensor = torch.linalg.eigvalsh(prepare(some))
        return found

    d = matrices.shape[-1]
    if d < _LARGE or matrices.device.type != "cpu" or matrices.shape[:-2].numel() < 2:
        return values(matrices)
    return torch.stack(_side_by_side(values, matrices.reshape(-1, d, d))).reshape(matrices.shape[:-1])


def _side_by_side(function: Callable[[Tensor], Tensor], matrices: Tensor) -> list[Tensor]:
    """One matrix a core. The number of threads is set for the workers alone: torch keeps it per thread."""
    workers = torch.get_num_threads()
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(pool.map(function, matrices))
