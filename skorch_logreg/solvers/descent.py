"""One step along a direction of a smooth objective."""

import torch
from torch import Tensor

from skorch_logreg.objective import LOW_PRECISION_ROUNDING, Objective, Point, inner

_FLAT = 0.5  # the slope that a full step may leave before it is searched for
_LINE_STEPS = 40
_WIDE = 16.0  # high end of a bracket over its low one, from which it is cut by powers
_SLOPE_LEFT = 0.3  # a line search may leave this share of the slope
_FAR = 100.0  # times a whole step: the rounding of its logits grows as many times


def take_step(
    objective: Objective, point: Point, direction: Tensor, last: bool = False
) -> tuple[Point, Tensor]:
    """Go along a descent direction: the whole way if that will do, else by a line search.

    Parameters
    ----------
    point : Point
    direction : Tensor of shape (m, K, p + 1)
    last : bool, default=False
        Whether this is likely to be the last step; see `Objective.move`.

    Returns
    -------
    point : Point
    change : Tensor of shape (m, K, p + 1)
        The step taken; zero for a model that could not descend.

    Notes
    -----
    One pass over X; one more read for the models whose full step was refused.  A point whose
    logits are float32 is left behind for one whose logits are those of the objective.
    """
    if point.logits.dtype is objective.logits_dtype:
        moved = objective.move(point, direction, last)
    else:
        moved = objective.evaluate(point.params + direction, last)
    return accept_step(objective, point, direction, moved)


def accept_step(
    objective: Objective, point: Point, direction: Tensor, moved: Point
) -> tuple[Point, Tensor]:
    """Stay at the end of a whole step, ``moved``, if that will do; else `descend`."""
    same = point.logits.dtype is moved.logits.dtype
    fine = _are_accepted(
        point, direction, moved, objective.rounding if same else LOW_PRECISION_ROUNDING
    )
    if all(fine):
        return moved, direction
    if not any(fine):
        return _search_line(objective, point, direction, moved)
    refused = torch.tensor([i for i, f in enumerate(fine) if not f], device=direction.device)
    target, taken = _search_line(
        objective.select(refused),
        point.select(refused),
        direction[refused],
        moved.select(refused),
    )
    return moved.replaced(refused, target), direction.index_copy(0, refused, taken)


def _are_accepted(point: Point, direction: Tensor, moved: Point, rounding: float) -> list[bool]:
    """Say of every model whether the whole step is as far as it should go."""
    slopes = zip(
        inner(point.gradient, direction).tolist(),
        inner(moved.gradient, direction).tolist(),
        strict=True,
    )
    # many models would wait for the line search of one that could have gone further
    together = len(direction) > 1
    values = zip(point.value.tolist(), moved.value.tolist(), strict=True)
    return [
        before < 0
        and after <= -_FLAT * before
        and (together or after >= _FLAT * before)
        and new <= old + rounding * abs(old)
        for (before, after), (old, new) in zip(slopes, values, strict=True)
    ]


def _search_line(
    objective: Objective, point: Point, direction: Tensor, moved: Point
) -> tuple[Point, Tensor]:
    """Point of a line search, and the step taken; ``moved`` is the point of the whole step."""
    if point.logits.dtype is not objective.logits_dtype:
        point = objective.evaluate(point.params)
    change = moved.logits - point.logits
    step = line_search(objective, point, direction, change)
    # 0 times what has overflowed is no number
    scaled = torch.where(step[:, None, None] > 0, direction * step[:, None, None], 0.0)
    if bool((step > _FAR).any()):
        return _evaluate_long_step(objective, point, scaled)
    factor = step[:, None].to(change.dtype)
    logits = torch.where(factor > 0, torch.addcmul(point.logits, change, factor), point.logits)
    return objective.at_logits(point.params + scaled, logits), scaled


def _evaluate_long_step(objective: Objective, point: Point, scaled: Tensor) -> tuple[Point, Tensor]:
    """Evaluate the end of a step many times as long as the one whose logits are known.

    At the optimum a whole step changes logits by their rounding, and a line search on that would
    find a fall that the parameters do not have.
    """
    target = objective.evaluate(point.params + scaled)
    falls = target.value <= point.value + objective.rounding * point.value.abs()
    if bool(falls.all()):
        return target, scaled
    scaled = torch.where(falls[:, None, None], scaled, 0.0)
    return objective.evaluate(point.params + scaled), scaled


def line_search(objective: Objective, point: Point, direction: Tensor, change: Tensor) -> Tensor:
    """Step (m,) along a descent direction of a smooth objective; 0 where none is found.

    Newton's method on the slope, kept inside a bracket: heavy-tailed columns throw an
    unguarded one to infinity.  Where the bracket spans powers of ten it is cut by powers: where
    rows are certain there is next to no curvature, and a direction may be 1e40 times too long.
    The objective is convex, so that it has fallen wherever the slope is still negative: that is
    the step of a search that ends otherwise.  Costs a few sums over rows and no read of X.
    """
    start = inner(point.gradient, direction)
    step = torch.ones_like(start)
    low, high = torch.zeros_like(start), torch.full_like(start, torch.inf)
    shrink, fine = torch.full_like(start, 0.5), torch.zeros_like(start, dtype=torch.bool)
    for _ in range(_LINE_STEPS):
        value, slope, curvature = objective.along(point, direction, change, step)
        left = slope < 0
        limit = point.value + objective.rounding * point.value.abs()
        fine = (slope.abs() <= _SLOPE_LEFT * start.abs()) & (value <= limit)
        # beyond this nothing can be told from rounding
        ended = fine | (high.isfinite() & (high - low <= 1e-10 * high))
        if bool((ended | (start >= 0)).all()):
            break
        low = torch.where(left & ~fine, step, low)
        high = torch.where(left | fine, high, step)
        newton = step - slope / curvature
        middle = torch.where(high > _WIDE * low, (low * high).sqrt(), (low + high) / 2)
        middle = torch.where(low > 0, middle, shrink * high)
        middle = torch.where(high.isinf(), 4 * step, middle)
        shrink = torch.where(low > 0, shrink, shrink.square())
        inside = (newton > low) & (newton < high) & (newton <= 10 * step)
        step = torch.where(fine, step, torch.where(inside, newton, middle))
    return torch.where(start < 0, torch.where(fine, step, low), torch.zeros_like(step))
