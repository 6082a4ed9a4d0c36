"""Newton's method, with a factored Hessian or with conjugate gradients."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from skorch_logreg.checkpoint import Resumable
from skorch_logreg.objective import Objective, Point
from skorch_logreg.solvers.descent import take_step
from skorch_logreg.solvers.smooth import (
    SmoothState,
    confirmed,
    newton_step,
    renewed,
    start,
    with_newton_directions,
)


@dataclass(frozen=True)
class NewtonCholesky(Resumable):
    """Newton's method with a new factored Hessian at every step.

    Where no exact Hessian is affordable it is `NewtonCG`; where those of all models of a batch
    would take more than half a gigabyte, a fit takes `LBFGS` in its place, which gives them
    theirs in turn.

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
        if not state.progress[0].plan.next.exact:
            return _newton_step(objective, state)
        point, _ = take_step(objective, state.point, newton_step(state, -state.solved))
        return _renewed_at(objective, state, point)

    def confirm(
        self, objective: Objective, state: SmoothState, models: Sequence[int]
    ) -> SmoothState:
        """Find decrements of the same point that can be trusted."""
        return confirmed(objective, state, models)


@dataclass(frozen=True)
class NewtonCG(Resumable):
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
        return _with_all_directions(objective, start(objective, params, tol))

    def step(self, objective: Objective, state: SmoothState) -> SmoothState:
        """One inexact Newton step."""
        return _newton_step(objective, state)

    def confirm(
        self, objective: Objective, state: SmoothState, models: Sequence[int]
    ) -> SmoothState:
        """Return the state: its decrement is one of conjugate gradients already."""
        return state


def _newton_step(objective: Objective, state: SmoothState) -> SmoothState:
    if state.direction is None:
        state = _with_all_directions(objective, state)
    assert state.direction is not None  # conjugate gradients always leave one
    point, _ = take_step(objective, state.point, state.direction)
    return _with_all_directions(objective, _renewed_at(objective, state, point))


def _renewed_at(objective: Objective, state: SmoothState, point: Point) -> SmoothState:
    return renewed(objective, replace(state, point=point), range(len(state.progress)))


def _with_all_directions(objective: Objective, state: SmoothState) -> SmoothState:
    return with_newton_directions(objective, state, range(len(state.progress)))
