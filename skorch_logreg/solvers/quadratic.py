"""Quadratic model of the loss over some columns, used for several steps."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skorch_logreg.kernels.quadratic import DECREASE_LEFT, ColumnProblem
from skorch_logreg.objective import (
    LOW_PRECISION_ROUNDING,
    ROUNDING_DISTANCE,
    Objective,
    Point,
    loss_hessian,
    loss_hessian_block,
    output_curvature,
    penalty_gap,
)
from skorch_logreg.penalties.protocol import CoordinateTerms
from skorch_logreg.solvers.descent import backtracked_step, penalised_slope, within_constraints
from skorch_logreg.subproblems import Quadratic, minimise
from skorch_logreg.subproblems.quadratic import MANY, MAX_STEPS


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

    def corrected(self, step: Tensor, change: Tensor) -> "QuadraticModel":
        """Apply a BFGS update with a step (p + 1,) and its change of the gradient, in place.

        References
        ----------
        Nocedal, Wright (2006). Numerical Optimization, equation 6.19.
        """
        within = torch.cat([self.columns, self.columns.new_tensor([len(step) - 1])])
        step, change = step[within], change[within]
        seen, image = float(change @ step), self.bordered @ step
        modelled = float(image @ step)
        if seen > LOW_PRECISION_ROUNDING * modelled > 0:
            pair = torch.stack([change / seen**0.5, image / modelled**0.5])
            self.bordered.addmm_((pair * pair.new_tensor([[1.0], [-1.0]])).T, pair)
        return self

    def direction(self, objective: Objective, point: Point, gradient: Tensor) -> Tensor:
        """Return the step (1, 1, p + 1) to the minimiser of the model plus the penalty.

        ``gradient`` (p + 1,) is that of the loss.
        """
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
    model: QuadraticModel | None,
    choose: Callable[[Point, Tensor], Tensor],
    *,
    goal: float,
    reuse: bool,
) -> tuple[Point, QuadraticModel | None]:
    """Minimise over columns that are chosen at every step, with as few Hessians as possible.

    ``choose`` returns the columns from a point and the gradient (p + 1,) of the loss there. Stops
    at a duality gap, or when the predicted decrease of a step is a tenth of the largest one.
    Hessians are reused for several steps, unless they cost less than a step, as long as every step
    predicts at most a tenth of the decrease before it and reaches at least a tenth of its own.
    """
    before, left, most, model = torch.inf, torch.inf, 0.0, model and model.copy()
    gradient = objective.loss_gradient(point)[0, 0]
    for _ in range(MAX_STEPS):
        moving = choose(point, gradient)
        if not len(moving):
            break
        fresh = model is None or not reuse or not model.is_similar(moving)
        direction = _column_direction(objective, point, moving, gradient)
        if direction is not None:
            model, fresh = None, True
        else:
            if model is None or fresh:
                model = QuadraticModel.of(objective, point, moving)
            else:
                model = model.extended(objective, point, moving)
            direction = model.direction(objective, point, gradient)
        direction = within_constraints(objective, point, direction)
        promised = -float(penalised_slope(objective, point, direction))
        rounding = abs(promised) <= objective.rounding * float(point.value)
        if not (fresh or rounding) and not 0 < promised <= DECREASE_LEFT * before:
            model = None
            continue
        ahead = backtracked_step(objective, point, direction, promised)
        is_poor = float(point.value - ahead.value) < DECREASE_LEFT * promised and not rounding
        slope, gradient = gradient, objective.loss_gradient(ahead)[0, 0]
        if model is not None:
            model = model.corrected((ahead.params - point.params)[0, 0], gradient - slope)
        point, before, most = ahead, promised, max(most, promised)
        last, left = left, _gap(objective, point, model, promised)
        model = None if is_poor else model
        if goal <= ROUNDING_DISTANCE * float(point.value):
            if rounding and fresh:  # values cannot improve: stop after a step with a new Hessian
                break
            model = None if rounding else model
            continue
        if left <= goal or 0 < promised <= DECREASE_LEFT * most:
            break
        if rounding and not left < last:
            return point, None  # the next Hessian is built at this point
    return point, model


def reads_columns(objective: Objective, n_columns: int) -> bool:
    """Return True if steps over so many columns read them instead of a Hessian."""
    return n_columns > MANY and objective.data.reads_columns(n_columns)


def _column_direction(
    objective: Objective, point: Point, columns: Tensor, gradient: Tensor
) -> Tensor | None:
    """Return the step (1, 1, p + 1) of `Data.column_step`, or None."""
    coef, strength = point.params[0, 0, columns], objective.reg_strength[0]
    terms = objective.penalty.terms(columns, coef)
    if not reads_columns(objective, len(columns)) or not isinstance(terms, CoordinateTerms):
        return None
    lasso, ridge = strength * terms.lasso, strength * terms.ridge
    if terms.low is not None or not bool((lasso + ridge > 0).all()):
        return None
    within = torch.cat([columns, columns.new_tensor([objective.data.n_features])])
    curvature = output_curvature(objective, point)[:, 0, 0]
    step = objective.data.column_step(
        ColumnProblem(
            columns, curvature, gradient[within], coef, lasso, ridge, objective.fit_intercept
        )
    )
    if step is None:
        return None
    out = torch.zeros_like(point.params)
    out[0, 0, within] = step
    return out


def _gap(
    objective: Objective, point: Point, model: QuadraticModel | None, promised: float
) -> float:
    """Estimate the duality gap, or return the predicted decrease if no bound is finite."""
    if not bool(objective.penalty.coercive(objective.reg_strength).all()):
        return promised
    if model is None and objective.fit_intercept:
        return torch.inf
    gap, _ = penalty_gap(objective, point)  # near the optimum the rows' share is smaller
    return float(gap) + (0.0 if model is None else model.intercept_gap(point))
