"""Cholesky factors of matrices that may be numerically singular."""

import torch
from torch import Tensor

from skorch_logreg.data.low_precision import LARGE_SIDE, low_precision_dtype
from skorch_logreg.data.threads import several_threads

# added to a unit diagonal after low-precision products
SINGLE_DAMPING = 8 * torch.finfo(torch.float32).eps
_BFLOAT16_DAMPING = torch.finfo(torch.bfloat16).eps / 8


def low_precision_damping(device: torch.device, side: int) -> float:
    """Return the damping of a unit diagonal for low-precision products of ``side`` columns."""
    is_bfloat16 = low_precision_dtype(device, side) is torch.bfloat16
    return _BFLOAT16_DAMPING if is_bfloat16 else SINGLE_DAMPING


def rounding_shift(side: int) -> float:
    """Return the shift of a unit diagonal that makes a singular matrix definite in float64."""
    return 1e-14 * side


def solve_scaled(factor: Tensor, scale: Tensor, rhs: Tensor) -> Tensor:
    """Return ``scale * (factor factor')^-1 * scale * rhs`` of ``rhs`` (b, q, k), in its dtype.

    Two triangular solves: of one column, `torch.cholesky_solve` takes up to seven times as long.
    """
    scale = scale[..., None]
    forward = torch.linalg.solve_triangular(factor, (rhs * scale).to(factor.dtype), upper=False)
    out = torch.linalg.solve_triangular(factor.mT, forward, upper=True)
    return (out * scale).to(rhs.dtype)


def scaled_cholesky(matrix: Tensor, damping: float | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Factor positive semidefinite matrices after scaling their diagonal to one.

    Duplicated columns, or a constant column with an intercept, make the Hessian singular.  The
    diagonal is increased by powers of 100 until the matrix is definite, which only affects
    directions in which the gradient is zero.

    Only the lower triangles of ``matrix`` (m, q, q) are read.  ``damping`` is the smallest shift of
    the scaled diagonals; None means that for float64 rounding.  Returns the lower factors
    (m, q, q), the scales (m, q) with which `solve_scaled` inverts, and the shifts (m,) that were
    added to the scaled diagonals.
    """
    diagonal = matrix.diagonal(dim1=-2, dim2=-1)
    scale = torch.where(diagonal > 0, diagonal, 1.0).rsqrt()
    scaled = (matrix * scale[..., None]).mul_(scale[..., None, :])
    shift = rounding_shift(matrix.shape[-1]) if damping is None else damping
    with several_threads(matrix.shape[-1] >= LARGE_SIDE):
        factor, added = _damped_factor(scaled, shift)
    return factor, scale, added


def _damped_factor(matrix: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """Factor matrices of unit diagonal in place, with increasing shifts where that fails."""
    diagonal = matrix.diagonal(dim1=-2, dim2=-1)
    diagonal += least
    shift = torch.full_like(diagonal[:, 0], least)
    while True:
        factor, failed = torch.linalg.cholesky_ex(matrix)
        wrong = failed > 0
        if not any(failed.tolist()) or bool((shift[wrong] > 1e6).all()):
            return factor, shift
        more = torch.where(wrong, 99 * shift, 0.0)
        diagonal += more[:, None]
        shift += more
