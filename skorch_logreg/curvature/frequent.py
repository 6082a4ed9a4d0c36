"""Hessian blocks of each output over the most frequent columns, and a diagonal for the rest."""

from dataclasses import dataclass, replace

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
from skorch_logreg.objective import Objective, Point, output_curvature, penalty_diagonal


@dataclass(frozen=True)
class FrequentColumns(Curvature):
    """Hessian of the most frequent columns for each output, and the diagonal of the others.

    In sparse data a few columns have most of the entries, and so most of the interaction.
    """

    columns: Tensor
    factor: Tensor
    scale: Tensor
    diagonal: Tensor

    @classmethod
    def build(
        cls, objective: Objective, point: Point, n_columns: int, n_rows: int | None = None
    ) -> "FrequentColumns":
        """Factor blocks of ``n_columns`` columns at a point, with one product for all outputs.

        Blocks are low-precision products of a sample of ``n_rows`` rows (None: all).  If they do
        not cover all columns, a pass over X selects the columns and computes the diagonal.
        """
        side = objective.shape[2]
        own = output_curvature(objective, point)
        ridge = penalty_diagonal(objective, point.params)
        partial = n_columns < side - 1
        columns, diagonal = _diagonal(objective, own, n_columns) if partial else (None, ridge)
        data, among = objective.data, columns
        if n_rows is not None:
            rows = own[data.sampled(n_rows)]
            own = rows * (own.sum(dim=0) / rows.sum(dim=0)).nan_to_num(1.0, 1.0)
            data, among = data.sample(n_rows, columns), None

        def product(block: Block, weight: Tensor) -> tuple[Tensor, ...]:
            return (block.bfloat16_grams(weight.reshape(len(weight), -1), among),)

        (blocks,) = data.reduce(product, own, few=True)
        if not objective.fit_intercept:
            drop_intercept(blocks)
        if columns is None:
            chosen = torch.arange(side, device=ridge.device)
        else:
            chosen = torch.cat([columns, columns.new_tensor([side - 1])])
            diagonal = diagonal + ridge
        blocks.diagonal(dim1=-2, dim2=-1).add_(ridge.reshape(-1, side)[:, chosen])
        factor, scale = scaled_cholesky(
            blocks, low_precision_damping(blocks.device, blocks.shape[-1])
        )
        safe = torch.where(diagonal > 0, diagonal, 1.0)
        return cls(chosen, factor, scale, safe)

    def solve(self, gradient: Tensor) -> Tensor:
        """Return ``B gradient`` (m, K, p + 1)."""
        out = gradient / self.diagonal
        chosen = gradient[..., self.columns]
        flat = chosen.reshape(-1, chosen.shape[-1], 1)
        out[..., self.columns] = solve_scaled(self.factor, self.scale, flat).view_as(chosen)
        if out.shape[1] > 1:  # separate blocks violate the zero sum over classes
            out -= out.mean(dim=1, keepdim=True)
        return out

    def select(self, models: Tensor, objective: Objective) -> "FrequentColumns":
        """Return the curvature of some models."""
        n_outputs = objective.shape[1]
        rows = (models[:, None] * n_outputs + torch.arange(n_outputs, device=models.device)).ravel()
        return replace(
            self,
            factor=self.factor[rows],
            scale=self.scale[rows],
            diagonal=self.diagonal[models],
        )


def _diagonal(objective: Objective, weight: Tensor, n_columns: int) -> tuple[Tensor, Tensor]:
    """Return the columns with the most entries, and the loss's Hessian diagonal (m, K, p + 1).

    The diagonal uses all rows, because a rare column may have no entry in a sample.
    """

    def kernel(block: Block, weight: Tensor) -> tuple[Tensor, ...]:
        flat = weight.reshape(len(weight), -1)
        return block.column_squares(flat), block.column_counts()

    squares, counts = objective.data.reduce(kernel, weight)
    diagonal = squares.view(objective.shape)
    if not objective.fit_intercept:
        diagonal[..., -1] = 0.0
    return counts.argsort(descending=True, stable=True)[:n_columns].sort().values, diagonal
