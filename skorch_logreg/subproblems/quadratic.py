"""Quadratic functions of a step, and the linear systems of their minimisers."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

_EPS = torch.finfo(torch.float64).eps
MAX_STEPS = 20  # maximum number of steps of an iteration that may fail
MAX_STALLS = 4  # steps without progress after which the precision is taken to be exhausted
MANY = 256  # coordinates, from which a problem is not solved to the last digit
ROUNDING = 1e-14  # curvature relative to the largest one that may be rounding error


@dataclass(frozen=True)
class Quadratic:
    """Function ``1/2 d'Hd + slope'd`` of a step ``d`` from ``start``, each of shape (q,).

    ``hessian`` is a positive semidefinite H (q, q), ``slope`` the gradient at the start, and
    ``rounding`` the rounding error of an entry of it, if it is known.  ``left`` is the share of its
    first error that a solution may leave where it takes many steps to get rid of it.
    """

    hessian: Tensor
    slope: Tensor
    start: Tensor
    rounding: float = math.inf
    left: float = 0.0

    def value(self, step: Tensor, image: Tensor) -> Tensor:
        """Return the value at a step, whose product with the Hessian is ``image``."""
        return (image / 2 + self.slope) @ step

    def with_ridge(self, ridge: Tensor) -> "Quadratic":
        """Add ``1/2 sum_j ridge_j (start_j + d_j)^2``."""
        if not bool((ridge > 0).any()):
            return self
        hessian = self.hessian.clone()
        hessian.diagonal().add_(ridge)
        return replace(self, hessian=hessian, slope=self.slope + ridge * self.start)

    def eliminate(self, free: Tensor, minimise: Callable[["Quadratic"], Tensor]) -> Tensor:
        """Minimise the sum with a penalty of the coordinates that are not ``free`` (q,).

        ``d_free = -H_ff^-1 (slope_f + H_fp d_p)`` leaves a problem in the others only, which
        ``minimise`` solves.
        """
        if not bool(free.any()):
            return minimise(self)
        held, hessian, slope = ~free, self.hessian, self.slope
        root = inverse_root(hessian[free][:, free], slope[free], self.rounding)
        cross, base = root.T @ hessian[free][:, held], root.T @ slope[free]
        step = torch.empty_like(slope)
        reduced = replace(
            self,
            hessian=hessian[held][:, held] - cross.T @ cross,
            slope=slope[held] - cross.T @ base,
            start=self.start[held],
        )
        step[held] = minimise(reduced)
        step[free] = -root @ (base + cross @ step[held])
        return step


def inverse_root(matrix: Tensor, slope: Tensor, rounding: float) -> Tensor:
    """Return R such that ``R R'`` inverts a semidefinite matrix where it has curvature or slope.

    A constant for all classes has neither.  Differences of columns far from zero have so little
    curvature that it may be rounding, but then a slope, and a step is taken there.  Products with
    ``R R'`` itself would lose the digits of all directions with more curvature.
    """
    if not bool(matrix.isfinite().all()):
        return torch.full_like(matrix, torch.nan)
    values, vectors = torch.linalg.eigh(matrix)
    least = max(ROUNDING, len(slope) * _EPS) * values[-1].clamp(min=1e-280)
    taken = (values > least) | ((slope @ vectors).abs() > rounding)
    return vectors * torch.where(taken, values.clamp(min=least).rsqrt(), 0.0)


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
    shift = ROUNDING
    while True:
        damped = scaled.clone()
        damped.diagonal().add_(shift)
        factor, failed = torch.linalg.cholesky_ex(damped)
        if not failed:
            return torch.cholesky_solve((rhs * scale)[:, None], factor)[:, 0] * scale
        shift *= 100
