"""Proximal Newton method on working sets, for penalties that are not smooth."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from skorch_logreg.checkpoint import Resumable
from skorch_logreg.kernels.quadratic import DECREASE_LEFT
from skorch_logreg.objective import (
    MAX_EXCESS,
    ROUNDING_DISTANCE,
    Objective,
    Point,
    gap_beyond_rounding,
    gradient_rounding,
    inner,
    loss_hessian,
    minimise_intercept,
)
from skorch_logreg.objective.hessian import MAX_EIGEN_SIDE
from skorch_logreg.solvers.descent import backtrack, penalised_slope, projected, within_constraints
from skorch_logreg.solvers.quadratic import QuadraticModel, minimise_part, reads_columns
from skorch_logreg.subproblems import Quadratic, minimise
from skorch_logreg.subproblems.quadratic import MAX_STEPS

_ENTRY_MARGIN = 0.05  # relative distance from the entry condition at which others enter as well
_MIN_ENTERING = 50  # least number of coordinates that may enter a working set
_ENTERING_RATIO = 3  # largest ratio of entering coordinates to nonzero ones
_COPY_RATIO = 8  # cost of reading a row, in numbers per column of a set, from which it is copied
_GAP_SHARE = 0.5  # of a requested gap, where the rest is for other columns, or that steps may leave
_SHORT_STEP = 0.1  # share of a step below which the Hessian's curvature is much too low
_MAX_DECREASE = 1e3  # ratio of a predicted decrease to the objective, beyond which it is wrong
# multiples of the largest curvature that are added to the Hessian, one after another
# (seed 1787 of tests/hunt: 27 steps, and more than 500 with powers of 1e8)
_SHIFTS = (0.0, 1e-12, 1e-9, 1e-6, 1e-3, 1.0)


@dataclass(frozen=True)
class ProximalState:
    """State of `ProximalNewton`; see `State`.

    The decrement is the duality gap, or the decrease that the next step predicts if the gap is
    infinite; ``direction`` (m, K, p + 1) is this step then.  ``goal`` is the duality gap to reach,
    relative to the objective, and ``model`` that of the last step of one model with one output.
    """

    point: Point
    decrement: Tensor
    trusted: Tensor
    goal: float
    model: QuadraticModel | None = None
    direction: Tensor | None = None

    def select(self, models: Tensor) -> "ProximalState":
        """Return the state of some models."""
        return ProximalState(
            self.point.select(models),
            self.decrement[models],
            self.trusted[models],
            self.goal,
            direction=None if self.direction is None else self.direction[models],
        )


@dataclass(frozen=True)
class ProximalNewton(Resumable):
    """Proximal Newton: the loss is replaced by its quadratic model, the penalty is kept.

    The quadratic problem is solved over a working set: the nonzero coordinates and those that
    violate their optimality condition most, at most four times as many as are nonzero.
    `subproblems` solves it after the intercepts have been eliminated.
    Every point has its optimal intercept, so that the duality gap is finite.

    References
    ----------
    Lee, Sun, Saunders (2014). Proximal Newton-type methods for minimizing composite functions,
    algorithm 1. Massias, Vaiter, Gramfort, Salmon (2020). Dual extrapolation for sparse
    generalized linear models, section 4.

    Examples
    --------
    >>> from skorch_logreg.solvers import ProximalNewton
    >>> ProximalNewton()
    ProximalNewton()
    """

    requires: ClassVar[frozenset[str]] = frozenset({"prox"})

    def init(self, objective: Objective, params: Tensor, tol: float) -> ProximalState:
        """Return the state at projected parameters with their best intercepts."""
        params = projected(objective, params, params)
        if bool((params[..., :-1] == 0).all()):
            logits = objective.data.empty_rows(*objective.shape[:2]).copy_(params[..., -1])
        else:
            logits = objective.logits(params)
        logits = objective.with_offset(logits)
        return _at_best_intercept(objective, params, logits, _GAP_SHARE * tol**2)

    def carried(
        self, state: ProximalState, before: Objective, objective: Objective
    ) -> ProximalState:
        """Return the state at the same parameters under another penalty strength; X is not read."""
        point, change = state.point, objective.reg_strength - before.reg_strength
        value, penalty_gradient = objective.penalty.value_gradient(point.params[..., :-1])
        gradient = point.gradient.clone()
        gradient[..., :-1] += change[:, None, None] * penalty_gradient
        point = replace(point, value=point.value + change * value, gradient=gradient)
        return _state_at(objective, point, state.goal, state.model)

    def step(self, objective: Objective, state: ProximalState) -> ProximalState:
        """Minimise over a working set of columns: two reads of X if it is small."""
        n_models, n_outputs, _ = objective.shape
        if n_models > 1:
            return _newton_step(objective, state)
        gradient = objective.loss_gradient(state.point)
        columns = _working_set(objective, state.point, gradient).any(dim=0).nonzero()[:, 0]
        apart = objective.penalty.separable and state.direction is None
        few = 0 < len(columns) * _COPY_RATIO <= objective.data.n_features
        if n_outputs == 1 and apart and len(columns) and state.point.nuisance is None:
            moved = _by_one_model(objective, state, columns)
        elif few:
            moved = _over_columns(objective, state, columns)
        else:
            return _newton_step(objective, state)
        fall, value = float(state.point.value - moved.point.value), float(state.point.value)
        left = float(moved.decrement)
        is_slow = fall <= DECREASE_LEFT * value and left > _GAP_SHARE * float(state.decrement)
        is_slow = is_slow and left > moved.goal * float(moved.point.value)
        if is_slow and not reads_columns(objective, len(columns)):
            # low precision hides a curvature, or there is none: shift the exact Hessian
            return _newton_step(objective, replace(moved, model=None))
        return moved

    def confirm(
        self, objective: Objective, state: ProximalState, models: Sequence[int]
    ) -> ProximalState:
        """Take one more step, which squares the error that a gap below rounding may hide."""
        index = torch.tensor(models, device=state.decrement.device)
        part = _newton_step(objective.select(index), state.select(index))
        return replace(
            state,
            point=state.point.replaced(index, part.point),
            decrement=state.decrement.index_copy(0, index, part.decrement),
            trusted=state.trusted.index_fill(0, index, True),
            model=None,
            direction=None,
        )


def _over_columns(objective: Objective, state: ProximalState, columns: Tensor) -> ProximalState:
    """Minimise over a copy of some columns, to a share of the gap over all columns."""
    point = state.point
    within, part = _restricted(objective, columns)
    goal = _GAP_SHARE * state.decrement
    inner_state = _newton_step(
        part,
        _at_best_intercept(part.at(point), point.params[..., within], point.logits, state.goal),
    )
    for _ in range(MAX_STEPS):
        if bool((inner_state.decrement <= goal).all()):
            break
        moved = _newton_step(part, inner_state)
        lower = moved.point.value < inner_state.point.value
        if not bool((lower | (moved.decrement < inner_state.decrement)).all()):
            break
        inner_state = moved
    params = point.params.clone()
    found = inner_state.point
    params[..., within] = found.params
    return _at_best_intercept(objective.at(found), params, found.logits, state.goal)


def _restricted(objective: Objective, columns: Tensor) -> tuple[Tensor, Objective]:
    """Return the indices of parameters of some columns, and the objective over a copy of these."""
    within = torch.cat([columns, columns.new_tensor([objective.data.n_features])])
    data, penalty = objective.data.take_columns(columns), objective.penalty.of_columns(columns)
    return within, replace(objective, data=data, penalty=penalty)


def _by_one_model(objective: Objective, state: ProximalState, columns: Tensor) -> ProximalState:
    """Minimise over some columns of one model with one output; a small set is copied."""
    point, model, value = state.point, state.model, float(state.point.value)
    if len(columns) * _COPY_RATIO > objective.data.row_size:
        # every step computes the gradient of the other columns as well: none is left out
        goal = (1 / _GAP_SHARE - 1) * state.goal * value

        def choose(point: Point, gradient: Tensor) -> Tensor:
            return _working_set(objective, point, gradient[None, None])[0].nonzero()[:, 0]

        reached, model = minimise_part(objective, point, model, choose, goal=goal, reuse=True)
        if not objective.fit_intercept:
            return _state_at(objective, reached, state.goal, model)
        return _at_best_intercept(objective, reached.params, reached.logits, state.goal, model)
    within, part = _restricted(objective, columns)

    def every(point: Point, gradient: Tensor) -> Tensor:
        violation = _violation(part, point, gradient[None, None])
        return ((point.params[..., :-1] != 0) | (violation > 0))[0, 0].nonzero()[:, 0]

    goal = state.goal * value
    begin = replace(point, params=point.params[..., within], gradient=point.gradient[..., within])
    reached, _ = minimise_part(part, begin, None, every, goal=goal, reuse=False)
    params = point.params.clone()
    params[..., within] = reached.params
    return _at_best_intercept(objective, params, reached.logits, state.goal)


def _newton_step(objective: Objective, state: ProximalState) -> ProximalState:
    """Take one proximal Newton step: two reads of X and the working set's Hessian."""
    point, direction = state.point, state.direction
    if direction is None:
        direction = _directions(objective, point)
    change = objective.logits(direction)
    step = backtrack(objective, point, direction, change)
    if bool(((step > 0) & (step < _SHORT_STEP)).any()):
        direction, change, step = _damped(objective, point, direction, change, step)
    params = projected(objective, point.params + step[:, None, None] * direction, point.params)
    logits = torch.addcmul(point.logits, change, step[:, None])
    return _at_best_intercept(objective.at(point), params, logits, state.goal)


