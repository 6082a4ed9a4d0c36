"""Proximal Newton on a working set, for penalties that are not smooth."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from skorch_logreg.certificate import gap_beyond_rounding, penalty_gap
from skorch_logreg.checkpoint import Resumable
from skorch_logreg.curvature import pass_seconds, rough_seconds, solve_seconds
from skorch_logreg.intercepts import outputs_inverse
from skorch_logreg.objective import Objective, Point, inner
from skorch_logreg.solvers.quadratic import QuadraticModel

_MIN_WORKING = 50  # coordinates a working set has at least
_BACKTRACKS = 400  # where no row has curvature left, a step is 1e100 times too long
_GROWTH = 3  # coordinates that come in for one that is there, at most
_COPY_RATIO = 8  # a working set of an eighth of the columns is copied
_INNER_GAP = 0.1  # of the gap over all columns, up to which a working set is solved
_INNER_STEPS = 10
_PART_GAP = 1e-4  # of its square, where one Hessian serves for several steps
_GOAL = 0.2  # of the gap that is asked for: a part of it is the columns' left out
_MIN_DECREASE_WORKING_SET = 1e-3  # of the first decrease, for a set that was chosen at the start
_N_LOW_PRECISION = 2  # in a step, until rounding may be why they do not serve
_MIN_DECREASE_ALL_COLUMNS = 0.1  # the same, where steps tell of all columns
_FEWER = 2  # times as many columns, from which a new Hessian of few is the better
_LARGER = 1.5  # times as many, from which one of all is no dearer than what is new
_NEW_STEPS = 1.0  # on a Hessian that is new
_PART_STEPS = 20
_MAX_PROMISE = 0.3  # of the decrease promised before: beyond, a Hessian is too old
_MAX_PROMISE_ALL_COLUMNS = 0.1  # the same, where a step reads all of X
_MIN_DECREASE_SHARE = 0.1  # of the decrease promised now: below, it is of no use
_MAX_GAP_RATIO = 0.5  # share of a gap that a step leaves, where values are too coarse to tell
_LOW_PRECISION_GAP = 1e-8  # relative, up to which float32 products serve
_TIGHT = 1e-13  # relative, a goal from which steps go on until rounding is all they promise
_NEAR = 0.9  # factor of the dual point from which the rows' share of a gap is small
_FIRST = 1.5  # passes that a Hessian over the first working set may cost, or so
_ENTRY_MARGIN = 0.05  # short of entering, relatively: such coordinates take part, too
_ROUNDING = 1e-14


@dataclass(frozen=True)
class ProximalState:
    """State of `ProximalNewton`; see `State`.

    The decrement is the duality gap; where that is infinite, what the next step's model foresees.

    Attributes
    ----------
    goal : float
        Gap that is worth asking for, relative to the objective.
    model : QuadraticModel or None
        Of the last step, where one model with one output is solved.
    direction : Tensor of shape (m, K, p + 1) or None
        The next step, where no gap is finite.
    """

    point: Point
    decrement: Tensor
    trusted: Tensor
    goal: float
    model: QuadraticModel | None = None
    direction: Tensor | None = None

    def select(self, models: Tensor, objective: Objective) -> "ProximalState":
        """Keep some models."""
        return ProximalState(
            self.point.select(models),
            self.decrement[models],
            self.trusted[models],
            self.goal,
            direction=None if self.direction is None else self.direction[models],
        )


@dataclass(frozen=True)
class ProximalNewton(Resumable):
    """Proximal Newton: the loss becomes its quadratic model, the penalty stays as it is.

    The quadratic problem is solved over a working set: the coordinates that are not zero and
    those that violate their optimality condition most, at most four times as many as are not
    zero.
    The penalty solves it itself (`Penalty.quadratic_step`), after the intercepts were
    eliminated.  Every point has its best intercept, so that the duality gap is finite.

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
        """State at given parameters, or the nearest allowed, with their best intercept."""
        params = _projected(objective, params, params)
        if bool((params[..., :-1] == 0).all()):
            logits = objective.data.empty_rows(*objective.shape[:2]).copy_(params[..., -1])
        else:
            logits = objective.logits(params)
        return _at_best_intercept(objective, params, objective.with_offset(logits), _GOAL * tol**2)

    def carried(
        self, state: ProximalState, before: Objective, objective: Objective
    ) -> ProximalState:
        """State at the same parameters under another strength; X is not read."""
        point, change = state.point, objective.reg_strength - before.reg_strength
        value, penalty_gradient = objective.penalty.value_gradient(point.params[..., :-1])
        gradient = point.gradient.clone()
        gradient[..., :-1] += change[:, None, None] * penalty_gradient
        point = replace(point, value=point.value + change * value, gradient=gradient)
        return _state_at(objective, point, state.goal, state.model)

    def step(self, objective: Objective, state: ProximalState) -> ProximalState:
        """Solve over a working set of columns: two reads of X where that is small."""
        n_models, n_outputs, _ = objective.shape
        if n_models > 1:
            return _newton_step(objective, state)
        columns = _working_set(objective, state.point, 0).any(dim=0).nonzero()[:, 0]
        apart = objective.penalty.separable and state.direction is None
        if n_outputs == 1 and apart and len(columns):
            return _by_one_model(objective, state, columns)
        few = 0 < len(columns) * _COPY_RATIO <= objective.data.n_features
        return _over_columns(objective, state, columns) if few else _newton_step(objective, state)

    def confirm(
        self, objective: Objective, state: ProximalState, models: Sequence[int]
    ) -> ProximalState:
        """Take one more step: it squares what a gap of rounding hides."""
        index = torch.tensor(models, device=state.decrement.device)
        part = _newton_step(objective.select(index), state.select(index, objective))
        return replace(
            state,
            point=state.point.replaced(index, part.point),
            decrement=state.decrement.index_copy(0, index, part.decrement),
            trusted=state.trusted.index_fill(0, index, True),
            model=None,
            direction=None,
        )


