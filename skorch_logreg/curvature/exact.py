"""Exact Hessian over columns."""

from dataclasses import dataclass

from torch import Tensor

from skorch_logreg.curvature.cholesky import scaled_cholesky, solve_scaled
from skorch_logreg.curvature.protocol import Curvature
from skorch_logreg.objective import Objective, Point, loss_hessian, penalty_diagonal


@dataclass(frozen=True)
class ExactHessian(Curvature):
    """Cholesky factor of the whole Hessian, with (K (p + 1))^2 numbers per model.

    It includes the intercept: without its coupling to the columns a fifth of real data sets
    converge slowly.  For K > 1 a constant added to all classes changes no probability, so loss
    and gradient have no component in that direction, which gets a positive curvature of the
    same scale as the others.
    """

    factor: Tensor
    scale: Tensor
    shift: Tensor

    @classmethod
    def build(cls, objective: Objective, point: Point) -> "ExactHessian":
        """Factor the Hessian at a point: one pass over X, ``2 n (K (p + 1))^2`` operations."""
        ridge = penalty_diagonal(objective, point.params)
        return cls(
            *scaled_cholesky(whole_hessian(objective, loss_hessian(objective, point), ridge))
        )

    def solve(self, gradient: Tensor) -> Tensor:
        flat = gradient.reshape(len(gradient), -1, 1)
        solved = solve_scaled(self.factor, self.scale, flat).view_as(gradient)
        if gradient.shape[1] > 1:  # a constant for all classes is rounding error
            solved -= solved.mean(dim=1, keepdim=True)
        return solved

    def damping(self, solved: Tensor) -> Tensor:
        """Return the part (m,) of the decrement that is due to the shift of the diagonal."""
        flat = solved.reshape(len(solved), -1) / self.scale
        return flat.square_().sum(dim=-1) * self.shift / 2


def whole_hessian(objective: Objective, gram: Tensor, ridge: Tensor) -> Tensor:
    """Return the Hessians (m, K (p + 1), K (p + 1)) of loss and penalty.

    ``gram`` (m, K, p + 1, K, p + 1), the Hessian of the loss, is overwritten; its lower triangles
    suffice for those of the result.  ``ridge`` (m, K, p + 1) is the diagonal of the penalty's.
    """
    n_models, n_outputs, side = ridge.shape
    if n_outputs > 1:  # no loss has a curvature along a constant for all classes
        shared = gram.diagonal(dim1=1, dim2=3).sum(dim=-1) / n_outputs**2
        gram += (shared.tril() + shared.tril(-1).mT)[:, None, :, None, :]
    if not objective.fit_intercept:
        gram[:, :, -1] = 0.0
        gram[..., -1] = 0.0
    matrix = gram.reshape(n_models, n_outputs * side, n_outputs * side)
    matrix.diagonal(dim1=-2, dim2=-1).add_(ridge.view(n_models, -1))
    return matrix
