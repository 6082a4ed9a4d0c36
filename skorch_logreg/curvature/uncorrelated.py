"""Hessian of columns that are correlated neither with each other nor with the rows' weights."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from skorch_logreg.curvature.protocol import Curvature
from skorch_logreg.data import Block
from skorch_logreg.objective import Objective, Point, penalty_diagonal, total_curvature

# mean of a column of mean square 1, above which it counts as constant
_MAX_MEAN = 1 - torch.finfo(torch.float64).eps ** 0.5


@dataclass(frozen=True)
class UncorrelatedColumns(Curvature):
    """Hessian as if columns were uncorrelated and all rows of a model had the same weight.

    With the sum ``c`` of the second derivatives of all rows, the means ``u`` of the columns and
    the penalty's diagonal ``P``, the Hessian in the coefficients is ``c (1 - u^2) + c u u' + P``,
    in units in which columns have mean square one, as in the solver's, and ``c`` in the intercept.
    With an intercept the means are zero. Without one those of sparse columns matter most: their
    entries are positive, so that all columns are correlated through them. An exact diagonal, or
    blocks of frequent columns, save few products of conjugate gradients on sparse rows, and cost
    passes.

    Notes
    -----
    Updated at every point without a pass over X. Where an exact Hessian costs dozens of passes, the
    pairs of `LBFGS` on this one often reach the optimum earlier.
    """

    objective: Objective
    mean: Tensor
    ridge: Tensor
    weight: Tensor

    @classmethod
    def build(
        cls, objective: Objective, point: Point, with_means: bool = True
    ) -> "UncorrelatedColumns":
        """Compute the curvature at a point; means of columns without an intercept cost one pass."""

        def kernel(block: Block) -> tuple[Tensor, ...]:
            return (block.rmatmul(block.weight.mean(dim=1)[:, None, None]),)

        ridge = penalty_diagonal(objective, point.params)[..., :-1]
        mean = torch.zeros_like(ridge[0, 0])
        if with_means and not objective.fit_intercept:
            sums = objective.data.reduce(kernel)[0][0, 0]
            mean = (sums[:-1] / sums[-1]).clamp(-_MAX_MEAN, _MAX_MEAN)
        return cls(objective.exact, mean, ridge, mean.new_empty(0)).at(point)

    def at(self, point: Point, models: Tensor | None = None) -> "UncorrelatedColumns":
        point = point if models is None else point.select(models)
        weight = total_curvature(self.objective.at(point), point.logits)[..., None]
        return replace(self, weight=weight.clamp(min=1e-300))

    def solve(self, gradient: Tensor) -> Tensor:
        out = gradient.clone()
        coef, border = out[..., :-1], out[..., -1:]
        coef.mul_(self._inverse)
        if self.objective.fit_intercept:  # the means are zero
            border.div_(self.weight)
        else:  # Sherman and Morrison's formula
            coef.addcmul_(self._along, (coef @ self.mean)[..., None], value=-1)
            border.zero_()
        if out.shape[1] > 1:  # separate outputs violate the zero sum over classes
            out -= out.mean(dim=1, keepdim=True)
        return out

    def select(self, models: Tensor) -> "UncorrelatedColumns":
        objective = self.objective.select(models)
        return replace(
            self, objective=objective, ridge=self.ridge[models], weight=self.weight[models]
        )

    @cached_property
    def _inverse(self) -> Tensor:
        return torch.addcmul(self.ridge, self.weight, 1 - self.mean.square()).reciprocal_()

    @cached_property
    def _along(self) -> Tensor:
        along = self._inverse * self.mean
        return along / (1 / self.weight + (along @ self.mean)[..., None])
