"""Minimise a `Task`: Newton's method among the coefficients that are at no corner.

A corner is a bound, zero under a lasso, or a group of zeros.  Coefficients leave a corner where
their subgradient does not hold them, and stop at one that they would cross.  All sums and the
factored Hessian are longdouble.
"""

from dataclasses import dataclass

import numpy as np

from tests.hunt.objective import LD, Task
from tests.hunt.systems import solve

_EPS = np.finfo(LD).eps
_STEPS = 300
_HALVINGS = 60
_SWEEPS = 200


@dataclass(frozen=True)
class Minimum:
    """Parameters over the task's rows, their value, and the relative decrease that is left."""

    theta: np.ndarray
    value: np.longdouble
    left: float


def minimise(task: Task, theta: np.ndarray) -> Minimum:
    """Go from ``theta`` (K, p + 1), or zero where that is lower, to the minimum."""
    theta = min(_allowed(task, theta), _allowed(task, 0 * theta), key=task.value)
    value, left, stuck, kind = task.value(theta), np.inf, 0, np.float64
    for _ in range(_STEPS):
        gradient, share, other = task.gradient(theta)
        free, slope = _free(task, theta, gradient)
        if not free.any():
            return Minimum(theta, value, 0.0)
        hessian = task.hessian(share.astype(kind), other.astype(kind)) + _group_hessian(task, theta)
        hessian = hessian.astype(kind)
        move = _newton(task, theta, free, hessian, slope)
        before, left = left, float(-(move * slope).sum() / 2 / value)
        new, change = _search(task, theta, move, slope)
        if -change < 0.1 * left * value:
            model = _exact_model if task.groups is None else _model_by_groups
            # that of a group's norm is not quadratic
            smooth = hessian - _group_hessian(task, theta).astype(kind)
            other = model(task, theta, smooth)
            new, change = other if other[1] < change else (new, change)
        new, vanished = _vanish(task, new)
        fell = float(-(change + vanished) / value)
        theta, value = new, task.value(new)
        # a step that gains nothing beside rounding is the last
        stuck = stuck + 1 if fell <= 8 * float(_EPS) else 0
        if left <= 1e-17 and (stuck or left > before / 4):
            break
        if kind is np.float64 and (stuck or not 0 < left < before / 4 and before < 1e-6):
            kind, stuck = LD, 0  # directions of float64 lead no further
        elif stuck == 3:
            break
    return Minimum(theta, value, abs(left))


def _bounds(task):
    """Bounds over the task's rows; a bound of zero remains one."""
    with np.errstate(invalid="ignore"):
        return (
            np.where(bound == 0, LD(0), bound.astype(LD) * task.scale)
            for bound in (task.low, task.high)
        )


def _allowed(task, theta):
    low, high = _bounds(task)
    theta = theta.copy()
    theta[:, :-1] = np.clip(theta[:, :-1], low, high)
    if not task.fit_intercept:
        theta[:, -1] = 0
    return theta


def _free(task, theta, gradient):
    """Which parameters move, and the subgradient nearest to zero, of the whole objective."""
    low, high = _bounds(task)
    coef, slope = theta[:, :-1], gradient.copy()
    pull = slope[:, :-1]
    lasso = np.broadcast_to(task.lasso / task.scale, coef.shape)
    held = np.where(pull > lasso, pull - lasso, np.where(pull < -lasso, pull + lasso, 0))
    pull = np.where(coef == 0, held, pull + lasso * np.sign(coef))
    free = (coef != 0) | (lasso == 0) | (pull != 0)
    if task.groups is not None:
        weight = task.group_weight / task.scale
        for g in task.numbers:
            own = task.groups == g
            part = weight[own] * coef[:, own]
            norm = np.sqrt((part**2).sum())
            if norm > 0:
                pull[:, own] += weight[own] * part / norm
                free[:, own] = True
                continue
            # zero is a minimum along the group where the gradient is in the dual ball
            size = np.sqrt((pull[:, own] ** 2 / weight[own] ** 2).sum())
            free[:, own] = False
            if size > 1 + 1e-16:
                pull[:, own] *= 1 - 1 / size
                free[:, own] = True
    at_low, at_high = coef <= low, coef >= high
    free &= ~(at_low & (pull >= 0)) & ~(at_high & (pull <= 0))
    pull = np.where(free, pull, 0)
    slope[:, :-1] = pull
    intercept = np.full((len(theta), 1), task.fit_intercept)
    slope[:, -1:] = np.where(intercept, slope[:, -1:], 0)
    return np.c_[free, intercept], slope


