"""Newton's method, with a factored Hessian or with conjugate gradients."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from skorch_logreg.checkpoint import Resumable
from skorch_logreg.curvature import Curvature, ExactHessian
from skorch_logreg.curvature.cholesky import SINGLE_DAMPING, rounding_shift
from skorch_logreg.data import Block
from skorch_logreg.data.computed_rows import ComputedRows
from skorch_logreg.kernels import passes
from skorch_logreg.objective import Objective, Point, inner
from skorch_logreg.solvers.choose import CurvaturePlan, choose_curvature
from skorch_logreg.solvers.conjugate_gradient import newton_direction
from skorch_logreg.solvers.descent import accept_step, take_step
from skorch_logreg.solvers.long_steps import MAX_CHANGE, loss_after_long_step
from skorch_logreg.solvers.outcome import Outcome
from skorch_logreg.solvers.smooth import (
    MIN_CURVATURE_RATIO,
    SmoothSolver,
    SmoothState,
    has_damped_step,
    is_damped,
    moved,
    newton_step,
    renewed,
    start,
    with_newton_directions,
)


@dataclass(frozen=True)
class NewtonState:
    """State of `NewtonCholesky`; see `State`.

    ``solved`` (m, K, p + 1) is the product ``H^-1 gradient``, ``plan`` that of the Hessian, and
    ``is_rough`` True if its products were float32, so that its decrement proves nothing.
    ``curvature`` is the Hessian, where a step from it may need no other one at its end.
    """

    point: Point
    decrement: Tensor
    trusted: Tensor
    solved: Tensor
    tol: float
    plan: CurvaturePlan
    is_rough: bool = False
    curvature: Curvature | None = None

    @property
    def is_newton(self) -> tuple[bool, ...]:
        """True for models whose next step uses the exact Hessian of the point, or one as good."""
        return (not self.is_rough,) * len(self.decrement)

    def select(self, models: Tensor) -> Self:
        """Return the state of some models."""
        return replace(
            self,
            point=self.point.select(models),
            decrement=self.decrement[models],
            trusted=self.trusted[models],
            solved=self.solved[models],
        )


@dataclass(frozen=True)
class NewtonCholesky(Resumable):
    """Newton's method with a new factored Hessian at every step.

    One kernel reads a block of dense rows for all that a step of one model with ridge needs, with
    float32 products until two steps may reach the tolerance; the last of them is proven by the
    Hessian of its start.  Where rounding hides the curvature along a step, conjugate gradients on
    the Hessian compute the step.  If no exact Hessian is affordable, a fit uses `NewtonCG` instead;
    if the Hessians of all models of a batch would take more than half a gigabyte, `LBFGS`, which
    does not need all of them at once.

    References
    ----------
    Nocedal, Wright (2006). Numerical Optimization, section 3.3.
    """

    requires: ClassVar[frozenset[str]] = frozenset({"smooth"})

    def init(self, objective: Objective, params: Tensor, tol: float) -> NewtonState:
        """Return the state at given parameters."""
        plan = choose_curvature(objective).last  # a first decrement is hardly below its value
        # where a Hessian takes less time than a pass, and with several classes, float32 products
        # would only make the steps of weights differ from those of repeated rows
        is_rough = tol < 1 and _saves_hessians(objective, plan)
        state = _compiled_at(objective, params, tol, plan, is_rough)
        return state or _at(objective, objective.evaluate(params), tol, plan)

    def step(self, objective: Objective, state: NewtonState) -> NewtonState:
        """Take one Newton step."""
        step = -state.solved
        if state.curvature is not None:
            return _after_last_hessian(objective, state, step)
        is_rough = state.is_rough and not _may_end(state)
        target = state.point.params + step
        whole = _compiled_at(objective, target, state.tol, state.plan, is_rough)
        if whole is None:
            point, _ = take_step(objective, state.point, step)
        else:
            point, _ = accept_step(objective, state.point, step, whole.point)
            # where a decrement does not fall, float32 products may hide the curvature
            is_slow = is_rough and float(whole.decrement) >= float(state.decrement)
            if point is whole.point and not is_slow:
                return whole
        ahead = _at(objective, point, state.tol, state.plan)
        # a rounded factor may lead uphill: the next step is refined by conjugate gradients
        is_stuck = (point.params == state.point.params).flatten(1).all(dim=1)
        if state.is_rough or not bool(is_stuck.any()):
            return ahead
        return self.confirm(objective, ahead, is_stuck.nonzero()[:, 0].tolist())

    def confirm(
        self, objective: Objective, state: NewtonState, models: Sequence[int]
    ) -> NewtonState:
        """Compute decrements from exact Hessians, or by conjugate gradients if these are damped."""
        if state.is_rough:
            state = _at(objective, state.point, state.tol, state.plan)
            if bool(state.trusted):
                return state
        index = torch.tensor(models, device=state.decrement.device)
        part, point = objective.select(index).exact, state.point.select(index).exact()
        return _refined(objective, state, index, state.plan.build(part, point))


def _at(objective: Objective, point: Point, tol: float, plan: CurvaturePlan) -> NewtonState:
    """Return the state at a point, whose gradient may be that of float32 products."""
    exact = point.exact()
    curvature = plan.build(objective.exact, exact)
    solved = curvature.solve(point.gradient)
    decrement = inner(point.gradient, solved) / 2
    trusted = ~is_damped(curvature, solved, point, decrement, tol)
    state = NewtonState(point, decrement, trusted, solved, tol, plan)
    # a shift of the diagonal that is half of a decrement shortens the step
    # (16 x 5, 4 classes, two rows of 1e7: 40 steps in place of 1000)
    short = (2 * curvature.damping(solved) > decrement).nonzero()[:, 0]
    return _refined(objective, state, short, curvature.select(short)) if len(short) else state


def _refined(
    objective: Objective, state: NewtonState, models: Tensor, curvature: Curvature
) -> NewtonState:
    """Return the state with the steps of some models by conjugate gradients on their Hessians."""
    part, point = objective.select(models).exact, state.point.select(models).exact()
    found = newton_direction(part, point, curvature, state.tol, MIN_CURVATURE_RATIO)
    return replace(
        state,
        solved=state.solved.index_copy(0, models, -found[0]),
        decrement=state.decrement.index_copy(0, models, found[1]),
        trusted=state.trusted.index_fill(0, models, True),
    )


def proven_at(
    objective: Objective, params: Tensor, tol: float, n_iter: Tensor
) -> Outcome | NewtonState | None:
    """Return the outcome of a single model whose duality gap proves convergence.

    Otherwise return the state at the parameters, if a kernel computes it.  It is None without any
    of the ``n_iter`` (1,) steps that led to the parameters, and where the gap may be lost in
    rounding: the penalty divides it by its curvature.
    """
    if len(n_iter) > 1 or not bool(n_iter):
        return None
    weight, ridge = objective.data.weight.sum(), objective.ridge[..., :-1].amin()
    if bool(weight > 4 * ridge * torch.finfo(params.dtype).eps ** -0.5):
        return None
    found = _compiled_terms(objective, params, is_rough=False)
    if found is None:
        return None
    outcome = Outcome.proven(objective, *found[:2], tol, n_iter)
    return outcome or _state_of(objective, found, tol, choose_curvature(objective).last)


def newton_steps(
    objective: Objective, start: Tensor, goal: float, max_steps: int
) -> tuple[Tensor, Tensor] | None:
    """Take Newton steps of a single model, each by one kernel; None without one.

    They end after a step from a decrement of at most ``goal`` times the objective, and at a point
    from which the objective has risen. Returns parameters and the number of steps (1,).
    """
    before, params, least, n_steps = start, start, math.inf, 0
    while n_steps < max_steps:
        found = _compiled_terms(objective, params, is_rough=False)
        if found is None:
            return None
        point, decrement, solved = found[:3]
        value = float(point.value)
        if not value <= least:
            params, n_steps = before, max(n_steps - 1, 0)
            break
        before, params, least = params, params - solved, value
        n_steps += 1
        if float(decrement) <= goal * value:
            break
    return params, torch.tensor([n_steps])


def _compiled_at(
    objective: Objective, params: Tensor, tol: float, plan: CurvaturePlan, is_rough: bool
) -> NewtonState | None:
    """Return the state at given parameters by one kernel, or None."""
    found = _compiled_terms(objective, params, is_rough)
    return None if found is None else _state_of(objective, found, tol, plan, is_rough)


def _state_of(
    objective: Objective,
    terms: tuple[Point, Tensor, Tensor, Tensor, Tensor],
    tol: float,
    plan: CurvaturePlan,
    is_rough: bool = False,
) -> NewtonState | None:
    """Return the state from `_compiled_terms`; None where its step has to be refined."""
    point, decrement, solved, diagonal, factor = terms
    shift = rounding_shift(solved.numel())
    if not is_rough and bool(shift * (diagonal * solved.square()).sum() > decrement):
        return None  # `_at` refines such a step
    trusted = torch.full((1,), not is_rough)
    state = NewtonState(point, decrement, trusted, solved, tol, plan, is_rough)
    is_near = not is_rough and _saves_hessians(objective, plan) and _is_near(point, decrement, tol)
    if is_rough or not (is_near or float(decrement) <= tol**2 * float(point.value)):
        return state
    scale = diagonal.view(1, -1).rsqrt()
    factor = factor.tril()[None] * scale[..., None]
    curvature = ExactHessian(factor, scale, diagonal.new_tensor([shift]))
    trusted = ~is_damped(curvature, solved, point, decrement, tol)
    # rounding errors of a factor that is used again would stay hidden
    is_sound = is_near and not bool(has_damped_step(curvature, solved, point, tol))
    return replace(state, trusted=trusted, curvature=curvature if is_sound else None)


def _compiled_terms(
    objective: Objective, params: Tensor, is_rough: bool
) -> tuple[Point, Tensor, Tensor, Tensor, Tensor] | None:
    """Return a point, its decrement and Newton step by one kernel, or None.

    These are followed by the diagonal of the Hessian and its factor in the lower triangle.
    """
    data, loss = objective.data, objective.loss
    if objective.offset is not None or not objective.penalty.quadratic:
        return None
    rows = data.whole or data.one_block
    if rows is None or not rows.takes_newton_sums(loss.kernel, params):
        return None
    logits = data.empty_rows(1, loss.n_outputs)
    if isinstance(logits, ComputedRows):  # the kernel would multiply again to compute them
        return None
    params = params.contiguous()

    def kernel(block: Block, logits: Tensor) -> tuple[Tensor, ...]:
        return (block.newton_sums(loss.kernel, params, logits, is_rough=is_rough),)

    (sums,) = data.reduce(kernel, logits, reads=2)  # those of a point and of its Hessian
    found = passes.newton_step(
        *(sums, params, objective.ridge),
        shift=SINGLE_DAMPING if is_rough else rounding_shift(params.numel()),
        fit_intercept=objective.fit_intercept,
    )
    if found is None:
        return None
    terms, factor, ends = found
    gradient, diagonal, solved, *border = terms.unsqueeze(1).unbind()
    value, decrement = ends.unsqueeze(1).unbind()
    point = Point(params, logits, value, gradient, *border)
    return point, decrement, solved, diagonal, factor


def _may_end(state: NewtonState) -> bool:
    """Return True if the point after the next step is likely the last one, or the one before.

    Its decrement relative to the objective is about the square of this one.
    """
    ahead = state.decrement.square() / state.point.value
    ends = bool(ahead <= state.tol**2 * state.point.value)
    return ends or _is_near(state.point, ahead, state.tol)


def _is_near(point: Point, decrement: Tensor, tol: float) -> bool:
    """Return True if the step of a decrement is likely the last, and short.

    The mean square of its changes of the logits is two decrements over the sum of curvatures; a
    change of four times its root is rare.
    """
    row = point.intercept_hessian
    if row is None:
        return False
    is_short = 2 * 16 * decrement <= MAX_CHANGE**2 * row[0, 0, -1]
    return bool(is_short & (decrement <= tol * point.value))


def _saves_hessians(objective: Objective, plan: CurvaturePlan) -> bool:
    """Return True if a Hessian with one output takes longer than a pass, so that one less pays."""
    return objective.loss.n_outputs == 1 and plan.cost(1) > 1


def _after_last_hessian(objective: Objective, state: NewtonState, step: Tensor) -> NewtonState:
    """Return the state after a step that is likely the last, by the Hessian of its start.

    Where a logit changes by ``t``, its curvature falls by a factor of at most ``exp(t)``: so does
    that of the objective, and the decrement is larger by no more.

    References
    ----------
    Bach (2010). Self-concordant analysis for logistic regression, section 2.
    """
    before, tol, curvature = state.point, state.tol, state.curvature
    point, taken = take_step(objective, before, step, last=True)
    is_long = bool(loss_after_long_step(objective, before, point) > 0)
    if curvature is None or taken is not step or is_long:
        return _at(objective, point, tol, state.plan)
    solved = curvature.solve(point.gradient)
    decrement = math.exp(MAX_CHANGE) * inner(point.gradient, solved) / 2
    trusted = ~is_damped(curvature, solved, point, decrement, tol)
    return NewtonState(point, decrement, trusted, solved, tol, state.plan)


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
        return _with_directions(objective, start(objective, params, tol))

    def step(self, objective: Objective, state: SmoothState) -> SmoothState:
        """Take one inexact Newton step."""
        if state.direction is None:
            state = _with_directions(objective, state)
        point, _ = take_step(objective, state.point, newton_step(state, -state.solved))
        if all(model.plan.follows_points for model in state.progress):
            state = moved(state, point)
        else:
            everyone = range(len(state.progress))
            state = renewed(objective, replace(state, point=point), everyone)
        return _with_directions(objective, state)

    def confirm(
        self, objective: Objective, state: SmoothState, models: Sequence[int]
    ) -> SmoothState:
        """Return the state unchanged: conjugate gradients have computed its decrement."""
        return state


def _with_directions(objective: Objective, state: SmoothState) -> SmoothState:
    return with_newton_directions(objective, state, range(len(state.progress)))
