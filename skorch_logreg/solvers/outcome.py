"""How the models of a drive ended, with their proof."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Self

import torch
from torch import Tensor

from skorch_logreg.certificate import duality_gap, duality_gap_nearby
from skorch_logreg.objective import Objective, Point

_ROUNDING = 4e-16
_NEGLIGIBLE = 1e-3  # share of a bound that need not be exact


class Status(Enum):
    """How a fit ended."""

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
    """Last point of the models that ended together.

    Where the optimum is at infinity there is a direction (K, p + 1) that goes there.
    """

    models: tuple[int, ...]
    point: Point
    optimality: tuple[float, ...]
    status: tuple[Status, ...]
    n_iter: int
    directions: tuple[Tensor | None, ...]


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
    n_passes : int
        Full reads of X, those before it was resumed included.
    directions : tuple of (Tensor of shape (K, p + 1) or None)
        Where the optimum of a model is at infinity, the way there.
    state : State or None
        Where a single model's solver ended.
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

    @classmethod
    def of(
        cls, objective: Objective, ends: tuple[FinalPoint, ...], n_passes: int, bound: bool
    ) -> Self:
        """Put the models back into their order, and prove where they are.

        Parameters
        ----------
        objective : Objective
            Of all models.
        ends : tuple of End
            Every model is in one.
        n_passes : int
            Full reads of X that its data do not know of.
        bound : bool
            Whether the duality gap is wanted.
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
        )

    @classmethod
    def joined(cls, outcomes: Sequence[Self], order: Tensor) -> Self:
        """Put outcomes of parts of a batch, one after another over the same rows, into one.

        Parameters
        ----------
        outcomes : sequence of Outcome
            In the order in which they came to be.
        order : Tensor of shape (m,)
            Place of each model among those of all outcomes.
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

    A dual point needs residuals that sum to zero: those of the point are moved, or where that
    is too far the point is, to the best intercept, and its bound is what that gains more.
    """
    if not bool(objective.penalty.coercive(objective.reg_strength).any()):
        return torch.full_like(point.value, torch.nan)
    rounding = _ROUNDING * point.value.abs()
    if not objective.fit_intercept:
        return _relative(duality_gap(objective, point) + rounding, point)
    if objective.penalty.smooth:
        bound = duality_gap_nearby(objective, point)
        if bound is not None:
            return _relative(bound + rounding, point)
    params, logits = objective.minimise_intercept(point.params, point.logits)
    gradient = objective.gradient_at(params, logits)
    best = replace(point, params=params, logits=logits, gradient=gradient, intercept_hessian=None)
    bound = duality_gap(objective, best) + rounding
    # a convex function falls by no more than its slope says; where that counts, look
    shift = params[..., -1] - point.params[..., -1]
    gained = (point.gradient[..., -1] * shift).abs().sum(dim=-1)
    if bool((gained > _NEGLIGIBLE * bound).any()):
        gained = (point.value - objective.at_logits(params, logits).value).clamp(min=0.0)
    return _relative(bound + gained, point)


def _relative(bound: Tensor, point: Point) -> Tensor:
    return torch.where(bound.isinf(), torch.nan, bound / point.value)
