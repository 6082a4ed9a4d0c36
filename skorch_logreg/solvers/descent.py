"""Steps and line searches along descent directions."""

import math

import torch
from torch import Tensor

from skorch_logreg.objective import LOW_PRECISION_ROUNDING, Objective, Point, inner

_FLAT = 0.5  # share of the slope that a full step may leave without a line search
_LINE_STEPS = 40  # maximum number of evaluations of a line search
_SLOPE_LEFT = 0.3  # share of the slope that a line search may leave
# step length, in full steps, above which rounding of the logits requires an evaluation
_FAR = 100.0


def take_step(
    objective: Objective, point: Point, direction: Tensor, last: bool = False
) -> tuple[Point, Tensor]:
    """Take a full step along a descent direction if it is acceptable, else search the line.

    Returns the point and the step (m, K, p + 1), which is zero for a model that could not descend;
    ``last`` is passed to `Objective.move`.  One pass over X; one more read for the models whose
    full step is not accepted.
    """
    if point.logits.dtype is objective.logits_dtype:
        moved = objective.move(point, direction, last)
    else:
        moved = objective.evaluate(point.params + direction, last)
    return accept_step(objective, point, direction, moved)


def accept_step(
    objective: Objective, point: Point, direction: Tensor, moved: Point
) -> tuple[Point, Tensor]:
    """Accept the point ``moved`` of a full step where it is acceptable, else search the line."""
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
    """Return for every model whether the full step is acceptable."""
    slopes = zip(
        inner(point.gradient, direction).tolist(),
        inner(moved.gradient, direction).tolist(),
        strict=True,
    )
    # in a batch, a step that is only too short is accepted: all models would wait for its search
    together = len(direction) > 1
    values = zip(point.value.tolist(), moved.value.tolist(), strict=True)
    return [
        before < 0
        and after <= -_FLAT * before
        and (together or after >= _FLAT * before)
        # a convex objective has fallen where its slope is still downwards, whatever values tell
        and (new <= old + rounding * abs(old) or (after <= 0 and math.isfinite(new)))
        for (before, after), (old, new) in zip(slopes, values, strict=True)
    ]


def _search_line(
    objective: Objective, point: Point, direction: Tensor, moved: Point
) -> tuple[Point, Tensor]:
    """Search the line to ``moved``, the point of the full step; return the point and the step."""
    if point.logits.dtype is not objective.logits_dtype:
        point = objective.evaluate(point.params)
    change = moved.logits - point.logits
    step = line_search(objective, point, direction, change)
    # 0 times an overflowed direction would be nan
    scaled = torch.where(step[:, None, None] > 0, direction * step[:, None, None], 0.0)
    if bool((step > _FAR).any()):
        return _evaluate_long_step(objective, point, scaled)
    factor = step[:, None].to(change.dtype)
    logits = torch.where(factor > 0, torch.addcmul(point.logits, change, factor), point.logits)
    return objective.at_logits(point.params + scaled, logits), scaled


def _evaluate_long_step(objective: Objective, point: Point, scaled: Tensor) -> tuple[Point, Tensor]:
    """Evaluate the point of a step that is many times as long as the full step.

    Near the optimum a full step changes logits only by their rounding, and a line search on them
    may find a decrease that the parameters do not have.
    """
    target = objective.evaluate(point.params + scaled)
    falls = target.value <= point.value + objective.rounding * point.value.abs()
    falls |= inner(target.gradient, scaled) <= 0
    if bool(falls.all()):
        return target, scaled
    scaled = torch.where(falls[:, None, None], scaled, 0.0)
    return objective.evaluate(point.params + scaled), scaled


