"""A quadratic model of the loss over some columns, kept for several steps."""

from dataclasses import dataclass

import torch
from torch import Tensor

from skorch_logreg.objective import Objective, Point


@dataclass(frozen=True)
class QuadraticModel:
    """Loss of one model with one output, as its Hessian at some point sees it.

    Only the step's direction depends on it: gradients stay exact.  So it may be old, as long as
    steps fall short by little.

    Parameters
    ----------
    bordered : Tensor of shape (c + 1, c + 1)
        Over the columns and the intercept.
    columns : Tensor of shape (c,)
        Which they are among the features.
    """

    bordered: Tensor
    columns: Tensor

    @classmethod
    def of(
        cls, objective: Objective, point: Point, columns: Tensor, rough: bool
    ) -> "QuadraticModel":
        """Build it at a point, perhaps of float32 products."""
        every = torch.equal(columns, torch.arange(objective.data.n_features, device=columns.device))
        return cls(objective.gram(point, None if every else columns, rough)[0, 0, :, 0], columns)

    def extended(self, objective: Objective, point: Point, columns: Tensor) -> "QuadraticModel":
        """Let it know more columns too, as they are at a point."""
        every = torch.cat([self.columns, columns])
        rows = objective.cross_gram(point, columns, every)
        known = len(self.columns)
        apart, own = torch.cat([rows[:, :known], rows[:, -1:]], 1), rows[:, known:-1]
        bordered = torch.cat(
            [
                torch.cat([self.bordered[:-1, :-1], apart[:, :-1].T, self.bordered[:-1, -1:]], 1),
                torch.cat([apart[:, :-1], own, apart[:, -1:]], 1),
                torch.cat([self.bordered[-1:, :-1], apart[:, -1:].T, self.bordered[-1:, -1:]], 1),
            ]
        )
        return QuadraticModel(bordered, every)

    def direction(self, objective: Objective, point: Point) -> Tensor:
        """Step (1, 1, p + 1) to the minimiser of the model and the penalty."""
        gradient = objective.loss_gradient(point)[0, 0]
        coef, slope = point.params[0, 0, self.columns], gradient[self.columns]
        hessian, border, inverse = self._eliminated(objective.fit_intercept)
        linear = hessian @ coef - slope + border * (inverse * gradient[-1])
        best = objective.penalty.minimise_quadratic(
            hessian, linear, coef, self.columns, objective.strength[0]
        )
        out = torch.zeros_like(point.params)
        out[0, 0, self.columns] = best - coef
        out[0, 0, -1] = -inverse * (gradient[-1] + border @ (best - coef))
        return out

    def intercept_gap(self, point: Point) -> float:
        """By how much, or so, a duality gap grows where the intercept goes to its best."""
        border, total = self.bordered[:-1, -1], float(self.bordered[-1, -1])
        size = float(border.abs() @ point.params[0, 0, self.columns].abs())
        return size * abs(float(point.gradient[0, 0, -1])) / total if total > 0 else 0.0

    def _eliminated(self, fit_intercept: bool) -> tuple[Tensor, Tensor, float]:
        """Hessian where the intercept follows, its border, and the inverse of its own curvature."""
        hessian, border = self.bordered[:-1, :-1], self.bordered[:-1, -1]
        total = float(self.bordered[-1, -1])
        if not fit_intercept or total <= 0:
            return hessian, border, 0.0
        return torch.addr(hessian, border, border, alpha=-1 / total), border, 1 / total
