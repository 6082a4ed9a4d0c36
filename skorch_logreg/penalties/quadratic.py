"""Linear algebra that the penalties' quadratic problems share."""

from collections.abc import Callable

import torch
from torch import Tensor

_ROUNDING = 1e-13  # of the largest eigenvalue


def eliminated(
    hessian: Tensor,
    linear: Tensor,
    start: Tensor,
    free: Tensor,
    minimise: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor],
) -> Tensor:
    """Minimise ``1/2 x'Hx - c'x + penalty(x)`` where some coordinates have no penalty.

    ``x_free = H_ff^-1 (c_f - H_fp x_p)`` leaves a problem in the others alone, which
    ``minimise(hessian, linear, start, held)`` solves; ``held`` (q,) says which they are.
    """
    held = ~free
    if not bool(free.any()):
        return minimise(hessian, linear, start, held)
    # a constant for all classes has no curvature, but for rounding
    inverse = torch.linalg.pinv(hessian[free][:, free], rtol=_ROUNDING, hermitian=True)
    cross = inverse @ hessian[free][:, held]
    base = inverse @ linear[free]
    x = torch.empty_like(linear)
    x[held] = minimise(
        hessian[held][:, held] - hessian[held][:, free] @ cross,
        linear[held] - hessian[held][:, free] @ base,
        start[held],
        held,
    )
    x[free] = base - cross @ x[held]
    return x


def solve(matrix: Tensor, rhs: Tensor) -> Tensor:
    """Solve a positive semidefinite system, with the least shift that makes it definite."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if not failed:
        return torch.cholesky_solve(rhs[:, None], factor)[:, 0]
    scale = matrix.diagonal().clamp(min=1e-300).rsqrt()
    scaled = matrix * scale[:, None] * scale
    shift = 1e-14
    while True:
        damped = scaled.clone()
        damped.diagonal().add_(shift)
        factor, failed = torch.linalg.cholesky_ex(damped)
        if not failed:
            return torch.cholesky_solve((rhs * scale)[:, None], factor)[:, 0] * scale
        shift *= 100
