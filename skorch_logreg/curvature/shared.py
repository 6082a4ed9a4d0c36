"""One factorisation of ``X'X`` that all models of a batch share."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from skorch_logreg.curvature.cholesky import scaled_cholesky
from skorch_logreg.data import Block
from skorch_logreg.losses import Loss
from skorch_logreg.objective import Objective, Point

_ROWS = 1000  # enough for a mean to a few per cent


@dataclass(frozen=True)
class SharedHessian:
    """``B_m = (c_m Z'SZ + P / C_m)^-1``: models differ in two numbers, not in a matrix.

    Every logistic Hessian is ``Z'D_m Z`` with a weight a row; here the rows of a model have
    their mean weight, ``c_m``, which follows the model.  ``Z'SZ`` and the penalty's diagonal
    ``P`` are diagonalised together, once, and a solve is then two products for all models.
    Where columns are many, those with most entries are diagonalised and the rest have their
    diagonal.  The intercept stands apart, as it does from centred columns.

    References
    ----------
    Golub, Van Loan (2013). Matrix Computations, section 8.7.2.
    """

    exact: ClassVar[bool] = False
    loss: Loss
    strength: Tensor
    columns: Tensor
    basis: Tensor
    share: Tensor
    squares: Tensor | None
    penalty: Tensor
    step: int
    row_weight: Tensor
    weight: Tensor

    @classmethod
    def build(
        cls, objective: Objective, point: Point, n_columns: int, sample: Objective | None = None
    ) -> "SharedHessian":
        """Diagonalise: two passes over X and ``2 n q^2 + 9 q^3`` operations, q columns.

        ``sample`` has the rows that the columns are multiplied on; None: all.
        """
        part = objective if sample is None else sample
        columns, squares = _frequent(part, n_columns)

        def product(block: Block) -> tuple[Tensor, ...]:
            weight = block.weight.mean(dim=1)[:, None, None]
            return (block.gram(weight, None, columns)[0, 0, :, 0],)

        (gram,) = part.data.reduce(product)
        gram, total = gram[:-1, :-1], gram[-1, -1]
        if columns is None:
            columns = torch.arange(len(gram), device=gram.device)
        penalty = objective.penalty.hess_diagonal(point.params[:1, :1, :-1])[0, 0]
        ridge = penalty[columns]
        factor, scale = scaled_cholesky((gram / total + torch.diag(ridge))[None])
        inverse = torch.linalg.solve_triangular(factor[0], torch.diag(scale[0]), upper=False)
        share, vectors = torch.linalg.eigh(inverse * ridge @ inverse.T)
        step = max(objective.data.n_samples // _ROWS, 1)
        weight = objective.row_weight()
        part_weight = weight[::step]
        scaled = part_weight * (weight.sum(dim=0) / part_weight.sum(dim=0).clamp(min=1e-300))
        shared = cls(
            loss=objective.loss,
            strength=objective.strength,
            columns=columns,
            basis=inverse.T @ vectors,
            share=share.clamp(0.0, 1.0),
            squares=None if squares is None else squares / total,
            penalty=penalty,
            step=step,
            row_weight=scaled.expand(-1, len(objective.strength)),
            weight=total,
        )
        return shared.at(point)

    def solve(self, gradient: Tensor) -> Tensor:
        """``B gradient`` (m, K, p + 1)."""
        weight, strength = self.weight[..., None], self.strength[:, None, None]
        inner = gradient[..., self.columns] @ self.basis
        inner /= torch.addcmul(weight * (1 - self.share), strength, self.share)
        if self.squares is None:
            out = torch.cat([inner @ self.basis.T, gradient[..., -1:] / weight], dim=-1)
        else:
            bend = weight * self.squares
            bend[..., :-1] += strength * self.penalty
            out = gradient / torch.where(bend > 0, bend, 1.0)
            out[..., self.columns] = inner @ self.basis.T
        if out.shape[1] > 1:  # classes of different weights leave the plane of zero sums
            out -= out.mean(dim=1, keepdim=True)
        return out

    def at(self, point: Point, models: Tensor | None = None) -> "SharedHessian":
        """Take the mean weight of the rows at a point; X is not read."""
        logits = point.logits[:: self.step]
        bend = self.loss.curvature(logits if models is None else logits[:, models])[0]
        weight = (bend * self.row_weight[..., None]).sum(dim=0)
        return replace(self, weight=weight.clamp(min=1e-300))

    def select(self, models: Tensor, objective: Objective) -> "SharedHessian":
        """Keep some models."""
        return replace(
            self,
            strength=self.strength[models],
            row_weight=self.row_weight[:, models],
            weight=self.weight[models],
        )


def _frequent(objective: Objective, n_columns: int) -> tuple[Tensor | None, Tensor | None]:
    """Columns with most entries, and the squares (p + 1,) of all; None if that is all columns."""
    if n_columns >= objective.data.n_features:
        return None, None

    def moments(block: Block) -> tuple[Tensor, ...]:
        weight = block.weight.mean(dim=1, keepdim=True)
        return block.column_squares(weight)[0], block.column_counts()

    squares, counts = objective.data.reduce(moments)
    columns = counts.argsort(descending=True, stable=True)[:n_columns]
    return columns.sort().values, squares
