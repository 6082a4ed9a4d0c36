"""Quadratic model of the loss over some columns, used for several steps."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skorch_logreg.objective import Objective, Point, loss_hessian, loss_hessian_block
from skorch_logreg.subproblems import Quadratic, minimise

# relative curvature along a step, below which a correction would be rounding error
_ROUNDING = 1e-6


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
    low_precision : bool
        Whether the Hessian is computed from low-precision products.
    rate : float
        Share of the duality gap that remained after the last step; 0 if unknown.
    """

    bordered: Tensor
    columns: Tensor
    low_precision: bool
    rate: float = 0.0

    @classmethod
    def of(
        cls, objective: Objective, point: Point, columns: Tensor, low_precision: bool
    ) -> "QuadraticModel":
        """Build the model at a point."""
        every = torch.equal(columns, torch.arange(objective.data.n_features, device=columns.device))
        gram = loss_hessian(objective, point, None if every else columns, low_precision)
        return cls(gram[0, 0, :, 0], columns, low_precision)

    def extended(self, objective: Objective, point: Point, columns: Tensor) -> "QuadraticModel":
        """Add columns, with their Hessian at a point."""
        every = torch.cat([self.columns, columns])
        rows = loss_hessian_block(objective, point, columns, every, self.low_precision)
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
        """Apply a BFGS update with the change of the gradient along a step.

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
        if not seen > _ROUNDING * modelled > 0:
            return self
        bordered = torch.addr(self.bordered, change, change, alpha=1 / seen)
        return replace(self, bordered=bordered.addr_(image, image, alpha=-1 / modelled))

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

    def steps_left(self, gap: float, goal: float) -> float:
        """Estimate the number of steps from a gap to a goal at the rate of the last step."""
        if gap <= goal or self.rate <= 0:
            return 0.0
        return (
            math.log(gap / max(goal, 1e-300)) / -math.log(self.rate) if self.rate < 1 else math.inf
        )

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