def line_search(objective: Objective, point: Point, direction: Tensor, change: Tensor) -> Tensor:
    """Find step lengths (m,) along descent directions of a smooth objective; 0 if none is found.

    Newton's method on the slope, safeguarded by a bracket, because it diverges with heavy-tailed
    columns, and reduces an exponential by a factor of e only: a bracket that is not halved is
    bisected.  If it spans powers of ten it is bisected geometrically: saturated rows have
    almost no curvature, and a direction may be 1e40 times too long.  The objective is convex, so
    it has decreased wherever the slope is still negative; such a step is the result if the search
    does not converge.  Costs a few sums over rows and no read of X.
    """
    start = inner(point.gradient, direction)
    step = torch.ones_like(start)
    low, high = torch.zeros_like(start), torch.full_like(start, torch.inf)
    shrink, fine = torch.full_like(start, 0.5), torch.zeros_like(start, dtype=torch.bool)
    for _ in range(_LINE_STEPS):
        value, slope, curvature = objective.along(point, direction, change, step)
        left = slope < 0
        limit = point.value + objective.rounding * point.value.abs()
        fine = (slope.abs() <= _SLOPE_LEFT * start.abs()) & ((value <= limit) | left)
        # a narrower bracket is rounding error
        ended = fine | (high.isfinite() & (high - low <= 1e-10 * high))
        if bool((ended | (start >= 0)).all()):
            break
        width = high - low
        low = torch.where(left & ~fine, step, low)
        high = torch.where(left | fine, high, step)
        newton = step - slope / curvature
        middle = torch.where(low > 0, (low * high).sqrt(), shrink * high)
        middle = torch.where(high.isinf(), 4 * step, middle)
        shrink = torch.where(low > 0, shrink, shrink.square())
        inside = (newton > low) & (newton < high) & (newton <= 10 * step)
        inside &= width.isinf() | (high - low <= width / 2)
        step = torch.where(fine, step, torch.where(inside, newton, middle))
    return torch.where(start < 0, torch.where(fine, step, low), torch.zeros_like(step))


def backtracked_step(
    objective: Objective, point: Point, direction: Tensor, promised: float
) -> Point:
    """Take the full step, or backtrack to a sufficient share of the promised decrease."""
    ahead = objective.move(point, direction)
    enough = point.value - 1e-4 * promised
    if bool(ahead.value <= enough + objective.rounding * point.value.abs()):
        return ahead
    change = ahead.logits - point.logits
    step = backtrack(objective, point, direction, change)
    params = point.params + step[:, None, None] * direction
    return objective.at_logits(params, torch.addcmul(point.logits, change, step[:, None]))


def backtrack(objective: Objective, point: Point, direction: Tensor, change: Tensor) -> Tensor:
    """Backtrack to step lengths (m,) with sufficient decrease of the objective; X is not read.

    Without curvature a step may be 1e100 times too long; it is 0 if nothing decreases.
    """
    slope, rounding = penalised_slope(objective, point, direction), objective.rounding
    step = torch.ones_like(slope)
    while True:
        value = objective.along(point, direction, change, step)[0]
        enough = point.value + 1e-4 * step * slope + rounding * point.value.abs()
        fine = value.isfinite() & (value <= enough)
        if bool((fine | (step == 0)).all()):
            return torch.where(fine, step, 0.0)
        step = torch.where(fine, step, step / 2)


def penalised_slope(objective: Objective, point: Point, direction: Tensor) -> Tensor:
    """Return the change (m,) of the linearised loss plus the penalty along a step."""
    coef, penalty = point.params[..., :-1], objective.penalty
    moved = penalty.feasible(coef + direction[..., :-1], coef)
    return inner(objective.loss_gradient(point), direction) + objective.reg_strength * (
        penalty.value(moved) - penalty.value(coef)
    )


def projected(objective: Objective, params: Tensor, size: Tensor) -> Tensor:
    """Project the coefficients of parameters (m, K, p + 1) on the penalty's constraints."""
    coef = objective.penalty.feasible(params[..., :-1], size[..., :-1])
    return torch.cat([coef, params[..., -1:]], dim=-1)


def within_constraints(objective: Objective, point: Point, direction: Tensor) -> Tensor:
    """Shorten the entries of a step (m, K, p + 1) that lead beyond the penalty's constraints.

    A quadratic problem without curvature may have no solution, so that its solver leaves bounds.
    """
    ahead = point.params + direction
    allowed = projected(objective, ahead, point.params)
    return torch.where(allowed == ahead, direction, allowed - point.params)
