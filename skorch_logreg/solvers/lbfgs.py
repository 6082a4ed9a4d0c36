"""Limited-memory BFGS, preconditioned with an approximate Hessian."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skorch_logreg.objective import Objective, Point, inner
from skorch_logreg.solvers.choose import MAX_STORED_NUMBERS, CurvaturePlan
from skorch_logreg.solvers.descent import take_step
from skorch_logreg.solvers.progress import ModelProgress, steps_left
from skorch_logreg.solvers.smooth import (
    SmoothSolver,
    SmoothState,
    flattening,
    is_damped,
    moved,
    n_models_left,
    newton_step,
    renewed,
    with_newton_directions,
)

_SLOW_STEPS = 30  # estimated remaining steps above which Newton-CG takes over
_FIRST_STEPS = 6  # steps before the rate on a curvature that is not exact is known


@dataclass(frozen=True)
class LBFGS(SmoothSolver):
    """Preconditioned limited-memory BFGS.

    The gradient is exact; the curvature is an approximate Hessian that was factored once,
    corrected by the pairs of the last steps.  It is rebuilt when, at the current rate of
    convergence, the remaining steps would cost more than a new one.  If no exact Hessian is
    affordable and convergence stays slow, Newton-CG takes over, which needs no confirmation of
    its decrement.

    Parameters
    ----------
    memory : int, default=10
        Number of pairs that are kept; fewer, but at least 3, if they would take more than half a
        gigabyte.
    checkpoint, on_interrupt
        As in `Resumable`.

    References
    ----------
    Nocedal, Wright (2006). Numerical Optimization, algorithm 7.4.

    Examples
    --------
    >>> from skorch_logreg.solvers import LBFGS
    >>> LBFGS(memory=5)
    LBFGS(memory=5)
    """

    memory: int = 10

    def step(self, objective: Objective, state: SmoothState) -> SmoothState:
        """Rebuild stale curvatures and take one step."""
        stale = _stale_models(state.progress)
        if stale:
            state = renewed(objective, state, stale, _next_plan(state.progress[stale[0]]))
        point = state.point
        direction = newton_step(state, -_two_loop(state))
        target, change = take_step(objective, point, direction, _is_likely_last(state))
        pair = _pair(change, target.gradient - point.gradient)
        kept = min(self.memory, max(MAX_STORED_NUMBERS // (2 * change.numel()), 3))
        state = moved(replace(state, pairs=(*state.pairs, pair)[-kept:]), target)
        return self._with_newton_cg(objective, _doubted(point, state))

    def _with_newton_cg(self, objective: Objective, state: SmoothState) -> SmoothState:
        """Switch slow models to Newton-CG."""
        progress = tuple(
            replace(model, uses_newton_cg=True) if _is_slow(model) else model
            for model in state.progress
        )
        models = [i for i, model in enumerate(progress) if model.uses_newton_cg]
        if not models:
            return state
        return with_newton_directions(objective, replace(state, progress=progress), models)


def _is_likely_last(state: SmoothState) -> bool:
    """Return True if the decrements of all models are likely to meet their goal after a step."""
    ratios = (state.decrement / (state.tol**2 * state.point.value)).tolist()
    return all(
        ratio * model.expected_rate <= 1
        for model, ratio in zip(state.progress, ratios, strict=True)
    )


def _doubted(before: Point, state: SmoothState) -> SmoothState:
    """Replace decrements that the last steps show to be much too small.

    If rows have become saturated since the curvature was built, the objective is flatter than
    the curvature.  The pairs measure that up to the last step, and the values along that step
    measure it at its end.
    """
    goal = state.tol**2 * state.point.value
    near = state.decrement <= goal
    if not bool(near.any()):
        return state
    seen = state.decrement
    if not state.curvature.reads:
        seen = torch.maximum(inner(state.point.gradient, _two_loop(state)) / 2, seen)
    seen = seen * flattening(before, state.point)
    near &= seen > goal
    damped = is_damped(state.curvature, state.solved, state.point, state.decrement, state.tol)
    trusted = state.trusted & ~near & ~damped
    # a proof that was refuted here is none at the next point
    progress = tuple(
        replace(model, proven=model.proven and kept)
        for model, kept in zip(state.progress, trusted.tolist(), strict=True)
    )
    return replace(
        state,
        decrement=torch.where(near, seen, state.decrement),
        trusted=trusted,
        progress=progress,
    )


def _stale_models(progress: Sequence[ModelProgress]) -> list[int]:
    """Return the models for which a new curvature is cheaper than the remaining steps.

    All of them have the same plan for the new curvature, so that it is built in one batch.
    """
    candidates = [
        i
        for i, model in enumerate(progress)
        if model.decrement_ratio > 1
        and not (model.has_newton_direction or model.plan.follows_points)
        # the first steps on an adaptive or partial curvature are always slow, unless they vanish
        and (model.age >= (_FIRST_STEPS if _is_slow_at_first(model.plan) else 1) or model.rate == 1)
    ]
    stale = [i for i in candidates if _is_stale(progress[i], len(candidates))]
    if not stale:
        return []
    plan = _next_plan(progress[stale[0]])
    stale = [i for i in stale if _next_plan(progress[i]) is plan]
    own = [i for i in stale if not progress[i].plan.is_adaptive]
    others = [i for i in stale if progress[i].plan.is_adaptive]
    return own + others[: n_models_left(progress, plan)]


def _next_plan(model: ModelProgress) -> CurvaturePlan:
    """Return the plan that replaces a stale curvature: the last one, if that may save more steps.

    Low precision may not resolve the curvature of correlated columns (5000 x 1000, with standard
    deviations of i^-.7 in as many directions: .4 of the time of one such Hessian after another).
    """
    plan = model.plan
    if plan.is_adaptive or not plan.proof_rate:
        return plan.next
    left = steps_left(model.rate, model.decrement_ratio)
    return plan.last if left > plan.last.cost(1) + 2 else plan.next


def _is_slow_at_first(plan: CurvaturePlan) -> bool:
    return plan.is_adaptive or not plan.proof_rate


def _is_stale(model: ModelProgress, n_models: int) -> bool:
    price = model.plan.cost(n_models) + 2  # of a new curvature and the steps on it
    # the rate of an adaptive curvature may get worse, so the remaining steps are not bounded
    stalled = model.plan.is_adaptive and model.age > price and model.rate > model.plan.proof_rate
    return stalled or steps_left(model.rate, model.decrement_ratio) > price


def _is_slow(model: ModelProgress) -> bool:
    """Return True if convergence on the last available curvature, not exact, is slow."""
    if model.plan.exact or model.plan.fallback is not None or model.age < _FIRST_STEPS:
        return False
    return steps_left(model.rate, model.decrement_ratio) > _SLOW_STEPS


def _two_loop(state: SmoothState) -> Tensor:
    """Multiply the L-BFGS estimate of the inverse Hessian with the gradient."""
    if not state.pairs:
        return state.solved
    q = state.point.gradient
    alphas = []
    for s, y, rho in reversed(state.pairs):
        alpha = rho * inner(s, q)[:, None, None]
        q = q - alpha * y
        alphas.append(alpha)
    r = state.curvature.solve(q) * state.curvature_scale[:, None, None]
    for (s, y, rho), alpha in zip(state.pairs, reversed(alphas), strict=True):
        r = r + (alpha - rho * inner(y, r)[:, None, None]) * s
    return r


def _pair(step: Tensor, change: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return a pair with the inverse of its inner product, 0 if that is rounding error."""
    product = inner(step, change)
    size = (inner(step, step) * inner(change, change)).sqrt()
    rho = torch.where(product > 1e-14 * size, 1 / product, 0.0)
    return step, change, rho[:, None, None]
