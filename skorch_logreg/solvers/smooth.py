"""What the solvers of smooth objectives share: a point with a curvature model."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skorch_logreg.curvature import Curvature
from skorch_logreg.objective import Objective, Point, inner
from skorch_logreg.solvers.choose import Model, choose_curvature
from skorch_logreg.solvers.conjugate_gradient import newton_direction

_TRUST_LATER = 0.03  # contraction that proves the decrement of a Hessian some steps old
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
    solved : Tensor of shape (m, K, p + 1)
        The model's Newton step, ``B gradient``.
    age : int
        Steps since the curvature was built.
    rate : float
        Contraction of the decrement a step, recent mean.
    far : float
        Largest decrement over its goal.
    pairs : tuple of (step, change of gradient, 1 / their product)
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
    solved: Tensor
    age: int = 0
    rate: float = 0.0
    far: float = math.inf
    pairs: tuple[tuple[Tensor, Tensor, Tensor], ...] = ()
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
            solved=self.solved[models],
            pairs=tuple((s[models], y[models], rho[models]) for s, y, rho in self.pairs),
            direction=None if self.direction is None else self.direction[models],
        )

    def steps_left(self) -> float:
        """Count the steps to the goal at the present rate."""
        if self.rate >= 1:
            return math.inf
        return math.log(max(self.far, 1.0)) / -math.log(self.rate)


def start(objective: Objective, params: Tensor, tol: float) -> SmoothState:
    """State at given parameters, with a curvature built there."""
    point = objective.evaluate(params)
    return renewed(objective, point, choose_curvature(objective), tol)


def renewed(objective: Objective, point: Point, model: Model, tol: float) -> SmoothState:
    """State at a point, with a curvature built there."""
    curvature = model.build(objective, point)
    solved = curvature.solve(point.gradient)
    decrement = inner(point.gradient, solved) / 2
    trusted = torch.full_like(decrement, model.exact, dtype=torch.bool)
    return SmoothState(point, decrement, trusted, tol, model, curvature, solved)


def moved(state: SmoothState, point: Point) -> SmoothState:
    """State at the next point: its decrement, and the rate at which that falls."""
    solved = state.curvature.solve(point.gradient)
    decrement = inner(point.gradient, solved) / 2
    new, old = decrement.tolist(), state.decrement.tolist()
    contraction = [d1 / d0 if d0 > 0 else 1.0 for d1, d0 in zip(new, old, strict=True)]
    # the longer ago it was built, the steadier the fall has to be
    bound = state.model.trust if state.age == 0 else min(state.model.trust, _TRUST_LATER)
    steady = [c <= bound for c in contraction]
    goals = [state.tol**2 * value for value in point.value.tolist()]
    unfinished = [c for c, d, goal in zip(contraction, new, goals, strict=True) if d > goal]
    latest = max([*unfinished, 1e-8])
    # the mean forgets half of the past at every step
    rate = latest if state.age == 0 else math.sqrt(latest * max(state.rate, 1e-8))
    return replace(
        state,
        point=point,
        decrement=decrement,
        solved=solved,
        trusted=torch.tensor(steady, device=decrement.device),
        direction=None,
        age=state.age + 1,
        rate=rate,
        far=max(d / max(goal, 1e-300) for d, goal in zip(new, goals, strict=True)),
    )


def confirmed(objective: Objective, state: SmoothState) -> SmoothState:
    """Build a cheap exact curvature, or ask conjugate gradients for the decrement."""
    model = state.model.stronger or state.model
    if model.exact and model.cost <= _CHEAP and not state.conjugate:
        return renewed(objective, state.point, model, state.tol)
    direction, decrement = newton_direction(objective, state.point, state.curvature, state.tol)
    trusted = torch.ones_like(state.trusted)
    return replace(state, decrement=decrement, trusted=trusted, direction=direction)
