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
    step = torch.where(full, 1.0, objective.line_search(point, direction, change))
    scaled = direction * step[:, None, None]
    logits = torch.addcmul(point.logits, change, step[:, None])
    return objective.at_logits(point.params + scaled, logits), scaled
