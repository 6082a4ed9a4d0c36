"""Bound of the multinomial Hessian that all classes share."""

from dataclasses import dataclass

import torch
from torch import Tensor

from skorch_logreg.curvature.cholesky import (
    drop_intercept,
    low_precision_damping,
    scaled_cholesky,
    solve_scaled,
)
from skorch_logreg.curvature.protocol import Curvature
from skorch_logreg.data import Block
from skorch_logreg.objective import Objective, Point, penalty_diagonal


@dataclass(frozen=True)
class MultinomialBound(Curvature):
    """Upper bound ``1/2 (1 - 11'/K) x Z'SZ`` of the multinomial Hessian.

    Gradients sum to zero over the classes, and on such arrays the bound acts as ``1/2 Z'SZ`` on
    each class.  So one factor of side p + 1 is enough for any number of classes, and it is valid
    at every point.

    References
    ----------
    Böhning (1992). Multinomial logistic regression algorithm, theorem 1.
    """

    factor: Tensor
    scale: Tensor

    @classmethod
    def build(cls, objective: Objective, point: Point) -> "MultinomialBound":
        """Factor the bound in low precision: one pass over X, ``n (p + 1)^2`` operations."""

        def kernel(block: Block) -> tuple[Tensor, ...]:
            return (block.bfloat16_grams(block.weight / 2),)

        (gram,) = objective.data.reduce(kernel, few=True)
        if not objective.fit_intercept:
            drop_intercept(gram)
        ridge = penalty_diagonal(objective, point.params)[:, 0]
        gram = gram + torch.zeros_like(ridge)[..., None]
        gram.diagonal(dim1=-2, dim2=-1).add_(ridge)
        return cls(*scaled_cholesky(gram, low_precision_damping(gram.device, gram.shape[-1])))

    def solve(self, gradient: Tensor) -> Tensor:
        """Return ``B gradient`` (m, K, p + 1)."""
        return solve_scaled(self.factor, self.scale, gradient.mT).mT
