"""Newton's method, with a factored Hessian or with conjugate gradients."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from skorch_logreg.objective import Objective, Point
from skorch_logreg.solvers.descent import take_step
from skorch_logreg.solvers.smooth import (
    SmoothSolver,
    SmoothState,
    newton_step,
    renewed,
    start,
    with_newton_directions,
)


@dataclass(frozen=True)
class NewtonCholesky(SmoothSolver):
    """Newton's method with a new factored Hessian at every step.

    If no exact Hessian is affordable, the steps are those of `NewtonCG`.  If the Hessians of all
    models of a batch would take more than half a gigabyte, a fit uses `LBFGS` instead, which
    does not need all of them at once.

    References
    ----------
    Nocedal, Wright (2006). Numerical Optimization, section 3.3.
    """

    def step(self, objective: Objective, state: SmoothState) -> SmoothState:
        """Take one Newton step."""
        if not state.progress[0].plan.next.exact:
            return _newton_step(objective, state)
        point, _ = take_step(objective, state.point, newton_step(state, -state.solved))
        return _renewed_at(objective, state, point)


@dataclass(frozen=True)
class NewtonCG(SmoothSolver):
    """Newton's method with conjugate gradients on exact Hessian products.

    The preconditioner is an approximate Hessian of each point.  The decrement that conjugate
    gradients compute needs no further confirmation.

    References
    ----------
    Lin, Weng, Keerthi (2008). Trust region Newton method for logistic regression, section 2.
    """

    def init(self, objective: Objective, params: Tensor, tol: float) -> SmoothState:
        """Return the state at given parameters."""
        return _with_all_directions(objective, start(objective, params, tol))

    def step(self, objective: Objective, state: SmoothState) -> SmoothState:
        """Take one inexact Newton step."""
        return _newton_step(objective, state)

    def confirm(
        self, objective: Objective, state: SmoothState, models: Sequence[int]
    ) -> SmoothState:
        """Return the state unchanged: conjugate gradients have computed its decrement."""
        return state


def _newton_step(objective: Objective, state: SmoothState) -> SmoothState:
    if state.direction is None:
        state = _with_all_directions(objective, state)
    point, _ = take_step(objective, state.point, newton_step(state, -state.solved))
    return _with_all_directions(objective, _renewed_at(objective, state, point))


def _renewed_at(objective: Objective, state: SmoothState, point: Point) -> SmoothState:
    return renewed(objective, replace(state, point=point), range(len(state.progress)))


def _with_all_directions(objective: Objective, state: SmoothState) -> SmoothState:
    return with_newton_directions(objective, state, range(len(state.progress)))
