"""Results of a solver: final points, status and certificates."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Self

import torch
from torch import Tensor

from skorch_logreg.objective import (
    VALUE_ROUNDING,
    Objective,
    Point,
    duality_gap,
    duality_gap_nearby,
    minimise_intercept,
    penalty_gap,
)


class Status(Enum):
    """Reason why a fit stopped."""

    CONVERGED = "converged"
    MAX_ITER = "max_iter"
    PRECISION = "precision"
    SEPARABLE = "separable"
    STOPPED = "stopped"
    EPOCHS = "epochs"
    EARLY = "early"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class FinalPoint:
    """Final point of the models that stopped at the same iteration.

    Models whose optimum is at infinity have a direction of recession (K, p + 1).
    """

    models: tuple[int, ...]
    point: Point
    optimality: tuple[float, ...]
    status: tuple[Status, ...]
    n_iter: int
    directions: tuple[Tensor | None, ...]


@dataclass(frozen=True)
class Outcome:
    """Result of a solver for all models.

    Attributes
    ----------
    params : Tensor of shape (m, K, p + 1)
        Final parameters.
    status : tuple of Status
        Reason why each model stopped.
    n_iter : Tensor of shape (m,)
        Number of iterations of each model.
    value, optimality, duality_gap : Tensor of shape (m,)
        Objective, predicted optimality, and duality gap relative to the objective; nan where no
        bound is finite.
    logits : Tensor of shape (n, m, K)
        Logits of all rows at the final parameters.
    n_passes : int
        Number of full reads of X, including those before a resume.
    directions : tuple of (Tensor of shape (K, p + 1) or None)
        Directions of recession of the models whose optimum is at infinity.
    nuisance : Tensor of shape (m, T) or None
        Best parameters of the loss itself, if it has some.
    state : State or None
        Final state of the solver, for a single model.
    trace : tuple of (int, float)
        Passes and optimality at the start and after every iteration, for a single model.
    """

    params: Tensor
    status: tuple[Status, ...]
    n_iter: Tensor
    value: Tensor
    optimality: Tensor
    duality_gap: Tensor
    logits: Tensor
    n_passes: int
    directions: tuple[Tensor | None, ...]
    state: Any = None
    trace: tuple[tuple[int, float], ...] = ()
    nuisance: Tensor | None = None

    @classmethod
    def of(
        cls,
        objective: Objective,
        ends: tuple[FinalPoint, ...],
        n_passes: int,
        bound: bool,
        **single: Any,
    ) -> Self:
        """Combine final points in the order of the models, and compute the duality gap.

        ``n_passes`` are reads of X that the data have not counted, and ``single`` the fields of a
        single model.
        """
        models = [model for end in ends for model in end.models]
        order = sorted(range(len(models)), key=models.__getitem__)
        point = _joined([end.point for end in ends], order)
        optimality = [o for end in ends for o in end.optimality]
        status = [s for end in ends for s in end.status]
        n_iter = [end.n_iter for end in ends for _ in end.models]
        directions = [direction for end in ends for direction in end.directions]
        gap = _gap(objective, point) if bound else torch.full_like(point.value, torch.nan)
        return cls(
            params=point.params,
            status=tuple(status[i] for i in order),
            n_iter=torch.tensor([n_iter[i] for i in order], device=point.value.device),
            value=point.value,
            optimality=point.value.new_tensor([optimality[i] for i in order]),
            duality_gap=gap,
            logits=point.logits,
            n_passes=objective.data.n_passes + n_passes,
            directions=tuple(directions[i] for i in order),
            nuisance=point.nuisance,
            **single,
        )

    @classmethod
    def proven(
        cls, objective: Objective, point: Point, decrement: Tensor, tol: float, n_iter: Tensor
    ) -> Self | None:
        """Return the outcome of a single model whose duality gap is at most ``tol**2``, or None."""
        value, fall = float(point.value), float(decrement)
        # the penalty's share of the gap needs no pass, and often shows that the gap is too large
        share = float(penalty_gap(objective, point)[0])
        if not (0 <= fall <= tol**2 * value and share <= tol**2 * value):
            return None
        gap = _gap(objective, point)
        if not float(gap) <= tol**2:
            return None
        optimality = math.sqrt(fall / value)
        return cls(
            params=point.params,
            status=(Status.CONVERGED,),
            n_iter=n_iter,
            value=point.value,
            optimality=point.value.new_tensor([optimality]),
            duality_gap=gap,
            logits=point.logits,
            n_passes=objective.data.n_passes,
            directions=(None,),
            trace=((objective.data.n_passes, optimality),),
        )

    @classmethod
    def joined(cls, outcomes: Sequence[Self], order: Tensor) -> Self:
        """Combine successive outcomes of parts of a batch over the same rows.

        ``order`` (m,) is the position of each model among those of all outcomes.
        """

        def together(name: str, dim: int = 0) -> Tensor:
            return torch.cat([getattr(o, name) for o in outcomes], dim=dim)

        status = [s for outcome in outcomes for s in outcome.status]
        directions = [d for outcome in outcomes for d in outcome.directions]
        return cls(
            params=together("params")[order],
            status=tuple(status[i] for i in order.tolist()),
            n_iter=together("n_iter")[order],
            value=together("value")[order],
            optimality=together("optimality")[order],
            duality_gap=together("duality_gap")[order],
            logits=together("logits", dim=1)[:, order],
            n_passes=outcomes[-1].n_passes,
            directions=tuple(directions[i] for i in order.tolist()),
        )


def _joined(points: list[Point], order: list[int]) -> Point:
    """Concatenate points and restore the order of the models."""
    if len(points) == 1:
        return points[0]
    index = torch.tensor(order, device=points[0].value.device)
    together = Point(
        torch.cat([p.params for p in points]),
        torch.cat([p.logits for p in points], dim=1),
        torch.cat([p.value for p in points]),
        torch.cat([p.gradient for p in points]),
        nuisance=None
        if points[0].nuisance is None
        else torch.cat([p.nuisance for p in points if p.nuisance is not None]),
    )
    return together.select(index)


def _gap(objective: Objective, point: Point) -> Tensor:
    """Bound ``F - F*`` relative to F; nan where no bound is finite.

    A dual point needs residuals that sum to zero.  Small sums are removed by shifting the
    residuals; otherwise the bound is that of the point with the best intercept, plus the decrease
    of the objective to that point.
    """
    if not bool(objective.penalty.coercive(objective.reg_strength).any()):
        return torch.full_like(point.value, torch.nan)
    rounding = VALUE_ROUNDING * point.value.abs()
    if not objective.fit_intercept:
        return _relative(duality_gap(objective, point) + rounding, point)
    if objective.penalty.smooth and objective.penalty.quadratic:
        bound = duality_gap_nearby(objective, point)
        if bound is not None:
            return _relative(bound + rounding, point)
    best = objective.at_logits(*minimise_intercept(objective, point.params, point.logits))
    # a convex function decreases at most by its slope; a difference of values has their rounding
    shift = best.params[..., -1] - point.params[..., -1]
    most = (point.gradient[..., -1] * shift).abs().sum(dim=-1)
    gained = torch.minimum(most, (point.value - best.value).clamp(min=0.0) + rounding)
    return _relative(duality_gap(objective, best) + rounding + gained, point)


def _relative(bound: Tensor, point: Point) -> Tensor:
    return (bound / point.value).masked_fill_(bound.isinf(), torch.nan)
