"""Hessian in low precision."""

from dataclasses import dataclass

import torch
from torch import Tensor

from skorch_logreg.curvature.cholesky import (
    low_precision_damping,
    scaled_cholesky,
    solve_scaled,
)
from skorch_logreg.curvature.exact import whole_hessian
from skorch_logreg.curvature.protocol import Curvature
from skorch_logreg.data import Block
from skorch_logreg.objective import Objective, Point, penalty_diagonal, sampled_at


@dataclass(frozen=True)
class RoughHessian(Curvature):
    """Cholesky factor of the whole Hessian in float32, from low-precision products.

    With many columns an exact Hessian costs dozens of passes, and one from bfloat16 products
    (`data.low_precision`) a tenth of that.  It only determines directions: gradients are exact,
    and the solver's pairs of steps correct its errors.

    References
    ----------
    Higham, Mary (2022). Mixed precision algorithms in numerical linear algebra, Acta Numerica
    31, section 4.
    """

    factor: Tensor
    scale: Tensor

    @classmethod
    def build(cls, objective: Objective, point: Point, n_rows: int | None = None) -> "RoughHessian":
        """Factor the Hessian of ``n_rows`` rows (None: all) at a point, in a pass over them."""
        part, at = sampled_at(objective, point, n_rows)
        models = range(len(objective.reg_strength))
        factors, scales = zip(*(_factor(part, at, model) for model in models), strict=True)
        # joined in LAPACK's layout, otherwise every solve would copy them
        return cls(torch.cat([factor.mT for factor in factors]).mT, torch.cat(scales))

    def solve(self, gradient: Tensor) -> Tensor:
        flat = gradient.reshape(len(gradient), -1, 1)
        return solve_scaled(self.factor, self.scale, flat).view_as(gradient)


def _factor(objective: Objective, point: Point, model: int) -> tuple[Tensor, Tensor]:
    """Return the factor (1, q, q) and the scale (1, q) of one model."""
    alone = torch.tensor([model], device=point.value.device)
    point = point.select(alone)
    own = objective.select(alone).at(point)
    _, n_outputs, side = own.shape

    def kernel(block: Block, logits: Tensor) -> tuple[Tensor, ...]:
        diagonal, rank_one = own.loss.curvature(logits, block.targets)
        weight = block.weight[..., None]
        second = None if rank_one is None else (rank_one * weight.sqrt())[:, 0]
        return (block.bfloat16_gram((diagonal * weight)[:, 0], second),)

    (gram,) = own.data.reduce(kernel, point.logits, few=True)
    gram = gram.view(1, n_outputs, side, n_outputs, side)
    matrix = whole_hessian(own, gram, penalty_diagonal(own, point.params))
    damping = low_precision_damping(matrix.device, matrix.shape[-1])
    return scaled_cholesky(matrix, damping)[:2]
