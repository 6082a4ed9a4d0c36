"""Limited-memory BFGS, preconditioned with a model of the Hessian."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from skorch_logreg.objective import Objective, inner
from skorch_logreg.solvers.descent import descend
from skorch_logreg.solvers.smooth import SmoothState, confirmed, moved, renewed, start

_SLOW_STEPS = 30  # remaining steps at which a partial curvature gives way to Newton-CG
_PATIENCE = 6  # steps after which a rate is known


@dataclass(frozen=True)
class LBFGS:
    """Preconditioned limited-memory BFGS.

    The gradient is exact and the curvature cheap: a Hessian model that was factored once, and
    the pairs of the last steps on top.  The model is rebuilt when, at the rate at which the
    decrement falls, the remaining steps would cost more than a new one.  Where no exact Hessian
    is affordable and the rate stays slow, Newton-CG takes over, whose decrement is its proof.

    Parameters
    ----------
    memory : int, default=10
        Pairs that are kept.

    References
    ----------
    Nocedal, Wright (2006). Numerical Optimization, algorithm 7.4.

    Examples
    --------
    >>> from skorch_logreg.solvers import LBFGS
    >>> LBFGS(memory=5)
    LBFGS(memory=5)
    """

    requires: ClassVar[frozenset[str]] = frozenset({"smooth"})
    memory: int = 10

    def init(self, objective: Objective, params: Tensor, tol: float) -> SmoothState:
        """State at given parameters."""
        return start(objective, params, tol)

    def step(self, objective: Objective, state: SmoothState) -> SmoothState:
        """One descent step, on a new curvature where the old one has become too dear."""
        if _worn(state):
            model = state.model.stronger or state.model
            state = renewed(objective, state.point, model, state.tol)
        point = state.point
        direction = -_two_loop(state) if state.direction is None else state.direction
        target, change = descend(objective, point, direction)
        pair = _pair(change, target.gradient - point.gradient)
        state = moved(replace(state, pairs=(*state.pairs, pair)[-self.memory :]), target)
        slow = not state.model.exact and state.age >= _PATIENCE
        if state.conjugate or (slow and state.steps_left() > _SLOW_STEPS):
            return confirmed(objective, replace(state, conjugate=True))
        return state

    def confirm(self, objective: Objective, state: SmoothState) -> SmoothState:
        """Find a decrement of the same point that can be trusted."""
        return confirmed(objective, state)


def _worn(state: SmoothState) -> bool:
    """Whether the steps left would cost more than a new curvature and its two steps."""
    if state.age == 0 or state.direction is not None:
        return False
    return state.steps_left() > state.model.cost + 2


def _two_loop(state: SmoothState) -> Tensor:
    """Inverse Hessian estimate times the gradient."""
    if not state.pairs:
        return state.solved
    q = state.point.gradient
    alphas = []
    for s, y, rho in reversed(state.pairs):
        alpha = rho * inner(s, q)[:, None, None]
        q = q - alpha * y
        alphas.append(alpha)
    r = state.curvature.solve(q)
    for (s, y, rho), alpha in zip(state.pairs, reversed(alphas), strict=True):
        r = r + (alpha - rho * inner(y, r)[:, None, None]) * s
    return r


def _pair(step: Tensor, change: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Keep a pair with its inverse product; 0 where rounding has the last word."""
    product = inner(step, change)
    size = (inner(step, step) * inner(change, change)).sqrt()
    rho = torch.where(product > 1e-14 * size, 1 / product, 0.0)
    return step, change, rho[:, None, None]
