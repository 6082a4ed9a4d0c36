"""Curvature from one factorisation of ``X'X`` that all models of a batch share."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skorch_logreg.curvature.cholesky import scaled_cholesky
from skorch_logreg.curvature.protocol import Curvature
from skorch_logreg.data import Block
from skorch_logreg.data.low_precision import LARGE_SIDE
from skorch_logreg.data.tensors import take_models
from skorch_logreg.data.threads import several_threads
from skorch_logreg.losses import Loss
from skorch_logreg.objective import Objective, Point, on_sample


@dataclass(frozen=True)
class SharedHessian(Curvature):
    """Shared curvature ``B_m = (c_m Z'SZ + P / C_m)^-1``, with two numbers per model.

    Every logistic Hessian is ``Z'D_m Z`` with one weight per row.  Here all rows of a model have
    their mean weight ``c_m``, which is updated at every point.  ``Z'SZ`` and the penalty's
    diagonal ``P`` are diagonalised jointly, once, so that a solve is two products for all models.

    A row's weight depends on its logit and is small for large logits, so the mean is least
    accurate along the coefficients.  A correction of rank two gives the curvature of the logits
    in that direction and along the intercept.  For normal columns this is the whole Hessian.  It
    consists of the vectors ``Z'SZ w / |w|`` (m, K, q) of the coefficients w, in the basis, and the
    matrices ``N (1 + U'A^-1 U N)^-1`` (m, K, 2, 2) of Woodbury's identity.

    References
    ----------
    Golub, Van Loan (2013). Matrix Computations, section 8.7.2.  Hager (1989). Updating the
    inverse of a matrix, SIAM Review 31, equation 1.
    """

    loss: Loss
    fit_intercept: bool
    strength: Tensor
    basis: Tensor
    inverse: Tensor
    share: Tensor
    rows: slice
    row_weight: Tensor
    weight: Tensor
    correction: tuple[Tensor, Tensor] | None = None

    @classmethod
    def build(
        cls, objective: Objective, point: Point, n_rows: int | None = None
    ) -> "SharedHessian":
        """Diagonalise the columns: a pass over X and ``2 n p^2 + 9 p^3`` operations.

        Uses a sample of ``n_rows`` rows; None uses all rows.
        """
        part, rows = objective, slice(None)
        if n_rows is not None:
            part, rows = on_sample(objective, n_rows), objective.data.sampled(n_rows)
        total, matrix, basis, share = joint_basis(part)
        weight = part.exact.row_weight()
        step = max(len(weight) // 400, 1)  # so many rows estimate a mean to some per cent
        sampled = weight[::step]
        sampled = sampled * (weight.sum(dim=0) / sampled.sum(dim=0).clamp(min=1e-300))
        return cls(
            loss=objective.loss,
            fit_intercept=objective.fit_intercept,
            strength=objective.reg_strength,
            basis=basis,
            inverse=matrix @ basis,
            share=share,
            rows=slice(rows.start, None, (rows.step or 1) * step),
            row_weight=sampled.expand(-1, len(objective.reg_strength)),
            weight=total,
        ).at(point)

    def solve(self, gradient: Tensor) -> Tensor:
        weight = self.weight[..., None]
        eigenvalues = self._eigenvalues(self.weight)
        inner, border = (
            (gradient[..., :-1] @ self.basis) / eigenvalues,
            gradient[..., -1:] / weight,
        )
        if self.correction is not None:
            along, matrix = self.correction
            seen = torch.cat([(along * inner).sum(dim=-1, keepdim=True), border], dim=-1)
            share = (matrix @ seen[..., None])[..., 0]
            inner = inner - along / eigenvalues * share[..., :1]
            border = border - share[..., 1:] / weight
        if not self.fit_intercept:
            border = torch.zeros_like(border)
        out = torch.cat([inner @ self.basis.T, border], dim=-1)
        if out.shape[1] > 1:  # different weights of classes violate the zero sum
            out -= out.mean(dim=1, keepdim=True)
        return out

    def at(self, point: Point, models: Tensor | None = None) -> "SharedHessian":
        logits, params = point.logits[self.rows], point.params
        if models is not None:
            logits, params = take_models(logits, models), params[models]
        rows = self.loss.curvature(logits)[0] * self.row_weight[..., None]
        weight = rows.sum(dim=0).clamp(min=1e-300)
        moved = replace(self, weight=weight, correction=None)
        coef = params[..., :-1] @ self.inverse
        along = (1 - self.share) * coef
        size = (along * coef).sum(dim=-1)
        if not bool((size > 0).all()):
            return moved
        size = size.sqrt()
        along = along / size[..., None]
        away = (logits - params[..., -1]) / size
        second = (rows * away.square()).sum(dim=0) - weight
        first = (rows * away).sum(dim=0) if self.fit_intercept else torch.zeros_like(second)
        missed = torch.stack([second, first, first, torch.zeros_like(first)], dim=-1)
        missed = missed.view(*first.shape, 2, 2)
        spread = (along.square() / moved._eigenvalues(weight)).sum(dim=-1)
        seen = torch.diag_embed(torch.stack([spread, 1 / weight], dim=-1))
        eye = torch.eye(2, dtype=seen.dtype, device=seen.device)
        matrix = torch.linalg.solve(eye + missed @ seen, missed)
        return replace(moved, correction=(along, matrix))

    def select(self, models: Tensor) -> "SharedHessian":
        along_matrix = self.correction
        return replace(
            self,
            strength=self.strength[models],
            row_weight=take_models(self.row_weight, models),
            weight=self.weight[models],
            correction=along_matrix and (along_matrix[0][models], along_matrix[1][models]),
        )

    def _eigenvalues(self, weight: Tensor) -> Tensor:
        """Return the eigenvalues (m, K, q) under mean weights."""
        strength = self.strength[:, None, None]
        return torch.addcmul(weight[..., None] * (1 - self.share), strength, self.share)


def joint_basis(objective: Objective) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Diagonalise the Gram matrix ``G`` of the columns and the penalty's diagonal ``P`` jointly.

    Returns the total weight of the rows, ``G + P`` of weights that sum to one, a basis ``B`` with
    ``B'(G + P) B = I``, and the diagonal of ``B'P B``.
    """

    def product(block: Block) -> tuple[Tensor, ...]:
        weight = block.weight.mean(dim=1)[:, None, None]
        return (block.gram(weight, None)[0, 0, :, 0],)

    (gram,) = objective.data.reduce(product)
    total, gram = gram[-1, -1], gram[:-1, :-1] / gram[-1, -1]
    penalty = objective.penalty.hess_diagonal(objective.zeros()[:1, :1, :-1])[0, 0]
    matrix = gram + torch.diag(penalty)
    factor, scale, _ = scaled_cholesky(matrix[None])
    root = torch.linalg.solve_triangular(factor[0], torch.diag(scale[0]), upper=False)
    with several_threads(len(root) >= LARGE_SIDE):
        share, vectors = torch.linalg.eigh(root * penalty @ root.T)
    return total, matrix, root.T @ vectors, share.clamp(0.0, 1.0)
