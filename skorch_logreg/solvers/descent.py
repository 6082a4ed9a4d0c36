"""Steps and line searches along descent directions."""

import math
from functools import partial

import torch
from torch import Tensor

from skorch_logreg.data import ComputedRows
from skorch_logreg.objective import LOW_PRECISION_ROUNDING, Objective, Point, inner
from skorch_logreg.objective.line_search import SLOPE_LEFT, line_search


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
    before = inner(point.gradient, direction).tolist()
    slopes = zip(before, inner(moved.gradient, direction).tolist(), strict=True)
    # in a batch, a step that is only too short is accepted: all models would wait for its search
    together = len(before) > 1
    values = zip(point.value.tolist(), moved.value.tolist(), strict=True)
    return [
        before < 0
        and after <= -SLOPE_LEFT * before
        and (together or after >= SLOPE_LEFT * before)
        # a convex objective has fallen where its slope is still downwards, whatever values tell
        and (new <= old + rounding * abs(old) or (after <= 0 and math.isfinite(new)))
        for (before, after), (old, new) in zip(slopes, values, strict=True)
    ]


def _search_line(
    objective: Objective, point: Point, direction: Tensor, moved: Point
) -> tuple[Point, Tensor]:
    """Search the line to ``moved``, the point of the full step; return the point and the step.

    The logits of ``moved`` are overwritten.
    """
    if point.logits.dtype is not objective.logits_dtype:
        point = objective.evaluate(point.params)
    if isinstance(moved.logits, ComputedRows):
        return _search_points(objective, point, direction, moved)
    change = moved.logits.sub_(point.logits)
    along = partial(objective.along, point, direction, change)
    step = line_search(along, inner(point.gradient, direction), point.value, objective.rounding)
    # 0 times an overflowed direction would be nan
    scaled = torch.where(step[:, None, None] > 0, direction * step[:, None, None], 0.0)
    if bool((step > 1).any()):
        return _evaluate_long_step(objective, point, scaled)
    factor = step[:, None].to(change.dtype)
    logits = change.masked_fill_(~(factor > 0), 0.0).mul_(factor).add_(point.logits)
    return objective.at(point).at_logits(point.params + scaled, logits), scaled


def _search_points(
    objective: Objective, point: Point, direction: Tensor, moved: Point
) -> tuple[Point, Tensor]:
    """Search the line to ``moved`` by whole passes, where logits cost as much.

    The curvature is that of the last two slopes.
    """
    start = inner(point.gradient, direction)
    found, at, slope = moved, torch.zeros_like(start), start

    def along(step: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        nonlocal found, at, slope
        if bool((step != 1).any()):
            found = objective.evaluate(point.params + direction * step[:, None, None])
        before, behind = slope, at
        slope, at = inner(found.gradient, direction), step
        return found.value, slope, (slope - before) / (at - behind)

    step = line_search(along, start, point.value, objective.rounding)
    scaled = torch.where(step[:, None, None] > 0, direction * step[:, None, None], 0.0)
    if not torch.equal(step, at):
        found = objective.evaluate(point.params + scaled)
    return found, scaled


def _evaluate_long_step(objective: Objective, point: Point, scaled: Tensor) -> tuple[Point, Tensor]:
    """Evaluate the point of a step that is longer than the full step.

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


def backtracked_step(
    objective: Objective, point: Point, direction: Tensor, promised: float
) -> Point:
    """Take the full step, or backtrack to a sufficient share of the promised decrease."""
    ahead = objective.move(point, direction)
    enough = point.value - 1e-4 * promised
    if bool(ahead.value <= enough + objective.rounding * point.value.abs()):
        return ahead
    change = ahead.logits.sub_(point.logits)
    step = backtrack(objective, point, direction, change)
    params = point.params + step[:, None, None] * direction
    logits = torch.addcmul(point.logits, change, step[:, None])
    return objective.at(point).at_logits(params, logits)


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