def _group_hessian(task, theta):
    """Hessian of the norms of groups that are not zero; of a zero one a multiple of D^2."""
    k, d = theta.shape
    out = np.zeros((k, d, k, d), dtype=LD)
    if task.groups is None:
        return out.reshape(k * d, k * d)
    weight = task.group_weight / task.scale
    for g in task.numbers:
        own = np.flatnonzero(task.groups == g)
        part = (weight[own] * theta[:, own]).ravel()
        norm = np.sqrt(part @ part)
        side = np.tile(weight[own], k)
        if norm > 0:
            unit = part / norm
            block = (np.eye(len(part), dtype=LD) - np.outer(unit, unit)) / norm
            block *= np.outer(side, side)
            block = block.reshape(k, len(own), k, len(own))
            out[np.ix_(range(k), own, range(k), own)] += block
    return out.reshape(k * d, k * d)


def _newton(task, theta, free, hessian, slope):
    """Newton step among free parameters; those that it would lead beyond their corner stay."""
    low, high = _bounds(task)
    coef = theta[:, :-1]
    while True:
        index = np.flatnonzero(free)
        move = np.zeros(theta.size, dtype=LD)
        move[index] = -solve(hessian[np.ix_(index, index)], slope.ravel()[index])
        move = move.reshape(theta.shape)
        ahead = move[:, :-1]
        wrong = ((coef <= low) & (ahead < 0)) | ((coef >= high) & (ahead > 0))
        wrong |= (coef == 0) & (task.lasso > 0) & (ahead * slope[:, :-1] > 0)
        if not wrong.any():
            return move
        free = free.copy()
        free[:, :-1] &= ~wrong


def _search(task, theta, move, slope):
    """Go along a direction, bent at corners, as far as the objective falls; and its change."""
    low, high = _bounds(task)
    sign = np.sign(theta[:, :-1])
    sign = np.where(sign == 0, -np.sign(slope[:, :-1]), sign)
    corner = task.lasso > 0
    step, best = LD(1), (theta, LD(0))
    for _ in range(_HALVINGS):
        new = theta + step * move
        coef = new[:, :-1]
        coef = np.where(corner & (np.sign(coef) * sign < 0), 0, coef)
        new[:, :-1] = np.clip(coef, low, high)
        there = task.change(theta, new)
        if there < best[1]:
            best = new, there
            if there <= 0.1 * step * (move * slope).sum():
                break
        elif best[0] is not theta:
            break
        step /= 4 if step < 1e-3 else 2
    return best


