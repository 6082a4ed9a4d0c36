"""Exact Hessian for data with more columns than rows."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from skorch_logreg.curvature.cholesky import scaled_cholesky, solve_scaled
from skorch_logreg.curvature.protocol import Curvature
from skorch_logreg.data import Block
from skorch_logreg.objective import Objective, Point, outputs_inverse, penalty_diagonal, row_kernel


@dataclass(frozen=True)
class DualHessian(Curvature):
    """Inverse of the Hessian through a matrix over rows, with (n K)^2 numbers per model.

    With the penalty's diagonal ``P`` and ``W = M M'`` the Hessian in the logits, Woodbury's
    identity gives::

        (P + Z' W Z)^-1 = P^-1 - P^-1 Z' M T^-1 M' Z P^-1,     T = 1 + M' Z P^-1 Z' M

    The intercept is eliminated by its Schur complement ``(M'1)' T^-1 (M'1)``, which needs no
    subtraction.  Every column needs a positive penalty.

    References
    ----------
    Hager (1989). Updating the inverse of a matrix, SIAM Review 31, equation 1.
    """

    objective: Objective
    root: Tensor
    unit: Tensor
    penalty: Tensor
    factor: Tensor
    scale: Tensor
    border: Tensor
    schur_inverse: Tensor

    @classmethod
    def build(cls, objective: Objective, point: Point, rough: bool = False) -> "DualHessian":
        """Factor at a point in one pass over X, with ``n^2 p`` operations.

        With ``rough`` they may have low precision.
        """
        n_models, n_outputs, _ = objective.shape
        n = objective.data.n_samples
        diagonal, rank_one = objective.loss.curvature(point.logits)
        weight = objective.row_weight()
        # rows of M: sqrt(w d) (1 - u u') with the unit vector u = q / sqrt(d)
        root = (diagonal * weight[..., None]).sqrt()
        if rank_one is None:
            unit = torch.zeros_like(root)
        else:
            unit = torch.where(diagonal > 0, rank_one / diagonal.sqrt(), 0.0)
        penalty = penalty_diagonal(objective, point.params)[..., :-1]
        penalty = torch.where(penalty > 0, penalty, 1.0)  # excluded columns
        # the penalty is the same for all outputs, up to the strength of each model
        unit_kernel, _ = row_kernel(objective, point.params, rough)
        kernels = []
        for j in range(n_models):
            kernel = unit_kernel / objective.reg_strength[j]
            middle = torch.eye(n_outputs, dtype=root.dtype, device=root.device)
            half = middle - unit[:, j, :, None] * unit[:, j, None, :]
            lift = root[:, j, :, None] * half  # M of every row, (n, K, K)
            block = torch.einsum("iak,ij,jal->ikjl", lift, kernel, lift)
            kernels.append(block.reshape(n * n_outputs, n * n_outputs))
        matrix = torch.stack(kernels)
        matrix.diagonal(dim1=-2, dim2=-1).add_(1.0)
        factor, scale, _ = scaled_cholesky(matrix)
        # M' times the intercept's columns, one per output: (m, n K, K)
        eye = torch.eye(n_outputs, dtype=root.dtype, device=root.device)
        ones = eye.expand(n, n_models, n_outputs, n_outputs)
        border = _lower(root[..., None], unit[..., None], ones, dim=-2)
        border = border.permute(1, 0, 2, 3).reshape(n_models, n * n_outputs, n_outputs)
        inverse = outputs_inverse(border.mT @ solve_scaled(factor, scale, border))
        return cls(objective, root, unit, penalty, factor, scale, border, inverse)

    @property
    def reads(self) -> int:
        """Two: products with X and its transpose."""
        return 2

    def solve(self, gradient: Tensor) -> Tensor:
        """Return ``H^-1 gradient`` (m, K, p + 1); damping of ``T`` only increases decrements."""
        coef, intercept = gradient[..., :-1], gradient[..., -1]
        scaled = torch.cat([coef / self.penalty, torch.zeros_like(intercept)[..., None]], dim=-1)

        def multiply(block: Block, out: Tensor) -> tuple[Tensor, ...]:
            block.matmul(scaled, out=out)
            return ()

        rows = torch.empty_like(self.root)
        self.objective.data.reduce(multiply, rows)
        target = _lower(self.root, self.unit, rows).transpose(0, 1).reshape(len(intercept), -1, 1)
        if self.objective.fit_intercept:
            inner = solve_scaled(self.factor, self.scale, target)
            residual = intercept - (self.border.mT @ inner)[..., 0]
            shift = self.schur_inverse @ residual[..., None]
            target = target + self.border @ shift
            shift = shift[..., 0]
        else:
            shift = torch.zeros_like(intercept)
        dual = solve_scaled(self.factor, self.scale, target)
        n_models, n_outputs = intercept.shape
        raised = dual.view(n_models, -1, n_outputs).transpose(0, 1)
        raised = _raise(self.root, self.unit, raised)
        (back,) = self.objective.data.reduce(lambda block, r: (block.rmatmul(r),), raised)
        return torch.cat([(coef - back[..., :-1]) / self.penalty, shift[..., None]], dim=-1)

    def select(self, models: Tensor) -> "DualHessian":
        return DualHessian(
            self.objective.select(models),
            self.root[:, models],
            self.unit[:, models],
            *(getattr(self, field.name)[models] for field in fields(self)[3:]),
        )


def _lower(root: Tensor, unit: Tensor, rows: Tensor, dim: int = -1) -> Tensor:
    """Return ``M' rows`` with ``M = diag(root) (1 - unit unit')``, row by row."""
    scaled = root * rows
    return scaled - unit * (unit * scaled).sum(dim=dim, keepdim=True)


def _raise(root: Tensor, unit: Tensor, rows: Tensor) -> Tensor:
    """Return ``M rows``, row by row."""
    return root * (rows - unit * (unit * rows).sum(dim=-1, keepdim=True))