def _over_columns(objective: Objective, state: ProximalState, columns: Tensor) -> ProximalState:
    """Minimise over some columns alone, which are copied, as far as that tells of the rest."""
    point = state.point
    within = torch.cat([columns, columns.new_tensor([objective.data.n_features])])
    part = replace(
        objective,
        data=objective.data.take_columns(columns),
        penalty=objective.penalty.of_columns(columns),
    )
    goal = _INNER_GAP * state.decrement
    inner_state = _newton_step(
        part, _at_best_intercept(part, point.params[..., within], point.logits, state.goal)
    )
    for _ in range(_INNER_STEPS):
        if bool((inner_state.decrement <= goal).all()):
            break
        moved = _newton_step(part, inner_state)
        lower = moved.point.value < inner_state.point.value
        if not bool((lower | (moved.decrement < inner_state.decrement)).all()):
            break
        inner_state = moved
    params = point.params.clone()
    params[..., within] = inner_state.point.params
    return _at_best_intercept(objective, params, inner_state.point.logits, state.goal)


def _by_one_model(objective: Objective, state: ProximalState, columns: Tensor) -> ProximalState:
    """Minimise over some columns of one model with one output; few of them are copied."""
    point, model = state.point, state.model
    n_features = objective.data.n_features
    if model is not None:
        new = torch.zeros_like(point.params[0, 0, :-1], dtype=torch.bool)
        new[columns] = True
        new[model.columns] = False
        every = torch.cat([model.columns, new.nonzero()[:, 0]])
        if len(columns) * _FEWER < len(every):
            model = None  # a Hessian of far fewer columns is soon made
        elif len(every) > _LARGER * len(model.columns):
            model, columns = None, every  # and what is new costs as much as all
        else:
            columns = every
    gap, target = float(state.decrement), state.goal * float(point.value)
    if model is not None and model.steps_left(gap, target) > _hessian_cost(objective, columns):
        model = None
    goal = max(_PART_GAP * gap**2 / float(point.value), target)
    if len(columns) * _COPY_RATIO > n_features:
        # every step tells of the columns left out, too
        limits = _MIN_DECREASE_ALL_COLUMNS, _MAX_PROMISE_ALL_COLUMNS
        point, model = _minimise_part(objective, point, columns, model, goal, *limits)
        if not objective.fit_intercept:
            return _state_at(objective, point, state.goal, model)
        return _at_best_intercept(objective, point.params, point.logits, state.goal, model)
    within = torch.cat([columns, columns.new_tensor([n_features])])
    part = replace(
        objective,
        data=objective.data.take_columns(columns),
        penalty=objective.penalty.of_columns(columns),
    )
    begin = replace(point, params=point.params[..., within], gradient=point.gradient[..., within])
    places = torch.arange(len(columns), device=columns.device)
    if model is not None:
        model = replace(model, columns=places[: len(model.columns)])
    reached, model = _minimise_part(
        part,
        begin,
        places,
        model,
        goal,
        _MIN_DECREASE_WORKING_SET if model is None else 0.0,
        _MAX_PROMISE,
    )
    params = point.params.clone()
    params[..., within] = reached.params
    model = None if model is None else replace(model, columns=columns)
    return _at_best_intercept(objective, params, reached.logits, state.goal, model)


