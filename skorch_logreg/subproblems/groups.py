"""Quadratic problems with a penalty of the norms of groups."""

import math

import torch
from torch import Tensor

from skorch_logreg.kernels.quadratic import MAX_EPOCHS
from skorch_logreg.objective import ROUNDING_DISTANCE
from skorch_logreg.penalties.protocol import GroupTerms
from skorch_logreg.subproblems.quadratic import (
    MAX_STALLS,
    MAX_STEPS,
    Quadratic,
    solve,
)

_EPS = torch.finfo(torch.float64).eps


def minimise(quadratic: Quadratic, terms: GroupTerms, strength: Tensor) -> Tensor:
    """Return the step (q,) to the minimiser; coordinates without a penalty are eliminated first."""
    free = terms.weight == 0
    weight, group = terms.weight[~free], terms.group[~free]

    def minimise_held(reduced: Quadratic) -> Tensor:
        hessian, slope = reduced.hessian / weight[:, None] / weight, reduced.slope / weight
        here = reduced.start * weight
        step = _minimise(hessian, slope, strength, group, here, left=quadratic.left)
        # what vanishes does so exactly: the rounding of it would be a group that is not zero
        return torch.where(step == -here, -reduced.start, step / weight)

    return quadratic.eliminate(free, minimise_held)


def _minimise(
    hessian: Tensor, slope: Tensor, strength: Tensor, group: Tensor, start: Tensor, *, left: float
) -> Tensor:
    """Step ``d`` to the minimiser of ``1/2 d'Hd + slope'd + strength sum_g |start_g + d_g|``.

    It may leave a share ``left`` of the largest violation of a condition at the start.

    Newton's method among the groups that are not zero, where the objective is smooth, then a
    majorised step of every group, which decides which groups are zero.  Both lower
    the objective, so that it ends; from a good start the groups are right at once.

    References
    ----------
    Yang, Zou (2015). A fast unified algorithm for solving group-lasso penalized learning
    problems, section 3.
    """
    step = torch.zeros_like(start)
    if not len(slope):
        return step
    members = [(group == number).nonzero()[:, 0] for number in group.unique()]
    largest = [torch.linalg.eigvalsh(hessian[own][:, own])[-1] for own in members]
    curvatures = [curvature.clamp(min=1e-300) for curvature in largest]
    size = hessian.abs()
    x, gradient, least, idle = start.clone(), slope, math.inf, 0
    first = _violation(gradient, x, strength, members)
    goal = ROUNDING_DISTANCE * (strength + (hessian @ start - slope).abs())
    # a start that meets the largest goal may be far from that of a group with smaller slopes
    if first > float(goal.max()):
        goal = goal.max().clamp(min=left * first).expand(len(x))
    for _ in range(MAX_EPOCHS):
        # what rounding alone may leave of a condition
        slack = goal.clamp(min=_EPS * float((size @ step.abs() + slope.abs()).max()))
        for _ in members:
            lasting = _lasting(hessian, strength, group, x)
            step, x = torch.where(lasting, step, -start), torch.where(lasting, x, 0.0)
            moved = _among_groups(hessian, slope + hessian @ step, strength, group, x, slack=slack)
            step, x = step + moved, x + moved
            if torch.equal(_lasting(hessian, strength, group, x), lasting):
                break
        gradient = slope + hessian @ step
        violation = _violation(gradient, x, strength, members, slack)
        idle = 0 if violation < least else idle + 1
        if violation <= 1 or idle >= MAX_STALLS:
            break
        least = min(violation, least)
        for own, curvature in zip(members, curvatures, strict=True):
            here = x[own]
            ahead = here - gradient[own] / curvature
            new = ahead * (1 - strength / (curvature * ahead.norm())).clamp(min=0.0)
            if bool((new != here).any()):
                change = new - here
                gradient = torch.addmv(gradient, hessian[:, own], change)
                step[own] = torch.where(new == 0, -start[own], step[own] + change)
                x[own] = new
    return step


def _violation(
    gradient: Tensor,
    x: Tensor,
    strength: Tensor,
    members: list[Tensor],
    unit: Tensor | None = None,
) -> float:
    """Return the largest violation of a group's optimality condition, in units (q,) or as it is."""
    largest = 0.0
    for own in members:
        norm, slope = x[own].norm(), gradient[own]
        is_zero = float(norm) == 0
        left = slope.norm() - strength if is_zero else (slope + strength / norm * x[own]).norm()
        largest = max(largest, float(left if unit is None else left / unit[own].max()))
    return largest


def _lasting(hessian: Tensor, strength: Tensor, group: Tensor, x: Tensor) -> Tensor:
    """Return the coordinates of groups that differ from zero by more than rounding.

    A group does where its curvature changes its gradient by no more than the rounding of the
    strength; the curvature of so short a norm would leave no digit of any other.
    """
    place = group.unique(return_inverse=True)[1]
    trace, square = (
        x.new_zeros(len(x)).index_add_(0, place, each) for each in (hessian.diagonal(), x * x)
    )
    return (trace * square.sqrt() > _EPS * strength)[place]


def _among_groups(
    hessian: Tensor, gradient: Tensor, strength: Tensor, group: Tensor, x: Tensor, *, slack: Tensor
) -> Tensor:
    """Step that lowers the objective among groups that are not zero.

    Newton's, as long as it does; else the norms become the squares that touch them from above,
    ``|y| <= |y|^2 / 2r + r / 2``, whose minimiser is lower for sure.  So a group that is to
    vanish does, by a factor a step, however ill the Hessian's condition.  Where one has vanished
    to the last digit the steps end.

    References
    ----------
    Hunter, Lange (2004). A tutorial on MM algorithms, section 4.
    """
    total = torch.zeros_like(x)
    support = torch.isin(group, group[x != 0])
    if not bool(support.any()):
        return total
    _, place = torch.unique(group[support], return_inverse=True)
    same = place[:, None] == place
    quadratic, gradient = hessian[support][:, support], gradient[support]

    def sums(values: Tensor) -> Tensor:
        return values.new_zeros(int(place.max()) + 1).index_add_(0, place, values)

    def change(move: Tensor, image: Tensor) -> float:
        """Return the change of the objective along a move, as a sum of terms of its own size."""
        along, square, ahead = sums(y * move), sums(move * move), sums((y + move) ** 2).sqrt_()
        growth = (2 * along + square) / (ahead + radius)
        curved = (radius * square - along * growth) / (radius * (ahead + radius))
        return float((slope + image / 2) @ move + strength * curved.sum())

    begin = y = x[support]
    trace = sums(quadratic.diagonal())
    for _ in range(MAX_STEPS):
        radius = sums(y * y).sqrt_()
        if bool((trace * radius <= _EPS * strength).any()):
            break
        ridge = strength / radius[place]
        slope = gradient + ridge * y
        if bool((slope.abs() <= slack[support]).all()):
            break
        # the norm's Hessian, strength / |y| (I - yy' / |y|^2), group by group
        matrix = torch.addcmul(quadratic, same, torch.outer(y * ridge**3 / -(strength**2), y))
        matrix.diagonal().add_(ridge)
        move = -solve(matrix, slope)
        image = quadratic @ move
        if not change(move, image) <= 1e-4 * float(slope @ move):
            majorised = quadratic.clone()
            majorised.diagonal().add_(ridge)
            move = -solve(majorised, slope)
            image = quadratic @ move
            if not change(move, image) < 0:
                break  # the steps are rounding
        y, gradient = y + move, gradient + image
    total[support] = y - begin
    return total
