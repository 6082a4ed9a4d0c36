"""The only loop: limits, convergence model by model, non-finite checks, callbacks."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import torch
from torch import Tensor

from skorch_logreg.data import Block
from skorch_logreg.objective import Objective, Point
from skorch_logreg.solvers.protocol import Solver

_STALLS = 4  # steps without progress after which rounding is what is left
_ROUNDING = 4e-16
_NEGLIGIBLE = 1e-3  # share of a bound that need not be exact


class Status(Enum):
    """How a fit ended."""

    CONVERGED = "converged"
    MAX_ITER = "max_iter"
    PRECISION = "precision"
    SEPARABLE = "separable"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Iterate:
    """What a callback sees after an iteration.

    Attributes
    ----------
    n_iter : int
    params : Tensor of shape (m, K, p + 1)
        Of all models, those that have ended included.
    value, optimality : Tensor
        Of the models that are still at work.
    """

    n_iter: int
    params: Tensor
    value: Tensor
    optimality: Tensor


@dataclass(frozen=True)
class Outcome:
    """Where the models ended.

    Attributes
    ----------
    params : Tensor of shape (m, K, p + 1)
    status : tuple of Status
    n_iter : Tensor of shape (m,)
    value, optimality, duality_gap : Tensor of shape (m,)
        The gap relative to the value; nan where no bound is finite.
    logits : Tensor of shape (n, m, K)
    """

    params: Tensor
    status: tuple[Status, ...]
    n_iter: Tensor
    value: Tensor
    optimality: Tensor
    duality_gap: Tensor
    logits: Tensor


@dataclass(frozen=True)
class _End:
    """One model's last point."""

    point: Point
    optimality: float
    status: Status
    n_iter: int


def drive(
    solver: Solver,
    objective: Objective,
    params: Tensor,
    *,
    tol: float,
    max_iter: int,
    callback: Callable[[Iterate], bool] | None = None,
) -> Outcome:
    """Iterate until every model has converged or can get no further.

    A model that has ended leaves the batch, so that its company costs no more passes and cannot
    change it.

    Parameters
    ----------
    solver : Solver
    objective : Objective
    params : Tensor of shape (m, K, p + 1)
        Start.
    tol : float
        Largest optimality of a converged model.
    max_iter : int
    callback : callable or None
        Called after every iteration; true stops all models.

    Returns
    -------
    outcome : Outcome
    """
    whole, everyone = objective, params.clone()
    models = list(range(len(params)))
    ends: dict[int, _End] = {}
    state = solver.init(objective, params, tol)
    stalls = [0] * len(models)
    n_iter, stopped = 0, False
    while True:
        state, reached = _proven(solver, objective, state, tol)
        if n_iter and callback is not None:
            everyone[models] = state.point.params
            optimality = params.new_tensor(reached)
            stopped = bool(callback(Iterate(n_iter, everyone, state.point.value, optimality)))
        status = _verdicts(objective, state, reached, tol, stalls)
        if stopped or n_iter >= max_iter:
            rest = Status.STOPPED if stopped else Status.MAX_ITER
            status = [rest if s is None else s for s in status]
        if any(status):
            for i, (model, how) in enumerate(zip(models, status, strict=True)):
                if how is not None:
                    ends[model] = _End(_select(state.point, i), reached[i], how, n_iter)
            keep = [i for i, how in enumerate(status) if how is None]
            everyone[models] = state.point.params
            if not keep:
                break
            models, stalls = [models[i] for i in keep], [stalls[i] for i in keep]
            index = torch.tensor(keep, device=params.device)
            objective = objective.select(index)
            state = state.select(index, objective)
        before, state = state, solver.step(objective, state)
        n_iter += 1
        stuck = _stuck(before, state)
        if any(s is None for s in stuck):  # overflow: the point before is the last good one
            state = before
        stalls = [_STALLS if s is None else s * (n + 1) for s, n in zip(stuck, stalls, strict=True)]
    return _outcome(whole, [ends[i] for i in range(len(params))])


def _select(point: Point, model: int) -> Point:
    return point.select(torch.tensor([model], device=point.value.device))