def _hessian_cost(objective: Objective, columns: Tensor) -> float:
    """Count the steps that a new Hessian costs, with those on it."""
    n, c = objective.data.n_samples, len(columns)
    width = c if c * _COPY_RATIO <= objective.data.n_features else objective.data.row_size
    step = solve_seconds(c) + pass_seconds(n, 1, width)
    return rough_seconds(n, 1, c) / step + _NEW_STEPS


def _minimise_part(
    objective: Objective,
    point: Point,
    columns: Tensor,
    model: QuadraticModel | None,
    goal: float,
    enough: float,
    slow: float,
) -> tuple[Point, QuadraticModel | None]:
    """Minimise over some columns, with as few Hessians as serve.

    Up to a gap among them, or until a step promises no more than a share of what the best did.
    """
    if model is not None and len(columns) > len(model.columns):
        model = model.extended(objective, point, columns[len(model.columns) :])
    before, left, most = torch.inf, torch.inf, 0.0
    low_precision = _N_LOW_PRECISION if goal > _LOW_PRECISION_GAP * float(point.value) else 0
    for _ in range(_PART_STEPS):
        fresh = model is None
        if model is None:
            model = QuadraticModel.of(objective, point, columns, low_precision=low_precision > 0)
            low_precision -= 1
        direction = model.direction(objective, point)
        promised = -float(_slope(objective, point, direction))
        rounding = abs(promised) <= _ROUNDING * float(point.value)
        if not (fresh or rounding) and not 0 < promised <= slow * before:
            model = None
            continue
        ahead = _move(objective, point, direction)
        poor = float(point.value - ahead.value) < _MIN_DECREASE_SHARE * promised and not rounding
        model = model.corrected(objective, point, ahead)
        point, before, most = ahead, promised, max(most, promised)
        last, left = left, _part_gap(objective, point, model, promised)
        if math.isfinite(last) and last > 0:
            model = replace(model, rate=left / last)
        model = None if poor else model
        if goal <= _TIGHT * float(point.value):
            if rounding and fresh:  # values tell no more: one step of Newton's own is the end
                break
            model = None if rounding else model
            continue
        if left <= goal or 0 < promised <= enough * most:
            break
        if rounding and not left < _MAX_GAP_RATIO * last:
            return point, None  # the next Hessian is made here
    return point, model