def _exact_model(task, theta, hessian):
    """Go towards the minimum of the quadratic model and the corners, one corner at a time."""
    gradient = task.gradient(theta)[0].ravel()
    low, high = (
        np.c_[np.broadcast_to(b, theta[:, :-1].shape), inf * np.ones(len(theta))].ravel()
        for b, inf in zip(_bounds(task), (-LD(np.inf), LD(np.inf)), strict=True)
    )
    lasso = np.tile(np.append(task.lasso / task.scale, LD(0)), len(theta))
    fixed = np.tile(
        np.append(np.zeros(theta.shape[1] - 1, bool), not task.fit_intercept), len(theta)
    )
    start = x = theta.ravel()
    free, sign = ~_at_corner(x, lasso, low, high) & ~fixed, np.sign(x)
    for _ in range(4 * len(x)):
        index = np.flatnonzero(free)
        slope = gradient + hessian @ (x - start) + lasso * sign
        move = np.zeros_like(x)
        move[index] = -solve(hessian[np.ix_(index, index)], slope[index])
        left = np.where((lasso > 0) & (sign > 0), np.maximum(low, 0), low)
        right = np.where((lasso > 0) & (sign < 0), np.minimum(high, 0), high)
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = np.where(move > 0, (right - x) / move, (left - x) / move)
        reach = np.where(move == 0, np.inf, reach)
        step = max(reach.min(), LD(0))
        if step < 1:
            stops = reach <= step
            x = np.where(stops, np.where(move > 0, right, left), x + step * move)
            free &= ~stops
            continue
        x = x + move
        slope = gradient + hessian @ (x - start)
        up, down = -slope - lasso, slope - lasso  # of a coordinate at zero
        up = np.where((x < 0) | (lasso == 0), -slope + lasso, up)
        down = np.where((x > 0) | (lasso == 0), slope + lasso, down)
        pull = np.maximum(np.where(x < high, up, 0), np.where(x > low, down, 0))
        pull = np.where(free | fixed, 0, pull) / np.sqrt(hessian.diagonal() + LD(1e-300))
        worst = int(pull.argmax())
        if not pull[worst] > 1e-16 * np.abs(gradient).max():
            break
        free[worst] = True
        sign[worst] = (
            np.where(up[worst] > down[worst], 1, -1) if x[worst] == 0 else np.sign(x[worst])
        )
    return _towards(task, theta, (x - start).reshape(theta.shape))


def _towards(task, theta, move):
    """Go so far along a straight line that the objective falls; and its change."""
    step = LD(1)
    while step > 1e-12:
        new = _allowed(task, theta + step * move)
        there = task.change(theta, new)
        if there < 0:
            return new, there
        step /= 2
    return theta, LD(0)


def _model_by_groups(task, theta, hessian):
    """Go towards the minimum of the quadratic model and the norms, one group at a time."""
    k, d = theta.shape
    gradient = task.gradient(theta)[0].ravel()
    weight = np.tile(np.append(task.group_weight / task.scale, LD(0)), k)
    group = np.tile(np.append(task.groups, -1), k)
    live = np.ones(k * d, dtype=bool)
    live[d - 1 :: d] = task.fit_intercept
    start = x = theta.ravel()
    rest = np.flatnonzero((group < 0) & live)
    members = [np.flatnonzero(group == g) for g in task.numbers]
    bends = [np.linalg.eigvalsh((hessian[np.ix_(own, own)] / np.outer(weight[own], weight[own]))
                                .astype(float))[-1] for own in members]  # fmt: skip
    x = x.copy()
    slope = gradient.copy()
    for _ in range(_SWEEPS):
        before = x.copy()
        if len(rest):
            move = -solve(hessian[np.ix_(rest, rest)], slope[rest])
            x[rest] += move
            slope = slope + hessian[:, rest] @ move
        for own, bend in zip(members, bends, strict=True):
            if not bend > 0:
                continue
            ahead = weight[own] * x[own] - slope[own] / weight[own] / bend
            norm = np.sqrt(ahead @ ahead)
            ahead = ahead * max(1 - 1 / (bend * norm), LD(0)) if norm > 0 else ahead
            move = ahead / weight[own] - x[own]
            if move.any():
                x[own] += move
                slope = slope + hessian[:, own] @ move
        if np.abs(x - before).max() <= 1e-12 * np.abs(x).max():
            break
    return _towards(task, theta, (x - start).reshape(theta.shape))


def _at_corner(x, lasso, low, high):
    return (x <= low) | (x >= high) | ((x == 0) & (lasso > 0))


def _vanish(task, theta):
    """Set groups to zero where that is lower: Newton's method only comes near."""
    change = LD(0)
    if task.groups is None:
        return theta, change
    for g in task.numbers:
        own = np.flatnonzero(task.groups == g)
        if not theta[:, own].any():
            continue
        new = theta.copy()
        new[:, own] = 0
        there = task.change(theta, new)
        if there <= 0:
            theta, change = new, change + there
    return theta, change
