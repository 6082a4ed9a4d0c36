"""The Hessian itself."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from skorch_logreg.curvature.cholesky import scaled_cholesky
from skorch_logreg.objective import Objective, Point

# Two cores of a server, as far as ratios go: seconds of calls in a pass, numbers read, values
# of the loss and floating point operations a second.
_CALLS = 5e-4
_NUMBERS = 1.5e9
_ELEMENTS = 1e8
_FLOPS = 5e10


@dataclass(frozen=True)
class ExactHessian:
    """Cholesky factor of the whole Hessian, (K (p + 1))^2 numbers a model.

    It includes the intercept's row: without its coupling to the columns a fifth of real data
    sets converge slowly.  For K > 1 a constant added to all classes changes no probability, so
    the loss has no curvature in that direction and the gradient no part; any positive curvature
    will do there, and gets one that scales with the rest.
    """

    exact: ClassVar[bool] = True
    factor: Tensor
    scale: Tensor

    @classmethod
    def build(cls, objective: Objective, point: Point) -> "ExactHessian":
        """Factor the Hessian at a point: one pass over X, ``2 n (K (p + 1))^2`` operations."""
        n_models, n_outputs, side = objective.shape
        hessian = objective.gram(point)
        if n_outputs > 1:
            shared = hessian.diagonal(dim1=1, dim2=3).sum(dim=-1) / n_outputs**2
            hessian = hessian + shared[:, None, :, None, :]
        if not objective.fit_intercept:
            hessian[:, :, -1] = 0.0
            hessian[..., -1] = 0.0
        matrix = hessian.reshape(n_models, n_outputs * side, n_outputs * side)
        diagonal = objective.penalty_diagonal(point.params).reshape(n_models, -1)
        matrix.diagonal(dim1=-2, dim2=-1).add_(diagonal)
        return cls(*scaled_cholesky(matrix))

    def solve(self, gradient: Tensor) -> Tensor:
        """``H^-1 gradient`` (m, K, p + 1)."""
        flat = gradient.reshape(len(gradient), -1) * self.scale
        solved = torch.cholesky_solve(flat[..., None], self.factor)[..., 0]
        return (solved * self.scale).view_as(gradient)

    def at(self, point: Point, models: Tensor | None = None) -> "ExactHessian":
        """Stay as it is."""
        return self

    def select(self, models: Tensor, objective: Objective) -> "ExactHessian":
        """Keep some models."""
        return ExactHessian(self.factor[models], self.scale[models])


def exact_cost(n_samples: int, n_outputs: int, n_features: int, n_models: int = 1) -> float:
    """Cost of building the Hessians of a batch in its passes over X.

    A pass is bound by memory and the Hessian by arithmetic, so their ratio grows with the
    columns; on small data both are bound by the number of calls.
    """
    side = n_outputs * (n_features + 1)
    size = n_samples * n_outputs * n_models
    products = 4.0 * size * n_features / _FLOPS if n_models > 1 else 0.0
    a_pass = _CALLS + n_samples * n_features / _NUMBERS + size / _ELEMENTS + products
    # a product of few columns runs at a fraction of the rate of a square one
    rate = _FLOPS * side / (side + 60)
    hessian = n_models * (2.0 * n_samples * side**2 + side**3 / 3) / rate
    return (_CALLS + hessian + n_models * n_samples * side / _NUMBERS) / a_pass
