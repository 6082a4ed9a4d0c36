"""Conversion of parameters between the units of the solver and those of X."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from skorch_logreg.data import Data
from skorch_logreg.penalties import Penalty


@dataclass(frozen=True)
class Params:
    """Coefficients (m, K, p) and intercepts (m, K) in the units of X."""

    coef: Tensor
    intercept: Tensor


@dataclass(frozen=True)
class Units:
    """Units of the solver, in which columns have mean zero and standard deviation one.

    ``prior``, coefficients in the units of X, are zero in those of the solver; None: all are 0.
    """

    center: Tensor
    scale: Tensor
    prior: Tensor | None = None

    @classmethod
    def of(cls, data: Data, fit_intercept: bool, excluded: Tensor | None) -> "Units":
        """Compute the units from the columns' moments; without an intercept, only scale columns.

        Columns that are constant (with an intercept), zero or excluded have an infinite scale, so
        that their coefficients are zero.
        """
        mean, deviation = data.column_moments()
        if not math.isfinite(deviation.sum().item()):
            raise ValueError(
                "X holds values so large that their squares overflow; scale its columns, "
                "for example with StandardScaler."
            )
        if not fit_intercept:
            deviation = (mean.square() + deviation.square()).sqrt()
            mean = torch.zeros_like(mean)
        dropped = deviation == 0 if excluded is None else (deviation == 0) | excluded
        return cls(mean, deviation.masked_fill(dropped, torch.inf))

    def from_solver(self, params: Tensor, penalty: Penalty) -> Params:
        """Convert parameters to the units of X, and project coefficients on the constraints."""
        coef = params[..., :-1] / self.scale
        coef = penalty.feasible(coef, coef)
        if self.prior is not None:
            coef = coef + self.prior
        return Params(coef, params[..., -1] - coef @ self.center)

    def to_solver(self, params: Params) -> Tensor:
        """Convert parameters to the units of the solver."""
        intercept = params.intercept + params.coef @ self.center
        coef = params.coef if self.prior is None else params.coef - self.prior
        return torch.cat([self.scaled(coef), intercept[..., None]], dim=-1)

    def scaled(self, coef: Tensor) -> Tensor:
        """Convert coefficients (m, K, p) to the units of the solver, without the prior."""
        return (coef * self.scale).masked_fill_(self.scale.isinf(), 0.0)
