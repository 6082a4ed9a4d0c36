"""One step along a direction of a smooth objective."""

import torch
from torch import Tensor

from skorch_logreg.objective import Objective, Point, inner

_FLAT = 0.5  # the slope that a full step may leave before it is searched for
_ROUNDING = 1e-14


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
    slope = inner(point.gradient, direction)
    after = inner(moved.gradient, direction)
    fine = (after.abs() <= _FLAT * slope.abs()) & (
        moved.value <= point.value + _ROUNDING * point.value.abs()
    )
    if bool(fine.all()):
        return moved, direction
    step = torch.where(fine, 1.0, objective.line_search(point, direction, change))
    scaled = direction * step[:, None, None]
    logits = torch.addcmul(point.logits, change, step[:, None])
    return objective.at_logits(point.params + scaled, logits), scaled
