"""Detection of models whose optimum is at infinity."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from skorch_logreg.curvature.cholesky import rounding_shift
from skorch_logreg.data import Block
from skorch_logreg.objective import MAX_EXCESS, Objective, Point
from skorch_logreg.objective.hessian import MAX_EIGEN_SIDE
from skorch_logreg.objective.line_search import MAX_STEP_LOGITS
from skorch_logreg.recession import (
    NewtonSteps,
    find_direction,
    ordered_direction,
    proves_minimiser,
    saturated_models,
    unbounded_directions,
)
from skorch_logreg.solvers.choose import MAX_SIDE, choose_curvature
from skorch_logreg.solvers.conjugate_gradient import newton_direction

_SMALL = 0.1  # share of the penalty in an objective below which both may go to zero


def free_columns(objective: Objective) -> list[bool]:
    """Return True for models with coefficients that may diverge at no penalty."""
    penalty = objective.penalty
    if not penalty.constrains and penalty.factor is None:
        return [strength == 0 for strength in objective.reg_strength.tolist()]
    shape = objective.zeros()[..., :-1]
    takes_part = ~objective.data.scale.isinf()
    down, up = objective.penalty.recession(shape, objective.reg_strength)
    return ((down | up) & takes_part).any(dim=-1)[:, 0].tolist()


def separating_directions(
    objective: Objective, point: Point, asked: Sequence[bool]
) -> list[Tensor | None]:
    """Return directions (K, p + 1) of the ``asked`` models that strictly separate all rows.

    Along such a direction the objective decreases to the contribution of offset and penalty, or
    to zero.  Only the parameters that no penalty or bound restricts are used.
    """
    none: list[Tensor | None] = [None] * len(asked)
    asked = _may_separate(objective, point, asked)
    if not any(asked):
        return none

    loss = objective.at(point).loss

    def kernel(block: Block, logits: Tensor) -> tuple[Tensor, ...]:
        wrong = loss.margin(logits, block.targets) <= 0
        return ((wrong & (block.weight > 0)).sum(dim=0),)

    def separates(logits: Tensor) -> list[bool]:
        (wrong,) = objective.data.reduce(kernel, logits, reads=0)
        return [a and w == 0 for a, w in zip(asked, wrong.tolist(), strict=True)]

    apart = separates(objective.without_offset(point.logits))
    if not any(apart):
        return none
    params = point.params
    recession_part = _recession_part(objective, params)
    if not torch.equal(recession_part, params):
        still = separates(objective.logits(recession_part))
        # an objective that underflows has no minimum that float64 could tell from zero
        vanishes = (point.value < torch.finfo(torch.float64).tiny).tolist()
        apart = [a and (b or v) for a, b, v in zip(apart, still, vanishes, strict=True)]
    return [recession_part[i] if found else None for i, found in enumerate(apart)]


def recession_directions(
    objective: Objective,
    point: Point,
    decrement: Tensor,
    models: Sequence[int],
    doubted: Sequence[bool],
) -> list[Tensor | None]:
    """Find directions (K, p + 1) along which objectives decrease without reaching a minimum.

    They are in the order of ``models``, with None for models that have a minimiser or for which
    nothing is proven.  ``doubted`` marks the models whose coefficients may diverge; for the
    others only intercepts of classes without weight are checked.

    Notes
    -----
    X is read only if rows are saturated, see `saturated_models`, or rounding hides the curvature
    along the parameters: then any row may gain along a direction.
    """
    found: list[Tensor | None] = [None] * len(models)
    if point.nuisance is not None:
        for place, i in enumerate(models):
            if doubted[i]:
                index = torch.tensor([i], device=decrement.device)
                found[place] = ordered_direction(objective.select(index), point.select(index))
        return found
    limit, saturated = decrement, [False] * len(doubted)
    if any(doubted[i] for i in models):
        limit = saturation_limit(point, decrement)
        saturated = saturated_models(objective, point, limit)
    rare, hidden = rare_classes(objective, point), hides_curvature(point).tolist()
    for place, i in enumerate(models):
        asked = doubted[i] and (saturated[i] or hidden[i])
        if not (asked or rare[i]):
            continue
        index = torch.tensor([i], device=decrement.device)
        part, at = objective.select(index), point.select(index)
        found[place] = _without_weight(part)
        if found[place] is None and asked:
            found[place] = _direction(part, at, math.inf if hidden[i] else float(limit[i]))
    return found


def _direction(objective: Objective, point: Point, limit: float) -> Tensor | None:
    """Find a direction of recession of one model.

    ``limit`` is that of `saturated_models`; it is infinite where rounding hides the curvature, so
    that Newton steps do not prove a minimiser and all rows are considered.
    """
    down, up = unbounded_directions(objective)
    columns = (down & up)[:-1].nonzero()[:, 0]
    n_outputs, width = objective.shape[1:]
    size = point.params[0].abs().amax(dim=0)[:-1]
    if torch.equal(down, up) and limit < math.inf:
        if n_outputs * (len(columns) + 1) <= MAX_EIGEN_SIDE:
            steps = NewtonSteps.at(objective, point, columns)
            if proves_minimiser(objective, point, steps):
                return None
        elif len(columns) + 1 == width and not bool(objective.reg_strength.any()):
            inexact = _ConjugateGradientSteps(objective, point)
            if proves_minimiser(objective, point, inexact):
                return None
            size = inexact.size
    most = max(MAX_SIDE // n_outputs - 1, 0)
    chosen = None
    if int((down | up)[:-1].sum()) > most:  # the columns that grow most
        size = torch.where((down | up)[:-1], size, -1.0)
        chosen = size.argsort(descending=True)[:most].sort().values
    return find_direction(objective, point.logits, limit, chosen)


def rare_classes(objective: Objective, point: Point) -> list[bool]:
    """Return True for models whose intercepts differ as much as if a class had no weight."""
    intercept = point.params[..., -1]
    if not objective.fit_intercept:
        return [False] * len(intercept)
    if intercept.shape[1] == 1:
        spread = intercept.abs()[:, 0]
    else:
        spread = intercept.amax(dim=1) - intercept.amin(dim=1)
    return [s > MAX_STEP_LOGITS for s in spread.tolist()]


def saturation_limit(point: Point, decrement: Tensor) -> Tensor:
    """Return the weighted probability (m,) below which that of a wrong class may go to zero.

    It is twice the decrement, see `saturated_models`, which is known up to a factor and to rounding
    of the curvature: no step follows the curvature of rows that this hides. The larger parameters
    are, the less they may change logits, and curvature falls with the square of that.
    """
    size = point.params.flatten(1).abs().amax(dim=1).clamp(min=1.0)
    hidden = rounding_shift(point.params[0].numel()) * size.square() * point.value.abs()
    return 2 * MAX_EXCESS * torch.maximum(decrement, hidden)


def hides_curvature(point: Point) -> Tensor:
    """Return a mask (m,) of models with parameters along which rounding may hide all curvature.

    A factorisation adds a share of the diagonal of the Hessian. Where parameters are larger than
    the inverse root of that share, a curvature of one along them is less than what was added, as
    for the difference of nearly equal columns: the decrement may then be much too small.
    """
    size = point.params.flatten(1).abs().amax(dim=1)
    return rounding_shift(point.params[0].numel()) * size.square() > 1


class _ConjugateGradientSteps:
    """Newton steps by conjugate gradients, if a Hessian is too large; see `NewtonSteps`."""

    def __init__(self, objective: Objective, point: Point) -> None:
        self._objective, self._point = objective, point
        self._curvature = choose_curvature(objective).build(objective, point)
        self.flat = point.params[:0]
        self.size = point.params[0, 0, :-1]

    def step(self, gradient: Tensor) -> Tensor:
        """Return the Newton step (K, p + 1) for a gradient, and store its size in each column."""
        at = replace(self._point, gradient=gradient[None])
        step = newton_direction(self._objective, at, self._curvature, tol=1e-8)[0][0]
        self.size = step.abs().amax(dim=0)[:-1]
        return step


def _may_separate(objective: Objective, point: Point, asked: Sequence[bool]) -> list[bool]:
    """Return True for models whose penalty may converge to zero with the objective."""
    reg_strength = objective.reg_strength.tolist()
    penalty = objective.reg_strength * objective.penalty.value(point.params[..., :-1])
    small = (penalty <= _SMALL * point.value).tolist()
    return [a and (s == 0 or low) for a, s, low in zip(asked, reg_strength, small, strict=True)]


def _recession_part(objective: Objective, params: Tensor) -> Tensor:
    """Return the part (m, K, p + 1) of parameters that may grow without bound."""
    coef = params[..., :-1]
    down, up = objective.penalty.recession(coef, objective.reg_strength)
    recession_part = torch.where(torch.where(coef > 0, up, down), coef, 0.0)
    return torch.cat([recession_part, params[..., -1:]], dim=-1)


def _without_weight(objective: Objective) -> Tensor | None:
    """Return the direction in which the intercepts of classes without weight diverge."""
    if not objective.fit_intercept:
        return None
    absent = (objective.class_weight()[0] == 0).to(torch.float64)
    if not bool(absent.any()):
        return None
    direction = objective.zeros()[0]
    direction[:, -1] = -absent if len(direction) > 1 else absent[:1] - absent[1:]
    return direction
