"""The only loop: limits, convergence model by model, non-finite checks, callbacks."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import torch
from torch import Tensor

from skorch_logreg.certificate import duality_gap
from skorch_logreg.data import Block
from skorch_logreg.objective import Objective, Point
from skorch_logreg.solvers.protocol import Solver

_STALLS = 4  # steps without progress after which rounding is what is left
_ROUNDING = 4e-16
_ROUGH_ITER = 8  # steps on rough products, at most
_ROUGH_TOL = 3e-5  # optimality up to which they are good for
_MOST = 0.5  # share of the models that are nearly there before products become exact
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
    """Last point of the models that ended together."""

    models: list[int]
    point: Point
    optimality: list[float]
    status: list[Status]
    n_iter: int


def drive(
    solver: Solver,
    objective: Objective,
    params: Tensor,
    *,
    tol: float,
    max_iter: int,
    callback: Callable[[Iterate], bool] | None = None,
    bound: bool = True,
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
    bound : bool, default=True
        Whether the duality gap is wanted, which costs two passes or so; else it is nan.

    Returns
    -------
    outcome : Outcome
    """
    whole, everyone = objective.exact, params.clone()
    models = list(range(len(params)))
    ends: list[_End] = []
    stalls = [0] * len(models)

    def stops(n_iter: int, state: Any, reached: list[float]) -> bool:
        if callback is None:
            return False
        everyone[models] = state.point.params
        optimality = params.new_tensor(reached)
        return bool(callback(Iterate(n_iter, everyone, state.point.value, optimality)))

    state, n_iter, stopped = _approach(solver, objective, params, tol, max_iter, stops)
    objective = objective.exact
    while True:
        state, reached = _proven(solver, objective, state, tol)
        if n_iter and not stopped:
            stopped = stops(n_iter, state, reached)
        status = _verdicts(objective, state, reached, tol, stalls)
        if stopped or n_iter >= max_iter:
            rest = Status.STOPPED if stopped else Status.MAX_ITER
            status = [rest if s is None else s for s in status]
        if any(status):
            keep = [i for i, how in enumerate(status) if how is None]
            gone = [i for i, how in enumerate(status) if how is not None]
            ends.append(
                _End(
                    [models[i] for i in gone],
                    state.point.select(torch.tensor(gone, device=params.device))
                    if keep
                    else state.point,
                    [reached[i] for i in gone],
                    [how for how in status if how is not None],
                    n_iter,
                )
            )
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
    return _outcome(whole, ends, bound)


def _approach(
    solver: Solver,
    objective: Objective,
    params: Tensor,
    tol: float,
    max_iter: int,
    stops: Callable[[int, Any, list[float]], bool],
) -> tuple[Any, int, bool]:
    """Start: go most of the way on rough products where those are faster.

    Returns
    -------
    state : State
        At exact products.
    n_iter : int
    stopped : bool
    """
    state = solver.init(objective, params, tol)
    if not objective.is_rough:
        return state, 0, False
    n_iter, stopped = 0, False
    reached = _optimality(state)
    before = [0.0] * len(reached)
    while not stopped and n_iter < min(max_iter - 1, _ROUGH_ITER):
        if _nearly_there(before, reached, tol):
            break
        moved = solver.step(objective, state)
        if None in _stuck(state, moved):
            break
        state, n_iter, before = moved, n_iter + 1, reached
        reached = _optimality(state)
        stopped = stops(n_iter, state, reached)
    if stopped or n_iter >= max_iter:
        return solver.init(objective.exact, state.point.params, tol), n_iter, stopped
    moved = solver.step(objective.exact, state)
    if None in _stuck(state, moved):
        moved = solver.init(objective.exact, state.point.params, tol)
    return moved, n_iter + 1, False


def _nearly_there(before: list[float], reached: list[float], tol: float) -> bool:
    """Whether the next step will bring most models to their goal, or rounding is near."""
    near = [
        r <= max(tol, _ROUGH_TOL) or r * r <= tol * b for b, r in zip(before, reached, strict=True)
    ]
    return sum(near) >= _MOST * len(near)


def _proven(
    solver: Solver, objective: Objective, state: Any, tol: float
) -> tuple[Any, list[float]]:
    """Optimality of every model, confirmed where one would converge on a mere prediction."""
    reached = _optimality(state)
    doubted = [
        i
        for i, (r, trusted) in enumerate(zip(reached, state.trusted.tolist(), strict=True))
        if r <= tol and not trusted
    ]
    if doubted:
        state = solver.confirm(objective, state, doubted)
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


def _outcome(objective: Objective, ends: list[_End], bound: bool) -> Outcome:
    models = [model for end in ends for model in end.models]
    order = sorted(range(len(models)), key=models.__getitem__)
    point = _joined([end.point for end in ends], order)
    optimality = [o for end in ends for o in end.optimality]
    status = [s for end in ends for s in end.status]
    n_iter = [end.n_iter for end in ends for _ in end.models]
    return Outcome(
        params=point.params,
        status=tuple(status[i] for i in order),
        n_iter=torch.tensor([n_iter[i] for i in order], device=point.value.device),
        value=point.value,
        optimality=point.value.new_tensor([optimality[i] for i in order]),
        duality_gap=_gap(objective, point) if bound else torch.full_like(point.value, torch.nan),
        logits=point.logits,
    )


def _joined(points: list[Point], order: list[int]) -> Point:
    """Put the models back into their order."""
    if len(points) == 1:
        return points[0]
    index = torch.tensor(order, device=points[0].value.device)
    together = Point(
        torch.cat([p.params for p in points]),
        torch.cat([p.logits for p in points], dim=1),
        torch.cat([p.value for p in points]),
        torch.cat([p.gradient for p in points]),
    )
    return together.select(index)


def _gap(objective: Objective, point: Point) -> Tensor:
    """Bound on ``F - F*``, relative to F; nan where none is finite.

    A dual point needs the best intercept: the bound is that of the point with it, and what it
    gains.
    """
    if not (objective.penalty.strictly_positive() and any(objective.strength.tolist())):
        return torch.full_like(point.value, torch.nan)
    rounding = _ROUNDING * point.value.abs()
    if not objective.fit_intercept:
        bound = duality_gap(objective, point) + rounding
    else:
        params, logits = objective.minimise_intercept(point.params, point.logits)
        best = replace(point, params=params, logits=logits)
        best = replace(best, gradient=objective.gradient_at(params, logits))
        bound = duality_gap(objective, best) + rounding
        # a convex function falls by no more than its slope says; where that counts, look
        shift = params[..., -1] - point.params[..., -1]
        gained = (point.gradient[..., -1] * shift).abs().sum(dim=-1)
        if bool((gained > _NEGLIGIBLE * bound).any()):
            gained = (point.value - objective.at_logits(params, logits).value).clamp(min=0.0)
        bound = bound + gained
    return torch.where(bound.isinf(), torch.nan, bound / point.value)
