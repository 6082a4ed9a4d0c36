"""Newton's method, with a factored Hessian or with conjugate gradients."""

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from skorch_logreg.objective import Objective
from skorch_logreg.solvers.descent import descend
from skorch_logreg.solvers.smooth import SmoothState, confirmed, renewed, start


@dataclass(frozen=True)
class NewtonCholesky:
    """Newton's method with a new factored Hessian at every step.

    Where no exact Hessian is affordable it is `NewtonCG`.

    References
    ----------
    Nocedal, Wright (2006). Numerical Optimization, section 3.3.
    """

    requires: ClassVar[frozenset[str]] = frozenset({"smooth"})

    def init(self, objective: Objective, params: Tensor, tol: float) -> SmoothState:
        """State at given parameters."""
        return start(objective, params, tol)

    def step(self, objective: Objective, state: SmoothState) -> SmoothState:
        """One Newton step."""
        model = state.model.stronger or state.model
        if not model.exact:
            return _newton_step(objective, state)
        direction = -state.solved
        point, _ = descend(objective, state.point, direction)
        return renewed(objective, point, model, state.tol)

    def confirm(self, objective: Objective, state: SmoothState) -> SmoothState:
        """Find a decrement of the same point that can be trusted."""
        return confirmed(objective, state)


@dataclass(frozen=True)
class NewtonCG:
    """Newton's method with conjugate gradients on exact Hessian products.

    The curvature model of each point is the preconditioner, and the decrement that conjugate
    gradients find is its own proof.

    References
    ----------
    Lin, Weng, Keerthi (2008). Trust region Newton method for logistic regression, section 2.
    """

    requires: ClassVar[frozenset[str]] = frozenset({"smooth"})

    def init(self, objective: Objective, params: Tensor, tol: float) -> SmoothState:
        """State at given parameters."""
        state = replace(start(objective, params, tol), conjugate=True)
        return confirmed(objective, state)

    def step(self, objective: Objective, state: SmoothState) -> SmoothState:
        """One inexact Newton step."""
        return _newton_step(objective, state)

    def confirm(self, objective: Objective, state: SmoothState) -> SmoothState:
        """Return the state: its decrement is one of conjugate gradients already."""
        return state


def _newton_step(objective: Objective, state: SmoothState) -> SmoothState:
    direction = state.direction
    if direction is None:
        direction = confirmed(objective, replace(state, conjugate=True)).direction
    assert direction is not None  # conjugate gradients always leave one
    point, _ = descend(objective, state.point, direction)
    state = renewed(objective, point, state.model.stronger or state.model, state.tol)
    return confirmed(objective, replace(state, conjugate=True))
