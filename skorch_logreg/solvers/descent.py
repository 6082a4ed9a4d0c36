"""One step along a direction of a smooth objective."""

import torch
from torch import Tensor

from skorch_logreg.objective import Objective, Point, inner

_FLAT = 0.5  # the slope that a full step may leave before it is searched for
_ROUNDING = 1e-14
_LINE_STEPS = 40
_SLOPE_LEFT = 0.3  # a line search may leave this share of the slope


def descend(objective: Objective, point: Point, direction: Tensor) -> tuple[Point, Tensor]:
    """Go along a descent direction: the whole way if that will do, else by a line search.

    Parameters
    ----------
    point : Point
    direction : Tensor of shape (m, K, p + 1)

    Returns
    -------
    point : Point
    change : Tensor of shape (m, K, p + 1)
        The step taken; zero for a model that could not descend.

    Notes
    -----
    One pass over X; one more read where the full step was refused.
    """
    moved, change = objective.move(point, direction)
    slopes = zip(
        inner(point.gradient, direction).tolist(),
        inner(moved.gradient, direction).tolist(),
        strict=True,
    )
    values = zip(point.value.tolist(), moved.value.tolist(), strict=True)
    fine = [
        before < 0 and abs(after) <= -_FLAT * before and new <= old + _ROUNDING * abs(old)
        for (before, after), (old, new) in zip(slopes, values, strict=True)
    ]
    if all(fine):
        return moved, direction
    full = torch.tensor(fine, device=direction.device)
    step = torch.where(full, 1.0, line_search(objective, point, direction, change))
    scaled = direction * step[:, None, None]
    logits = torch.addcmul(point.logits, change, step[:, None])
    return objective.at_logits(point.params + scaled, logits), scaled


def line_search(objective: Objective, point: Point, direction: Tensor, change: Tensor) -> Tensor:
    """Step (m,) along a descent direction of a smooth objective.

    Newton's method on the slope, kept inside a bracket: heavy-tailed columns throw an
    unguarded one to infinity.  Costs a few sums over rows and no read of X.
    """
    start = inner(point.gradient, direction)
    step = torch.ones_like(start)
    low, high = torch.zeros_like(start), torch.full_like(start, torch.inf)
    for _ in range(_LINE_STEPS):
        value, slope, curvature = objective.along(point, direction, change, step)
        left = slope < 0
        fine = (slope.abs() <= _SLOPE_LEFT * start.abs()) & (value <= point.value)
        # beyond this nothing can be told from rounding
        fine |= high.isfinite() & (high - low <= 1e-10 * high)
        if bool((fine | (start >= 0)).all()):
            break
        low = torch.where(left, step, low)
        high = torch.where(left, high, step)
        newton = step - slope / curvature
        middle = torch.where(high.isinf(), 4 * step, (low + high) / 2)
        inside = (newton > low) & (newton < high) & (newton <= 10 * step)
        step = torch.where(fine, step, torch.where(inside, newton, middle))
    return torch.where(start < 0, step, torch.zeros_like(step))