def _damped(
    objective: Objective, point: Point, direction: Tensor, change: Tensor, step: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return directions of a Hessian that has the curvature which short steps have met.

    Saturated rows have almost no curvature until they are classified otherwise: a model of their
    Hessian goes much too far, and a small share of such a step hardly moves the other parameters.
    """
    met = -penalised_slope(objective, point, direction) / (step * inner(direction, direction))
    shift = torch.where((step > 0) & (step < _SHORT_STEP), met, 0.0)
    other = _directions(objective, point, shift)
    moved = objective.logits(other)
    length = backtrack(objective, point, other, moved)
    value = objective.along(point, direction, change, step)[0]
    lower = objective.along(point, other, moved, length)[0] < value
    return (
        torch.where(lower[:, None, None], other, direction),
        torch.where(lower[:, None], moved, change),
        torch.where(lower, length, step),
    )


def _at_best_intercept(
    objective: Objective,
    params: Tensor,
    logits: Tensor,
    goal: float,
    model: QuadraticModel | None = None,
) -> ProximalState:
    params, logits = minimise_intercept(objective, params, logits)
    return _state_at(objective, objective.at_logits(params, logits), goal, model)


def _state_at(
    objective: Objective, point: Point, goal: float, model: QuadraticModel | None
) -> ProximalState:
    """Return the state at a point that has its best intercept."""
    (gap, rounding), direction = gap_beyond_rounding(objective, point), None
    if bool(gap.isinf().any()):
        direction, predicted = predicted_step(objective, point)
        gap = torch.where(gap.isinf(), predicted, gap)
    # below the rounding of a gap, coefficients may still be inaccurate
    seen = (rounding <= MAX_EXCESS * goal * point.value) & (goal > ROUNDING_DISTANCE)
    trusted = seen | (direction is not None)
    return ProximalState(point, gap, trusted, goal, model, direction)


def _directions(objective: Objective, point: Point, shift: Tensor | None = None) -> Tensor:
    """Compute the steps (m, K, p + 1) of all models; ``shift`` (m,) is added to their Hessians."""
    shifts = [0.0] * objective.shape[0] if shift is None else shift.tolist()
    found = torch.stack([_direction(objective, point, i, own) for i, own in enumerate(shifts)])
    if objective.shape[1] > 1:
        # The loss does not depend on a constant for all classes, only its rounded Hessian does:
        # take the constants that minimise the penalty.
        coef = point.params[..., :-1]
        ahead = coef + found[..., :-1]
        moved = objective.penalty.balanced(ahead, objective.reg_strength)
        found[..., :-1] = torch.where(moved == 0, -coef, found[..., :-1] + (moved - ahead))
    return found


def predicted_step(objective: Objective, point: Point) -> tuple[Tensor, Tensor]:
    """Return the steps (m, K, p + 1) of all models, and the decreases (m,) that they predict.

    These are from the slopes of the steps, beyond rounding, and replace an infinite duality gap.  A
    convex quadratic model decreases by at least half of the negative slope.  A positive slope is an
    error, and then the estimate is the value of the objective, which is also its upper limit, as no
    objective is negative.
    """
    direction = _directions(objective, point)
    fall = -penalised_slope(objective, point, direction)
    rounding = objective.rounding * point.value.abs()
    penalty = objective.reg_strength * objective.penalty.value(point.params[..., :-1])
    beyond = (fall - objective.rounding * penalty).clamp(min=0.0)
    predicted = torch.where(fall < -rounding, point.value, torch.minimum(beyond, point.value))
    return direction, predicted


def _violation(objective: Objective, point: Point, gradient: Tensor) -> Tensor:
    """Return how far coefficients (m, K, p) are from their optimality condition.

    A single model and output enters coefficients with a margin.  ``gradient`` (m, K, p + 1) is that
    of the loss.
    """
    one = gradient.shape[:2] == (1, 1) and objective.penalty.separable
    strength = objective.reg_strength * (1 - _ENTRY_MARGIN if one else 1.0)
    coef, penalty = point.params[..., :-1], objective.penalty
    return penalty.subgradient_distance(coef, gradient[..., :-1], strength)


def _working_set(objective: Objective, point: Point, gradient: Tensor) -> Tensor:
    """Select the coefficients (K, p) of the working set of one model, as a mask."""
    coef = point.params[0, :, :-1]
    if coef.numel() <= MAX_EIGEN_SIDE and not bool(
        objective.penalty.coercive(objective.reg_strength)
    ):
        # no gap would show what the coefficients left out could add to a step of the others
        return torch.ones_like(coef, dtype=torch.bool)
    active = coef != 0
    distance = objective.penalty.pooled(_violation(objective, point, gradient)[0])
    violation = torch.where(active, 0.0, distance)
    max_entering = max(_ENTERING_RATIO * int(active.sum()), _MIN_ENTERING)
    if len(coef) == 1 and objective.penalty.separable:
        n, p = objective.data.n_samples, objective.data.n_features
        # a Hessian over the first working set costs about a pass
        most = min(int((n * p) ** (1 / 3)), p // _COPY_RATIO - int(active.sum()) - _MIN_ENTERING)
        max_entering = max(max_entering, most)
    candidates = violation.flatten().topk(min(max_entering, violation.numel()))
    chosen = torch.zeros_like(active).flatten()
    chosen[candidates.indices[candidates.values > 0]] = True
    return active | chosen.view_as(active)


def _direction(objective: Objective, point: Point, model: int, least: float = 0.0) -> Tensor:
    """Compute the step (K, p + 1) to the minimiser of the quadratic model of one model."""
    single = torch.tensor([model], device=point.value.device)
    own = objective.select(single)
    point = point.select(single)
    gradient = own.loss_gradient(point)
    working = _working_set(own, point, gradient)
    columns = working.any(dim=0).nonzero()[:, 0]
    n_outputs = working.shape[0]
    every = len(columns) == own.data.n_features
    hessian = loss_hessian(own, point, None if every else columns)[0]
    side = len(columns) + 1
    flat = hessian.reshape(n_outputs * side, n_outputs * side)
    flat.diagonal().add_(least)
    member = torch.zeros(n_outputs, side, dtype=torch.bool, device=flat.device)
    member[:, :-1], member[:, -1] = working[:, columns], own.fit_intercept
    inside = member.flatten().nonzero()[:, 0]
    is_intercept = inside % side == side - 1
    chosen = torch.cat([working, member[:, -1:]], dim=1)
    start, slopes = point.params[0][chosen], gradient[0][chosen]
    quadratic, index = flat[inside][:, inside], working.nonzero()[:, 1]
    out = torch.zeros_like(gradient[0])
    rounding = float(gradient_rounding(own, point))
    curvature = own.data.weight.sum()  # of a column of unit deviation, at most, up to a factor
    value, found = float(point.value), None

    def minimise_coef(problem: Quadratic) -> Tensor:
        if not len(index):
            return problem.slope
        return minimise(problem, own.penalty, index, own.reg_strength[0])

    for shift in _SHIFTS:
        quadratic.diagonal()[~is_intercept] += shift * curvature
        problem = Quadratic(quadratic, slopes, start, rounding, DECREASE_LEFT)
        out[chosen] = problem.eliminate(is_intercept, minimise_coef)
        # the minimiser of a convex model is downhill: rounding may leave one that is not convex;
        # where all rows are saturated there is hardly any curvature, and steps overflow or vanish
        out = within_constraints(own, point, out[None])[0]
        slope = float(penalised_slope(own, point, out[None]))
        if -_MAX_DECREASE * value <= slope <= own.rounding * value:
            found = out.clone() if found is None else found
            if slope < -own.rounding * value or _is_stationary(own, point, rounding):
                return out
    return out if found is None else found


def _is_stationary(objective: Objective, point: Point, rounding: float) -> bool:
    """Return True if subgradients of one model are zero up to the root of rounding."""
    gradient = objective.loss_gradient(point)
    left = objective.penalty.subgradient_distance(
        point.params[..., :-1], gradient[..., :-1], objective.reg_strength
    )
    root = math.sqrt(objective.rounding)
    return float(left.abs().max()) <= max(rounding / root, root * float(gradient.abs().max()))
