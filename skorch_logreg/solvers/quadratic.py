"""Quadratic model of the loss over some columns, used for several steps."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skorch_logreg.objective import (
    LOW_PRECISION_ROUNDING,
    ROUNDING_DISTANCE,
    Objective,
    Point,
    loss_hessian,
    loss_hessian_block,
    penalty_gap,
)
from skorch_logreg.solvers.descent import backtracked_step, penalised_slope, within_constraints
from skorch_logreg.subproblems import Quadratic, minimise

# ratio of predicted decreases of successive steps above which a Hessian is stale, of the decrease
# to the predicted one below which it is discarded, and to the largest one at which steps end
MIN_DECREASE = 0.1
MAX_STEPS = 20  # steps on one set of columns
_MIN_DUAL_SCALE = 0.9  # scale of the dual point, above which the rows' share of a gap is small
ENTRY_MARGIN = 0.05  # relative distance from the entry condition at which others enter as well


@dataclass(frozen=True)
class QuadraticModel:
    """Quadratic model of the loss of one model with one output.

    Gradients are exact and only the direction of a step depends on the Hessian, so it may be that
    of an earlier point, as long as the steps reduce the objective as predicted.

    Parameters
    ----------
    bordered : Tensor of shape (c + 1, c + 1)
        Hessian of the loss over the columns and the intercept.
    columns : Tensor of shape (c,)
        Indices of the columns among the features.
    """

    bordered: Tensor
    columns: Tensor

    @classmethod
    def of(cls, objective: Objective, point: Point, columns: Tensor) -> "QuadraticModel":
        """Build the model at a point."""
        every = torch.equal(columns, torch.arange(objective.data.n_features, device=columns.device))
        gram = loss_hessian(objective, point, None if every else columns)
        return cls(gram[0, 0, :, 0], columns)

    def is_similar(self, columns: Tensor) -> bool:
        """Return True if an update to these columns costs less than a new Hessian of them."""
        known = int(torch.isin(columns, self.columns).sum())
        return 2 * known > max(len(columns), len(self.columns))

    def copy(self) -> "QuadraticModel":
        """Return a copy that may be updated in place."""
        return replace(self, bordered=self.bordered.clone())

    def extended(self, objective: Objective, point: Point, columns: Tensor) -> "QuadraticModel":
        """Add those of some columns that are not there yet, with their Hessian at a point."""
        columns = columns[~torch.isin(columns, self.columns)]
        if not len(columns):
            return self
        every = torch.cat([self.columns, columns])
        rows = loss_hessian_block(objective, point, columns, every)
        known, side = len(self.columns), len(every) + 1
        bordered = self.bordered.new_empty(side, side)
        bordered[:known, :known] = self.bordered[:-1, :-1]
        bordered[-1, :known] = bordered[:known, -1] = self.bordered[-1, :-1]
        bordered[-1, -1] = self.bordered[-1, -1]
        bordered[known:-1] = rows
        bordered[:known, known:-1] = rows[:, :known].T
        bordered[-1, known:-1] = rows[:, -1]
        own = bordered[known:-1, known:-1]
        # an asymmetric Hessian would not be that of a function to minimise
        own.copy_((own + own.T) / 2)
        return replace(self, bordered=bordered, columns=every)

    def corrected(self, objective: Objective, before: Point, after: Point) -> "QuadraticModel":
        """Apply a BFGS update with the change of the gradient along a step, in place.

        References
        ----------
        Nocedal, Wright (2006). Numerical Optimization, equation 6.19.
        """
        within = torch.cat([self.columns, self.columns.new_tensor([objective.data.n_features])])
        step = (after.params - before.params)[0, 0, within]
        change = objective.loss_gradient(after) - objective.loss_gradient(before)
        change = change[0, 0, within]
        seen, image = float(change @ step), self.bordered @ step
        modelled = float(image @ step)
        if seen > LOW_PRECISION_ROUNDING * modelled > 0:
            pair = torch.stack([change / seen**0.5, image / modelled**0.5])
            self.bordered.addmm_((pair * pair.new_tensor([[1.0], [-1.0]])).T, pair)
        return self

    def direction(self, objective: Objective, point: Point) -> Tensor:
        """Return the step (1, 1, p + 1) to the minimiser of the model plus the penalty."""
        gradient = objective.loss_gradient(point)[0, 0]
        coef, slope = point.params[0, 0, self.columns], gradient[self.columns]
        hessian, border, inverse = self._eliminated(objective.fit_intercept)
        quadratic = Quadratic(hessian, slope - border * (inverse * gradient[-1]), coef)
        strength = objective.reg_strength[0]
        step = minimise(quadratic, objective.penalty, self.columns, strength)
        out = torch.zeros_like(point.params)
        out[0, 0, self.columns] = step
        out[0, 0, -1] = -inverse * (gradient[-1] + border @ step)
        return out

    def intercept_gap(self, point: Point) -> float:
        """Estimate the increase of the duality gap when the intercept moves to its optimum."""
        border, total = self.bordered[:-1, -1], float(self.bordered[-1, -1])
        size = float(border.abs() @ point.params[0, 0, self.columns].abs())
        return size * abs(float(point.gradient[0, 0, -1])) / total if total > 0 else 0.0

    def _eliminated(self, fit_intercept: bool) -> tuple[Tensor, Tensor, float]:
        """Eliminate the intercept; return the Hessian, its border and the inverse of its corner."""
        hessian, border = self.bordered[:-1, :-1], self.bordered[:-1, -1]
        total = float(self.bordered[-1, -1])
        if not fit_intercept or total <= 0:
            return hessian, border, 0.0
        return torch.addr(hessian, border, border, alpha=-1 / total), border, 1 / total


def minimise_part(
    objective: Objective,
    point: Point,
    columns: Tensor,
    model: QuadraticModel | None,
    *,
    goal: float,
    enough: float,
) -> tuple[Point, QuadraticModel | None]:
    """Minimise over some columns with as few Hessians as possible.

    Stops at a duality gap over these columns, or when the predicted decrease of a step is at most
    ``enough`` times the largest one.
    """
    before, left, most, model = torch.inf, torch.inf, 0.0, model and model.copy()
    is_copy = len(columns) == objective.data.n_features
    for _ in range(MAX_STEPS):
        moving = _moving(objective, point, columns)
        fresh = model is None or is_copy or not model.is_similar(moving)
        if model is None or fresh:
            model = QuadraticModel.of(objective, point, moving)
        else:
            model = model.extended(objective, point, moving)
        direction = within_constraints(objective, point, model.direction(objective, point))
        promised = -float(penalised_slope(objective, point, direction))
        rounding = abs(promised) <= objective.rounding * float(point.value)
        if not (fresh or rounding) and not 0 < promised <= MIN_DECREASE * before:
            model = None
            continue
        ahead = backtracked_step(objective, point, direction)
        is_poor = float(point.value - ahead.value) < MIN_DECREASE * promised and not rounding
        model = model.corrected(objective, point, ahead)
        point, before, most = ahead, promised, max(most, promised)
        last, left = left, _part_gap(objective, point, columns, model, promised)
        model = None if is_poor else model
        if goal <= ROUNDING_DISTANCE * float(point.value):
            if rounding and fresh:  # values cannot improve: stop after a step with a new Hessian
                break
            model = None if rounding else model
            continue
        if left <= goal or 0 < promised <= enough * most:
            break
        if rounding and not left < last:
            return point, None  # the next Hessian is built at this point
    return point, model


def _moving(objective: Objective, point: Point, columns: Tensor) -> Tensor:
    """Return the columns whose coefficients are not zero or violate their optimality condition."""
    coef, gradient = (
        array[..., columns] for array in (point.params, objective.loss_gradient(point))
    )
    penalty = objective.penalty.of_columns(columns)
    strength = objective.reg_strength * (1 - ENTRY_MARGIN)
    distance = penalty.subgradient_distance(coef, gradient, strength)
    moving = columns[((coef != 0) | (distance > 0))[0, 0]]
    return moving if len(moving) else columns


def _part_gap(
    objective: Objective, point: Point, columns: Tensor, model: QuadraticModel, promised: float
) -> float:
    """Return the duality gap over some columns, or the predicted decrease without a bound."""
    penalty = objective.penalty.of_columns(columns)
    if not bool(penalty.coercive(objective.reg_strength).all()):
        return promised
    within = torch.cat([columns, columns.new_tensor([objective.data.n_features])])
    part = replace(point, params=point.params[..., within], gradient=point.gradient[..., within])
    gap, scale = penalty_gap(replace(objective, penalty=penalty), part)
    # far from the optimum the rows' share of the gap is larger
    return float(gap) + model.intercept_gap(point) if float(scale) > _MIN_DUAL_SCALE else torch.inf
