"""A bound of the multinomial Hessian that all classes share."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from skorch_logreg.curvature.cholesky import scaled_cholesky
from skorch_logreg.data import Block
from skorch_logreg.objective import Objective, Point


@dataclass(frozen=True)
class MultinomialBound:
    """The bound ``1/2 (1 - 11'/K) x Z'SZ`` of the multinomial Hessian.

    Gradients sum to zero over the classes, where the bound acts as ``1/2 Z'SZ`` on each class:
    one factor of side p + 1 serves all of them, whatever their number, and never needs to be
    rebuilt.

    References
    ----------
    Böhning (1992). Multinomial logistic regression algorithm, theorem 1.
    """

    exact: ClassVar[bool] = False
    factor: Tensor
    scale: Tensor

    @classmethod
    def build(cls, objective: Objective, point: Point) -> "MultinomialBound":
        """Factor the bound: one pass over X, ``2 n (p + 1)^2`` operations."""

        def kernel(block: Block) -> tuple[Tensor, ...]:
            return (block.gram(block.weight[..., None] / 2, None)[:, 0, :, 0],)

        (gram,) = objective.data.reduce(kernel)
        if not objective.fit_intercept:
            gram[:, -1] = 0.0
            gram[..., -1] = 0.0
        matrix = gram + torch.diag_embed(objective.penalty_diagonal(point.params)[:, 0])
        return cls(*scaled_cholesky(matrix))

    def solve(self, gradient: Tensor) -> Tensor:
        """``B gradient`` (m, K, p + 1)."""
        flat = gradient * self.scale[:, None]
        return torch.cholesky_solve(flat.mT, self.factor).mT * self.scale[:, None]

    def at(self, point: Point, models: Tensor | None = None) -> "MultinomialBound":
        """Stay as it is."""
        return self

    def select(self, models: Tensor, objective: Objective) -> "MultinomialBound":
        """Keep some models."""
        return MultinomialBound(self.factor[models], self.scale[models])
