"""What the solvers of smooth objectives share: a point with a curvature model."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skorch_logreg.curvature import Curvature
from skorch_logreg.objective import Objective, Point, inner
from skorch_logreg.solvers.choose import Model, choose_curvature
from skorch_logreg.solvers.conjugate_gradient import newton_direction

_TRUST = 0.3  # contraction of the decrement up to which the last point's Hessian is trusted
_TRUST_LATER = 0.1  # the same for an older one
_CHEAP = 6.0  # passes: up to here an exact Hessian is rebuilt rather than confirmed


@dataclass(frozen=True)
class SmoothState:
    """State of a solver of smooth objectives; see `State`.

    Attributes
    ----------
    tol : float
        The optimality that will be asked for.
    model : Model
        How the curvature is built, and at what price.
    curvature : Curvature
    age : int
        Steps since the curvature was built.
    rate : float
        Contraction of the decrement a step, recent mean.
    pairs : tuple of (step, change of gradient)
    direction : Tensor or None
        A Newton direction that is at hand already.
    conjugate : bool
        Whether Newton-CG has taken over.
    """

    point: Point
    decrement: Tensor
    trusted: Tensor
    tol: float
    model: Model
    curvature: Curvature
    age: int = 0
    rate: float = 0.0
    pairs: tuple[tuple[Tensor, Tensor], ...] = ()
    direction: Tensor | None = None
    conjugate: bool = False

    def select(self, models: Tensor, objective: Objective) -> "SmoothState":
        """Keep some models."""
        return replace(
            self,
            point=self.point.select(models),
            decrement=self.decrement[models],
            trusted=self.trusted[models],
            curvature=self.curvature.select(models, objective),
            pairs=tuple((s[models], y[models]) for s, y in self.pairs),
            direction=None if self.direction is None else self.direction[models],
        )

    def goal(self) -> Tensor:
        """Decrement (m,) at which the models have converged."""
        return self.tol**2 * self.point.value

    def steps_left(self) -> float:
        """Steps to the goal at the present rate."""
        if self.rate >= 1:
            return math.inf
        far = float((self.decrement / self.goal().clamp(min=1e-300)).max())
        return math.log(max(far, 1.0)) / -math.log(self.rate)


def start(objective: Objective, params: Tensor, tol: float) -> SmoothState:
    """State at given parameters, with a curvature built there."""
    point = objective.evaluate(params)
    return renewed(objective, point, choose_curvature(objective), tol)


def renewed(objective: Objective, point: Point, model: Model, tol: float) -> SmoothState:
    """State at a point, with a curvature built there."""
    curvature = model.build(objective, point)
    decrement = inner(point.gradient, curvature.solve(point.gradient)) / 2
    trusted = torch.full_like(decrement, model.exact, dtype=torch.bool)
    return SmoothState(point, decrement, trusted, tol, model, curvature)


def moved(state: SmoothState, point: Point) -> SmoothState:
    """State at the next point: its decrement, and the rate at which that falls."""
    gradient = point.gradient
    decrement = inner(gradient, state.curvature.solve(gradient)) / 2
    contraction = decrement / state.decrement.clamp(min=1e-300)
    # the longer ago it was built, the steadier the fall has to be
    steady = contraction <= (_TRUST if state.age == 0 else _TRUST_LATER)
    state = replace(
        state,
        point=point,
        decrement=decrement,
        trusted=steady & state.model.exact,
        direction=None,
        age=state.age + 1,
    )
    unfinished = torch.where(decrement > state.goal(), contraction, 0.0)
    latest = max(float(unfinished.max()), 1e-8)
    # the mean forgets half of the past at every step
    rate = latest if state.age == 1 else math.sqrt(latest * max(state.rate, 1e-8))
    return replace(state, rate=rate)


def confirmed(objective: Objective, state: SmoothState) -> SmoothState:
    """Rebuild a cheap exact curvature, or ask conjugate gradients for the decrement."""
    if state.model.exact and state.model.cost <= _CHEAP and not state.conjugate:
        return renewed(objective, state.point, state.model, state.tol)
    direction, decrement = newton_direction(objective, state.point, state.curvature, state.tol)
    trusted = torch.ones_like(state.trusted)
    return replace(state, decrement=decrement, trusted=trusted, direction=direction)
