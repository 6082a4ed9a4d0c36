"""Newton's method that reuses a Hessian for several steps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from skorch_logreg.checkpoint import Resumable
from skorch_logreg.curvature import Curvature, ExactHessian
from skorch_logreg.objective import Objective, Point, inner
from skorch_logreg.solvers.choose import exact_hessian
from skorch_logreg.solvers.conjugate_gradient import newton_direction
from skorch_logreg.solvers.descent import take_step
from skorch_logreg.solvers.small import OneModelState
from skorch_logreg.solvers.smooth import (
    GOAL_MARGIN,
    LATE_PROOF_RATE,
    MIN_CURVATURE_RATIO,
    flattening,
    is_damped,
    steps_left,
)

_RATE_FACTOR = 4.0  # factor on an observed rate, since the first steps on a Hessian contract more


@dataclass(frozen=True)
class ChordState(OneModelState):
    """State of `ChordNewton`.

    ``curvature`` is a factored Hessian, that of the point if ``is_own``.  ``is_conjugate`` is True
    if ``solved`` was computed by conjugate gradients.
    """

    curvature: Curvature
    is_own: bool = True
    is_conjugate: bool = False

    @property
    def is_newton(self) -> tuple[bool, ...]:
        """True if the next step uses the Hessian of the point."""
        return (self.is_own,)


@dataclass(frozen=True)
class ChordNewton(Resumable):
    """Newton's method for one model whose rows are one block and whose Hessian is expensive.

    A Hessian is rebuilt when the remaining steps on the old one would cost more.  There are no
    pairs of past steps: on some thousand rows those of `LBFGS` cost as much as its passes.

    References
    ----------
    Kelley (1995). Iterative Methods for Linear and Nonlinear Equations, section 5.4.2, on the
    chord and the Shamanskii method.
    """

    requires: ClassVar[frozenset[str]] = frozenset({"smooth"})

    def init(self, objective: Objective, params: Tensor, tol: float) -> ChordState:
        """Return the state at given parameters."""
        return _renewed(objective, objective.evaluate(params), tol)

    def step(self, objective: Objective, state: ChordState) -> ChordState:
        """Take one step, and rebuild the Hessian if the remaining steps on it would cost more."""
        point, _ = take_step(objective, state.point, -state.solved)
        if state.is_conjugate:
            return _renewed(objective, point, state.tol)
        solved = state.curvature.solve(point.gradient)
        decrement = inner(point.gradient, solved).div_(2)
        now, before = float(decrement), float(inner(state.point.gradient, state.solved)) / 2
        rate = now / before if before > 0 else 1.0
        decrement_ratio = now / max(state.tol**2 * float(point.value), 1e-300)
        plan = exact_hessian(objective)
        price = plan.cost(1) + 2  # of a new Hessian and the steps on it
        if steps_left(_RATE_FACTOR * rate, decrement_ratio) > price:
            return _renewed(objective, point, state.tol)
        proven = rate <= (plan.proof_rate if state.is_own else LATE_PROOF_RATE)
        if decrement_ratio <= 1:
            distance = decrement * flattening(state.point, point)
            if float(distance) > GOAL_MARGIN * now / decrement_ratio:
                decrement, proven = distance, False
            elif bool(is_damped(state.curvature, solved, point, decrement, state.tol)):
                proven = False
        return replace(
            state,
            point=point,
            decrement=decrement,
            trusted=torch.full_like(decrement, proven, dtype=torch.bool),
            solved=solved,
            is_own=False,
        )

    def confirm(self, objective: Objective, state: ChordState, models: Sequence[int]) -> ChordState:
        """Compute the decrement from the Hessian of the point, or by conjugate gradients."""
        if not state.is_own:
            state = _renewed(objective, state.point, state.tol)
        if bool(state.trusted):
            return state
        found = newton_direction(
            objective, state.point, state.curvature, state.tol, MIN_CURVATURE_RATIO
        )
        trusted = torch.ones_like(state.trusted)
        return replace(
            state, solved=-found[0], decrement=found[1], trusted=trusted, is_conjugate=True
        )


def _renewed(objective: Objective, point: Point, tol: float) -> ChordState:
    """Return the state at a point with a new Hessian."""
    curvature = ExactHessian.build(objective, point)
    solved = curvature.solve(point.gradient)
    decrement = inner(point.gradient, solved).div_(2)
    trusted = ~is_damped(curvature, solved, point, decrement, tol)
    return ChordState(point, decrement, trusted, solved, tol, curvature)