def _part_gap(objective: Objective, point: Point, model: QuadraticModel, promised: float) -> float:
    """Gap among a model's columns; what a step promised, where there is no bound."""
    penalty = objective.penalty.of_columns(model.columns)
    if not bool(penalty.coercive(objective.reg_strength).all()):
        return promised
    within = torch.cat([model.columns, model.columns.new_tensor([objective.data.n_features])])
    part = replace(point, params=point.params[..., within], gradient=point.gradient[..., within])
    gap, scale = penalty_gap(replace(objective, penalty=penalty), part)
    # far away the rows' share of the gap is the larger
    return float(gap) + model.intercept_gap(point) if float(scale) > _NEAR else torch.inf


def _move(objective: Objective, point: Point, direction: Tensor) -> Point:
    """Go the whole step, or as far as the objective falls by enough."""
    ahead = objective.move(point, direction)
    enough = point.value + 1e-4 * _slope(objective, point, direction)
    if bool(ahead.value <= enough + _ROUNDING * point.value.abs()):
        return ahead
    change = ahead.logits - point.logits
    step = _backtrack(objective, point, direction, change)
    params = point.params + step[:, None, None] * direction
    return objective.at_logits(params, torch.addcmul(point.logits, change, step[:, None]))


def _newton_step(objective: Objective, state: ProximalState) -> ProximalState:
    """One proximal Newton step: two reads of X and the working set's Hessian."""
    point, direction = state.point, state.direction
    if direction is None:
        direction = _directions(objective, point)
    change = objective.logits(direction)
    step = _backtrack(objective, point, direction, change)
    params = _projected(objective, point.params + step[:, None, None] * direction, point.params)
    logits = torch.addcmul(point.logits, change, step[:, None])
    return _at_best_intercept(objective, params, logits, state.goal)


def _at_best_intercept(
    objective: Objective,
    params: Tensor,
    logits: Tensor,
    goal: float,
    model: QuadraticModel | None = None,
) -> ProximalState:
    params, logits = objective.minimise_intercept(params, logits)
    return _state_at(objective, objective.at_logits(params, logits), goal, model)


def _state_at(
    objective: Objective, point: Point, goal: float, model: QuadraticModel | None
) -> ProximalState:
    """State at a point that has its best intercept."""
    gap, direction = gap_beyond_rounding(objective, point), None
    if bool(gap.isinf().any()):
        direction = _directions(objective, point)
        gap = torch.where(gap.isinf(), _predicted(objective, point, direction), gap)
    # a gap is a proof; but below its rounding coefficients may still be far off
    trusted = torch.full_like(gap, goal > _TIGHT or direction is not None, dtype=torch.bool)
    return ProximalState(point, gap, trusted, goal, model, direction)


def _projected(objective: Objective, params: Tensor, size: Tensor) -> Tensor:
    """Parameters (m, K, p + 1) with the nearest coefficients that the penalty allows."""
    coef = objective.penalty.feasible(params[..., :-1], size[..., :-1])
    return torch.cat([coef, params[..., -1:]], dim=-1)


def _directions(objective: Objective, point: Point) -> Tensor:
    """Find the steps (m, K, p + 1) of all models."""
    models = range(objective.shape[0])
    return torch.stack([_direction(objective, point, model) for model in models])


def _predicted(objective: Objective, point: Point, direction: Tensor) -> Tensor:
    """Decrease (m,) that a step's model foresees, at most twice of it, beyond rounding.

    It takes the place of the gap where no dual bound is finite.  A convex model falls by half
    of what its slope says, or more; one that rises is wrong, and then the distance is the value.
    It is that at most, as no objective is negative.
    """
    fall = -_slope(objective, point, direction)
    rounding = _ROUNDING * point.value.abs()
    penalty = objective.reg_strength * objective.penalty.value(point.params[..., :-1])
    beyond = (fall - _ROUNDING * penalty).clamp(min=0.0)
    return torch.where(fall < -rounding, point.value, torch.minimum(beyond, point.value))