def _proven(
    solver: Solver, objective: Objective, state: Any, tol: float
) -> tuple[Any, list[float]]:
    """Optimality of every model, confirmed where one would converge on a mere prediction."""
    reached = _optimality(state)
    if any(r <= tol and not t for r, t in zip(reached, state.trusted.tolist(), strict=True)):
        state = solver.confirm(objective, state)
        reached = _optimality(state)
    return state, reached


def _optimality(state: Any) -> list[float]:
    """``sqrt(decrement / F)``: its square is the relative distance from the optimum."""
    pairs = zip(state.decrement.tolist(), state.point.value.tolist(), strict=True)
    return [math.sqrt(d / f) if d > 0 and f > 0 else 0.0 if d <= 0 else math.inf for d, f in pairs]


def _verdicts(
    objective: Objective, state: Any, reached: list[float], tol: float, stalls: list[int]
) -> list[Status | None]:
    apart = _separated(objective, state.point)
    verdicts: list[Status | None] = []
    for i, trusted in enumerate(state.trusted.tolist()):
        if trusted and reached[i] <= tol:
            verdicts.append(Status.CONVERGED)
        elif apart[i]:
            verdicts.append(Status.SEPARABLE)
        else:
            verdicts.append(Status.PRECISION if stalls[i] >= _STALLS else None)
    return verdicts


def _stuck(before: Any, state: Any) -> list[bool | None]:
    """Whether neither value nor decrement of a model got better; None where it overflowed."""
    old = zip(before.point.value.tolist(), before.decrement.tolist(), strict=True)
    new = zip(state.point.value.tolist(), state.decrement.tolist(), strict=True)
    return [
        f1 >= f0 * (1 - _ROUNDING) and d1 > 0.5 * d0
        if math.isfinite(f1) and math.isfinite(d1)
        else None
        for (f0, d0), (f1, d1) in zip(old, new, strict=True)
    ]


def _separated(objective: Objective, point: Point) -> list[bool]:
    """Whether a model without penalty separates the classes: its optimum is at infinity."""
    strength = objective.strength.tolist()
    if all(strength):
        return [False] * len(strength)

    def kernel(block: Block, logits: Tensor) -> tuple[Tensor, ...]:
        wrong = objective.loss.margin(logits, block.targets) <= 0
        return ((wrong & (block.weight > 0)).sum(dim=0),)

    (wrong,) = objective.data.reduce(kernel, point.logits, reads=0)
    return [s == 0 and w == 0 for s, w in zip(strength, wrong.tolist(), strict=True)]


def _outcome(objective: Objective, ends: list[_End]) -> Outcome:
    points = [end.point for end in ends]
    point = points[0]
    if len(points) > 1:
        point = Point(
            torch.cat([p.params for p in points]),
            torch.cat([p.logits for p in points], dim=1),
            torch.cat([p.value for p in points]),
            torch.cat([p.gradient for p in points]),
        )
    return Outcome(
        params=point.params,
        status=tuple(end.status for end in ends),
        n_iter=torch.tensor([end.n_iter for end in ends], device=point.value.device),
        value=point.value,
        optimality=point.value.new_tensor([end.optimality for end in ends]),
        duality_gap=_gap(objective, point),
        logits=point.logits,
    )


def _gap(objective: Objective, point: Point) -> Tensor:
    """Bound on ``F - F*``, relative to F; nan where none is finite.

    A dual point needs the best intercept: the bound is that of the point with it, and what it
    gains.
    """
    if not (objective.penalty.strictly_positive() and any(objective.strength.tolist())):
        return torch.full_like(point.value, torch.nan)
    rounding = _ROUNDING * point.value.abs()
    if not objective.fit_intercept:
        bound = objective.duality_gap(point) + rounding
    else:
        params, logits = objective.minimise_intercept(point.params, point.logits)
        best = replace(point, params=params, logits=logits)
        best = replace(best, gradient=objective.gradient_at(params, logits))
        bound = objective.duality_gap(best) + rounding
        # a convex function falls by no more than its slope says; where that counts, look
        shift = params[..., -1] - point.params[..., -1]
        gained = (point.gradient[..., -1] * shift).abs().sum(dim=-1)
        if bool((gained > _NEGLIGIBLE * bound).any()):
            gained = (point.value - objective.at_logits(params, logits).value).clamp(min=0.0)
        bound = bound + gained
    return torch.where(bound.isinf(), torch.nan, bound / point.value)
