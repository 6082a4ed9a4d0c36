"""Conjugate gradients on the exact Hessian, preconditioned by an approximate one."""

import torch
from torch import Tensor

from skorch_logreg.curvature import Curvature
from skorch_logreg.objective import (
    Objective,
    Point,
    hessian_product,
    inner,
    penalty_diagonal,
    total_curvature,
)
from skorch_logreg.solvers.choose import PROOF_RATE

_MAX_PRODUCTS = 400  # maximum number of Hessian products
# products over which the contraction is measured: the first ones are faster than the last
_RECENT = 4
_LOGIT_ROUNDING = 4 * torch.finfo(torch.float64).eps  # of sums of entries whose mean square is 1


def newton_direction(
    objective: Objective,
    point: Point,
    curvature: Curvature,
    tol: float,
    min_curvature_ratio: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Solve ``H d = -gradient`` approximately.

    ``curvature`` is the preconditioner, and ``min_curvature_ratio`` the smallest curvature
    relative to it.  If the preconditioner was damped, a small residual may hide a large
    decrement, so the residual has to be smaller by this factor.

    Returns
    -------
    direction : Tensor of shape (m, K, p + 1)
        Approximate Newton direction ``d``.
    decrement : Tensor of shape (m,)
        Estimate of ``1/2 gradient' H^-1 gradient``: ``-1/2 gradient'd``, which increases towards
        it, and the sum of the geometric series of what the next products would add.

    Notes
    -----
    One pass over X per product.  Stops when the residual is small enough for superlinear
    convergence or for ``tol`` in one step.  A decrement below its goal counts only where less than
    half of it is extrapolated.

    References
    ----------
    Nocedal, Wright (2006). Numerical Optimization, algorithm 7.1. Strakoš, Tichý (2002). On error
    estimation in the conjugate gradient method, equation 3.5.
    """
    product, rounding = hessian_product(objective, point), _rounding_curvature(objective, point)
    goal = tol**2 * point.value
    direction = torch.zeros_like(point.gradient)
    residual = -point.gradient
    search = z = _preconditioned(curvature, residual)
    rz = first = inner(residual, z)
    ratio = (first / (2 * point.value)).clamp(1e-12, 1.0)
    # squared relative residuals, not smaller than needed: of a step, smaller near the optimum until
    # the next point meets the goal, and of a decrement that may meet it
    least = 0.05 * goal / first.clamp(min=1e-300)
    for_step = torch.maximum(ratio.sqrt(), least).clamp(max=PROOF_RATE)
    to_decide = torch.maximum((ratio.sqrt() * 0.1).clamp(max=0.01), least).clamp(max=0.25)
    if min_curvature_ratio < 1:
        for_step = to_decide = torch.minimum(to_decide, min_curvature_ratio * least)
    decrement = total = torch.zeros_like(rz)
    recent: list[Tensor] = []  # squared residuals
    for _ in range(_MAX_PRODUCTS):
        image = product(search)
        search_curvature = inner(search, image)
        hidden = (rounding * search.abs().sum(dim=-1).square()).sum(dim=-1)
        live = (search_curvature > hidden) & (rz > 0)
        flat = (search_curvature <= 0) & (rz > 0) & (decrement == 0)
        if bool(flat.any()):  # no curvature: the objective decreases by at most its value
            direction = torch.where(flat[:, None, None], search, direction)
            decrement = torch.where(flat, point.value, decrement)
        if not bool(live.any()):
            break
        step = torch.where(live, rz / search_curvature, 0.0)
        direction = direction + step[:, None, None] * search
        residual = residual - step[:, None, None] * image
        recent = [*recent[1 - _RECENT :], rz]
        decrement = decrement + step * rz / 2
        z = _preconditioned(curvature, residual)
        fresh = inner(residual, z)
        contraction = (fresh / recent[0]).clamp(0.0, 1.0) ** (1 / len(recent))
        missing = torch.where(live, step * fresh / 2 / (1 - contraction), 0.0)
        total = decrement + torch.minimum(missing, decrement)
        forcing = torch.where(decrement > goal, for_step, to_decide)
        is_known = (decrement > goal) | (missing <= decrement)
        done = ((fresh <= forcing * first) & is_known) | ~live
        if bool(done.all()):
            break
        search = z + torch.where(live, fresh / rz, 0.0)[:, None, None] * search
        rz = fresh
    return direction, torch.maximum(total, decrement)


def _rounding_curvature(objective: Objective, point: Point) -> Tensor | float:
    """Bound what rounding of logits adds to a curvature, as a factor (m, K) of squared 1-norms.

    Columns that are collinear but for the rounding of their centering have no curvature; where
    every coefficient has a penalty, that of the penalty is more.
    """
    if bool((penalty_diagonal(objective, point.params)[..., :-1] > 0).all()):
        return 0.0
    return _LOGIT_ROUNDING**2 * total_curvature(objective.at(point), point.logits)


def _preconditioned(curvature: Curvature, residual: Tensor) -> Tensor:
    """Solve with the preconditioner where it is positive definite; in low precision it may not."""
    z = curvature.solve(residual)
    return torch.where((inner(residual, z) > 0)[:, None, None], z, residual)
