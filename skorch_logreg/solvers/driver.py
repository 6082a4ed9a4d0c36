"""The only loop: limits, convergence model by model, non-finite checks, callbacks."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import torch
from torch import Tensor

from skorch_logreg.objective import Objective, Point
from skorch_logreg.solvers.protocol import Solver

_STALLS = 4  # steps without progress after which rounding is what is left
_LEAST = 4e-16


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
    value, optimality : Tensor of shape (m,)
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
    """

    params: Tensor
    status: tuple[Status, ...]
    n_iter: Tensor
    value: Tensor
    optimality: Tensor
    duality_gap: Tensor


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
        Largest `optimality` of a converged model.
    max_iter : int
    callback : callable or None
        Called after every iteration; true stops all models.

    Returns
    -------
    outcome : Outcome
    """
    n_models = len(params)
    models = torch.arange(n_models, device=params.device)
    ended: dict[int, tuple[Point, Tensor, Status, int]] = {}
    whole = objective
    everyone = params.clone()
    state = solver.init(objective, params, tol)
    stalls = torch.zeros_like(state.decrement)
    n_iter = 0
    while True:
        state = _proven(solver, objective, state, tol)
        stopped = False
        if n_iter and callback is not None:
            everyone[models] = state.point.params
            seen = Iterate(n_iter, everyone, state.point.value, optimality(state))
            stopped = bool(callback(seen))
        status = _verdicts(objective, state, tol, stalls)
        if stopped or n_iter >= max_iter:
            rest = Status.STOPPED if stopped else Status.MAX_ITER
            status = [rest if s is None else s for s in status]
        over = torch.tensor([s is not None for s in status], device=models.device)
        if bool(over.any()):
            everyone[models] = state.point.params
            for i in over.nonzero()[:, 0].tolist():
                alone = torch.tensor([i], device=models.device)
                point = state.point.select(alone)
                ended[int(models[i])] = (point, state.decrement[alone], status[i], n_iter)
            keep = (~over).nonzero()[:, 0]
            if not len(keep):
                break
            models, stalls = models[keep], stalls[keep]
            objective = replace(objective, strength=objective.strength[keep])
            state = state.select(keep, objective)
        before = state
        state = solver.step(objective, state)
        n_iter += 1
        if not bool(state.point.value.isfinite().all()):
            state, stalls = before, stalls + _STALLS
            continue
        stuck = (state.point.value >= before.point.value * (1 - _LEAST)) & (
            state.decrement > 0.5 * before.decrement
        )
        stalls = torch.where(stuck, stalls + 1, 0.0)
    return _outcome(whole, [ended[i] for i in range(n_models)], tol)


def optimality(state: Any) -> Tensor:
    """``sqrt(decrement / F)`` (m,): the square is the relative distance from the optimum."""
    value = state.point.value
    ratio = torch.where(state.decrement > 0, state.decrement / value, 0.0)
    return ratio.clamp(min=0.0).sqrt()


def _proven(solver: Solver, objective: Objective, state: Any, tol: float) -> Any:
    """Ask for proof where a model would converge on a prediction that is not trusted."""
    claim = (optimality(state) <= tol) & ~state.trusted
    return solver.confirm(objective, state) if bool(claim.any()) else state


def _verdicts(
    objective: Objective, state: Any, tol: float, stalls: Tensor
) -> list[Status | None]:
    done = (optimality(state) <= tol) & state.trusted
    apart = _separated(objective, state.point)
    verdicts: list[Status | None] = []
    for i in range(len(done)):
        if done[i]:
            verdicts.append(Status.CONVERGED)
        elif apart[i]:
            verdicts.append(Status.SEPARABLE)
        else:
            verdicts.append(Status.PRECISION if stalls[i] >= _STALLS else None)
    return verdicts


def _separated(objective: Objective, point: Point) -> Tensor:
    """Whether a model without penalty separates the classes (m,): its optimum is at infinity."""
    free = objective.strength == 0
    if not bool(free.any()):
        return free

    def kernel(block: Any, logits: Tensor) -> tuple[Tensor, ...]:
        counted = (block.weight > 0).view(len(logits), -1)
        log_proba = objective.loss.log_proba(logits)
        own = block.targets[:, None, None].expand(*logits.shape[:2], 1)
        best_other = log_proba.scatter(-1, own, -torch.inf).amax(dim=-1)
        wrong = log_proba.gather(-1, own)[..., 0] <= best_other
        return ((wrong & counted).sum(dim=0),)

    (wrong,) = objective.data.reduce(kernel, point.logits, reads=0)
    return free & (wrong == 0)


def _outcome(
    objective: Objective, ended: list[tuple[Point, Tensor, Status, int]], tol: float
) -> Outcome:
    point = Point(
        torch.cat([e[0].params for e in ended]),
        torch.cat([e[0].logits for e in ended], dim=1),
        torch.cat([e[0].value for e in ended]),
        torch.cat([e[0].gradient for e in ended]),
    )
    gap = torch.full_like(point.value, torch.nan)
    if objective.penalty.strictly_positive() and bool((objective.strength > 0).any()):
        params, logits = objective.minimise_intercept(point.params, point.logits)
        if objective.fit_intercept:
            point = objective.at_logits(params, logits)
        bound = objective.duality_gap(point) + _LEAST * point.value.abs()
        gap = torch.where(bound.isinf(), torch.nan, bound / point.value)
    decrement = torch.cat([e[1] for e in ended])
    ratio = torch.where(decrement > 0, decrement / point.value, 0.0)
    return Outcome(
        params=point.params,
        status=tuple(e[2] for e in ended),
        n_iter=torch.tensor([e[3] for e in ended]),
        value=point.value,
        optimality=ratio.clamp(min=0.0).sqrt(),
        duality_gap=gap,
    )
