"""Linear algebra that the penalties' quadratic problems share."""

from collections.abc import Callable

import torch
from torch import Tensor

_ROUNDING = 1e-13  # of the largest eigenvalue


def eliminated(
    hessian: Tensor,
    slope: Tensor,
    start: Tensor,
    free: Tensor,
    step_of_held: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor],
) -> Tensor:
    """Minimise ``1/2 d'Hd + slope'd + penalty(start + d)`` where some coordinates have no penalty.

    ``d_free = -H_ff^-1 (slope_f + H_fp d_p)`` leaves a problem in the others only, which
    ``step_of_held(hessian, slope, start, held)`` solves; ``held`` (q,) says which they are.
    """
    held = ~free
    if not bool(free.any()):
        return step_of_held(hessian, slope, start, held)
    # a constant for all classes has no curvature, but for rounding
    inverse = torch.linalg.pinv(hessian[free][:, free], rtol=_ROUNDING, hermitian=True)
    cross = inverse @ hessian[free][:, held]
    base = inverse @ slope[free]
    step = torch.empty_like(slope)
    step[held] = step_of_held(
        hessian[held][:, held] - hessian[held][:, free] @ cross,
        slope[held] - hessian[held][:, free] @ base,
        start[held],
        held,
    )
    step[free] = -base - cross @ step[held]
    return step


def solve(matrix: Tensor, rhs: Tensor) -> Tensor:
    """Solve a positive semidefinite system, with the least shift that makes it definite.

    Coordinates without curvature stay where they are; nan where the matrix is not finite.
    """
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if not failed:
        return torch.cholesky_solve(rhs[:, None], factor)[:, 0]
    diagonal = matrix.diagonal()
    # rounding may leave less than none: no scale makes a curvature of that
    scale = torch.where(diagonal > 0, diagonal.clamp(min=1e-300).rsqrt(), 0.0)
    scaled = matrix * scale[:, None] * scale
    if not bool(scaled.isfinite().all()):
        return torch.full_like(rhs, torch.nan)
    shift = 1e-14
    while True:
        damped = scaled.clone()
        damped.diagonal().add_(shift)
        factor, failed = torch.linalg.cholesky_ex(damped)
        if not failed:
            return torch.cholesky_solve((rhs * scale)[:, None], factor)[:, 0] * scale
        shift *= 100