def _slope(objective: Objective, point: Point, direction: Tensor) -> Tensor:
    """Change (m,) of the loss's linear model and the penalty along a step."""
    coef, penalty = point.params[..., :-1], objective.penalty
    moved = penalty.feasible(coef + direction[..., :-1], coef)
    return inner(objective.loss_gradient(point), direction) + objective.reg_strength * (
        penalty.value(moved) - penalty.value(coef)
    )


def _working_set(objective: Objective, point: Point, model: int) -> Tensor:
    """Which coefficients (K, p) take part."""
    coef = point.params[..., :-1]
    one = coef.shape[1] == 1 and objective.penalty.separable
    distance = objective.penalty.subgradient_distance(
        coef,
        objective.loss_gradient(point)[..., :-1],
        objective.reg_strength * (1 - _ENTRY_MARGIN if one else 1.0),
    )[model]
    active = coef[model] != 0
    violation = torch.where(active, 0.0, objective.penalty.pooled(distance))
    room = max(_GROWTH * int(active.sum()), _MIN_WORKING)
    if one:
        n, p = objective.data.n_samples, objective.data.n_features
        room = max(
            room,
            min(
                int((_FIRST * n * p) ** (1 / 3)),
                p // _COPY_RATIO - int(active.sum()) - _MIN_WORKING,
            ),
        )
    candidates = violation.flatten().topk(min(room, violation.numel()))
    chosen = torch.zeros_like(active).flatten()
    chosen[candidates.indices[candidates.values > 0]] = True
    return active | chosen.view_as(active)


def _direction(objective: Objective, point: Point, model: int) -> Tensor:
    """Step (K, p + 1) of one model to the minimiser of its quadratic model."""
    single = torch.tensor([model], device=point.value.device)
    own = objective.select(single)
    point = point.select(single)
    working = _working_set(own, point, 0)
    columns = working.any(dim=0).nonzero()[:, 0]
    n_outputs = working.shape[0]
    every = len(columns) == own.data.n_features
    hessian = own.gram(point, None if every else columns)[0]
    side = len(columns) + 1
    flat = hessian.reshape(n_outputs * side, n_outputs * side)
    member = torch.zeros(n_outputs, side, dtype=torch.bool, device=flat.device)
    member[:, :-1] = working[:, columns]
    inside = member.flatten().nonzero()[:, 0]
    gradient = own.loss_gradient(point)[0]
    gradient_w, gradient_b = gradient[:, :-1][working], gradient[:, -1]
    quadratic = flat[inside][:, inside]
    coef = point.params[0, :, :-1][working]
    index = working.nonzero()[:, 1]
    if own.fit_intercept:
        border = torch.arange(n_outputs, device=flat.device) * side + side - 1
        cross = flat[inside][:, border]
        inverse = outputs_inverse(flat[border][:, border])
        quadratic = quadratic - cross @ inverse @ cross.T
        reduced = gradient_w - cross @ (inverse @ gradient_b)
    else:
        reduced = gradient_w
    out = torch.zeros_like(gradient)
    if len(coef):
        out[:, :-1][working] = own.penalty.quadratic_step(
            quadratic, reduced, coef, index, own.reg_strength[0]
        )
    if own.fit_intercept:
        out[:, -1] = -inverse @ (gradient_b + cross.T @ out[:, :-1][working])
    return out


def _backtrack(objective: Objective, point: Point, direction: Tensor, change: Tensor) -> Tensor:
    """Step (m,) with sufficient decrease of the whole objective; X is not read."""
    model = _slope(objective, point, direction)
    step = torch.ones_like(model)
    for _ in range(_BACKTRACKS):
        value = objective.along(point, direction, change, step)[0]
        enough = point.value + 1e-4 * step * model + _ROUNDING * point.value.abs()
        fine = value <= enough
        if bool(fine.all()):
            return step
        step = torch.where(fine, step, step / 2)
    return torch.where(fine, step, torch.zeros_like(step))
