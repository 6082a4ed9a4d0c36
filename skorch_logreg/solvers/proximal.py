"""Proximal Newton on a working set, for penalties that are not smooth."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from skorch_logreg.certificate import gap_beyond_rounding
from skorch_logreg.checkpoint import Resumable
from skorch_logreg.objective import Objective, Point, inner, outputs_inverse

_MIN_WORKING = 50  # coordinates a working set has at least
_BACKTRACKS = 400  # where no row has curvature left, a step is 1e100 times too long
_FEW = 8  # a working set of an eighth of the columns is copied
_INNER_GAP = 0.1  # of the gap over all columns, up to which a working set is solved
_INNER_STEPS = 10
_ROUNDING = 1e-14


@dataclass(frozen=True)
class ProximalState:
    """State of `ProximalNewton`; see `State`.

    The decrement is the duality gap; where that is infinite, what the next step's model foresees,
    and then the direction (m, K, p + 1) of that step is at hand.
    """

    point: Point
    decrement: Tensor
    trusted: Tensor
    direction: Tensor | None = None

    def select(self, models: Tensor, objective: Objective) -> "ProximalState":
        """Keep some models."""
        return ProximalState(
            self.point.select(models),
            self.decrement[models],
            self.trusted[models],
            None if self.direction is None else self.direction[models],
        )


@dataclass(frozen=True)
class ProximalNewton(Resumable):
    """Proximal Newton: the loss becomes its quadratic model, the penalty stays as it is.

    The quadratic problem is solved over a working set: the coordinates that are not zero and
    those that violate their optimality condition most, at most twice as many as are not zero.
    The penalty solves it itself (`Penalty.minimise_quadratic`), after the intercepts were
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
        params = _allowed(objective, params, params)
        return _settle(objective, params, objective.logits(params))

    def step(self, objective: Objective, state: ProximalState) -> ProximalState:
        """Solve over a working set of columns: two reads of X where that is small."""
        if objective.shape[0] > 1:
            return _newton_step(objective, state)
        columns = _working_set(objective, state.point, 0).any(dim=0).nonzero()[:, 0]
        if not 0 < len(columns) * _FEW <= objective.data.n_features:
            return _newton_step(objective, state)
        return _over_columns(objective, state, columns)

    def confirm(
        self, objective: Objective, state: ProximalState, models: Sequence[int]
    ) -> ProximalState:
        """Return the state: a duality gap is a proof."""
        return state


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
    inner_state = _newton_step(part, _settle(part, point.params[..., within], point.logits))
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
    return _settle(objective, params, inner_state.point.logits)


def _newton_step(objective: Objective, state: ProximalState) -> ProximalState:
    """One proximal Newton step: two reads of X and the working set's Hessian."""
    point, direction = state.point, state.direction
    if direction is None:
        direction = _directions(objective, point)
    change = objective.logits(direction)
    step = _backtrack(objective, point, direction, change)
    params = _allowed(objective, point.params + step[:, None, None] * direction, point.params)
    return _settle(objective, params, torch.addcmul(point.logits, change, step[:, None]))


def _settle(objective: Objective, params: Tensor, logits: Tensor) -> ProximalState:
    params, logits = objective.minimise_intercept(params, logits)
    point = objective.at_logits(params, logits)
    gap, direction = gap_beyond_rounding(objective, point), None
    if bool(gap.isinf().any()):
        direction = _directions(objective, point)
        gap = torch.where(gap.isinf(), _predicted(objective, point, direction), gap)
    return ProximalState(point, gap, torch.ones_like(gap, dtype=torch.bool), direction)


def _allowed(objective: Objective, params: Tensor, size: Tensor) -> Tensor:
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
    penalty = objective.strength * objective.penalty.value(point.params[..., :-1])
    beyond = (fall - _ROUNDING * penalty).clamp(min=0.0)
    return torch.where(fall < -rounding, point.value, torch.minimum(beyond, point.value))


def _slope(objective: Objective, point: Point, direction: Tensor) -> Tensor:
    """Change (m,) of the loss's linear model and the penalty along a step."""
    coef, penalty = point.params[..., :-1], objective.penalty
    moved = penalty.feasible(coef + direction[..., :-1], coef)
    return inner(objective.loss_gradient(point), direction) + objective.strength * (
        penalty.value(moved) - penalty.value(coef)
    )


def _working_set(objective: Objective, point: Point, model: int) -> Tensor:
    """Which coefficients (K, p) take part."""
    coef = point.params[..., :-1]
    distance = objective.penalty.subgradient_distance(
        coef, objective.loss_gradient(point)[..., :-1], objective.strength
    )[model]
    active = coef[model] != 0
    violation = torch.where(active, 0.0, objective.penalty.pooled(distance))
    room = max(int(active.sum()), _MIN_WORKING)
    candidates = violation.flatten().topk(min(room, violation.numel()))
    chosen = torch.zeros_like(active).flatten()
    chosen[candidates.indices[candidates.values > 0]] = True
    return active | chosen.view_as(active)


def _direction(objective: Objective, point: Point, model: int) -> Tensor:
    """Step (K, p + 1) of one model to the minimiser of its quadratic model."""
    alone = torch.tensor([model], device=point.value.device)
    own = objective.select(alone)
    point = point.select(alone)
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
        linear = quadratic @ coef - reduced
        best = own.penalty.minimise_quadratic(quadratic, linear, coef, index, own.strength[0])
        out[:, :-1][working] = best - coef
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
