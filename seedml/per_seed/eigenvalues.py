"""Eigenvalues of large symmetric matrices, through matrix products.

The usual reduction to three diagonals is half matrix-vector products, which wait for memory. Reducing to a *band*
first needs matrix products only (Bischof, Lang and Sun 2000, "A framework for symmetric band reduction", ACM TOMS
26(4), algorithm 807), and a band is small: LAPACK takes it to three diagonals and to its eigenvalues quickly. Both
steps are orthogonal, so that the result is as exact as the direct one: errors of a few d·ε of the largest eigenvalue.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import scipy.linalg
import torch
from torch import Tensor

_BAND = 32
"""Width of the band; 16 to 48 take the same time at 2,048 dimensions on two cores."""
_LARGE = 768
"""Below this many dimensions the direct reduction stays in the processor's cache and is as fast."""
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


def _eigenvalues(matrices: Tensor, prepare: Callable[[Tensor], Tensor]) -> Tensor:
    """Of prepared matrices: all at once, or, where they are large, side by side."""
    if not bool(torch.isfinite(matrices).all()):
        raise ArithmeticError(f"{matrices.isfinite().logical_not().sum()} entries of a matrix are NaN or infinite")
    d = matrices.shape[-1]
    if d < _LARGE or matrices.device.type != "cpu":
        values: Tensor = torch.linalg.eigvalsh(prepare(matrices))
        return values
    rows = _side_by_side(lambda matrix: _in_two_stages(prepare(matrix)), matrices.reshape(-1, d, d))
    return torch.stack(rows).reshape(matrices.shape[:-1])


def _side_by_side(function: Callable[[Tensor], Tensor], matrices: Tensor) -> list[Tensor]:
    """One matrix a core: threads that share a product wait for each other, at every one of a hundred products."""
    if len(matrices) == 1:
        return [function(matrices[0])]
    workers = torch.get_num_threads()
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(pool.map(function, matrices))


def _in_two_stages(matrix: Tensor) -> Tensor:
    return torch.from_numpy(scipy.linalg.eigvals_banded(to_band(matrix, _BAND).numpy(), lower=True))


def to_band(matrix: Tensor, width: int) -> Tensor:
    """A band matrix with the eigenvalues of a symmetric ``d × d`` float64: its ``width + 1`` lower diagonals.

    Takes ``width`` columns at a time: an orthogonal ``Q = I − V T Vᵀ`` (compact WY, Schreiber and Van Loan 1989) turns
    what is below the band into a triangle inside it, and the rest ``A`` into ``Qᵀ A Q = A − V Wᵀ − W Vᵀ`` with
    ``Y = A V T`` and ``W = Y − ½ V Tᵀ Vᵀ Y``: 2 d³ operations in all, every one of them in a matrix product.

    Returns:
        ``(width + 1) × d`` float64, row j is the j-th diagonal below the main one, filled up with zeros.

    """
    work, d = matrix.clone(), matrix.shape[0]
    for start in range(0, d - width - 1, width):
        panel = work[start + width :, start : start + width]
        rest = work[start + width :, start + width :]
        packed, scales = torch.geqrf(panel)  # R on and above the diagonal, V below it
        panel[:width] = packed[:width]  # what V leaves in there is outside the band and never read
        v = packed[:, : len(scales)].tril(-1)
        v.diagonal().fill_(1.0)
        t = _wy_factor(v, scales)
        y = rest @ (v @ t)
        w = y - 0.5 * v @ (t.mT @ (v.mT @ y))
        rest.addmm_(torch.cat([v, w], 1), torch.cat([w, v], 1).mT, alpha=-1.0)
    band = matrix.new_zeros(min(width, d - 1) + 1, d)
    for offset, diagonal in enumerate(band):
        diagonal[: d - offset] = work.diagonal(-offset)
    return band


def _wy_factor(v: Tensor, scales: Tensor) -> Tensor:
    """The triangle T in ``Π (I − τᵢ vᵢ vᵢᵀ) = I − V T Vᵀ``: ``D (I + triu(VᵀV, 1) D)⁻¹`` with ``D = diag τ``."""
    unit = (v.mT @ v).triu(1) * scales + torch.eye(len(scales), dtype=v.dtype, device=v.device)
    t: Tensor = torch.linalg.solve_triangular(unit, torch.diag(scales), upper=True, left=False)
    return t


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
