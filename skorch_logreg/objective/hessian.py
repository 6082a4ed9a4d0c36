"""Hessian of an objective: products, and its entries over some columns."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from skorch_logreg.data import Block
from skorch_logreg.kernels.logits import multiply_softmax_curvature
from skorch_logreg.objective.duality import gradient_rounding
from skorch_logreg.objective.nuisance import nuisance_root
from skorch_logreg.objective.objective import ROUNDING_DISTANCE, Objective, multiply_curvature
from skorch_logreg.objective.point import Point

MAX_EIGEN_SIDE = 1000  # side of a matrix whose eigenvalues are computed, in half a second


def hessian_product(objective: Objective, point: Point) -> Callable[[Tensor], Tensor]:
    """Return a function that multiplies with the exact Hessian; one pass over X per call."""
    # the curvature of the rows is stored instead of being recomputed in every product
    diagonal, is_softmax = row_curvature(objective, point), objective.loss.n_outputs > 1
    border = None if point.nuisance is None else nuisance_border(objective, point)
    ridge = objective.scaled(objective.penalty.hess_diagonal(point.params[..., :-1]))

    def product(vector: Tensor) -> Tensor:
        def kernel(block: Block, d: Tensor) -> tuple[Tensor, ...]:
            if objective.loss.kernel is not None:
                image = block.hessian_product(objective.loss.kernel, vector, d)
                if image is not None:
                    return (image,)
            change = block.matmul(vector)
            if not (is_softmax and multiply_softmax_curvature(d, change, block.weight)):
                change = multiply_curvature(d, d if is_softmax else None, change)
                change.mul_(block.weight[..., None])
            return (block.rmatmul(change),)

        (image,) = objective.data.reduce(kernel, diagonal)
        if border is not None:
            image -= (border.mT @ (border @ vector.mT)).mT
        return objective.add_penalty_gradient(image, ridge * vector[..., :-1])

    return product


def loss_hessian(objective: Objective, point: Point, columns: Tensor | None = None) -> Tensor:
    """Compute the loss's Hessian (m, K, c + 1, K, c + 1) over some columns and the intercept."""
    loss = objective.at(point).loss

    def kernel(block: Block, logits: Tensor) -> tuple[Tensor, ...]:
        diagonal, rank_one = loss.curvature(logits, block.targets)
        weight = block.weight[..., None]
        second = None if rank_one is None else rank_one * weight.sqrt()
        return (block.gram(diagonal * weight, second, columns),)

    gram = objective.data.reduce(kernel, point.logits)[0]
    if point.nuisance is not None:
        border = nuisance_border(objective, point)
        if columns is not None:
            border = border[..., [*columns.tolist(), -1]]
        gram -= (border.mT @ border)[:, None, :, None, :]
    return gram


def row_curvature(objective: Objective, point: Point) -> Tensor:
    """Compute the diagonal d (n, m, K) of `Loss.curvature` for all rows, in blocks."""
    loss = objective.at(point).loss

    def kernel(block: Block, logits: Tensor, out: Tensor) -> tuple[Tensor, ...]:
        out.copy_(loss.curvature(logits, block.targets)[0])
        return ()

    out = torch.empty_like(point.logits)
    objective.data.reduce(kernel, point.logits, out, reads=0)
    return out


def nuisance_border(objective: Objective, point: Point) -> Tensor:
    """Compute ``R^-1 X'C`` (m, T, p + 1) of a loss with nuisance parameters, one pass over X.

    C are the derivatives of the residuals in these, and ``R R'`` is their Hessian, so that the
    square of the result is what the Hessian in the coefficients loses by minimising over them.
    """
    loss: Any = objective.at(point).loss

    def kernel(block: Block, logits: Tensor) -> tuple[Tensor, ...]:
        mixed = loss.mixed(logits, block.targets).mul_(block.weight[..., None])
        return block.rmatmul(mixed), loss.nuisance_sums(logits, block.targets, block.weight)

    cross, sums = objective.data.reduce(kernel, point.logits)
    return nuisance_root(loss.nuisance_derivatives(sums)[1]) @ cross


def loss_hessian_block(
    objective: Objective, point: Point, columns: Tensor, others: Tensor
) -> Tensor:
    """Compute the block (c, o + 1) of the loss's Hessian of columns by others and intercept.

    Only for one model with one output.
    """

    def kernel(block: Block, weight: Tensor) -> tuple[Tensor, ...]:
        return (block.cross(weight, columns, others),)

    weight = output_curvature(objective, point)[:, 0, 0]
    return objective.data.reduce(kernel, weight)[0]


def output_curvature(objective: Objective, point: Point) -> Tensor:
    """Compute the weighted second derivatives (n, m, K) of every row's loss in each logit."""
    loss = objective.at(point).loss

    def kernel(block: Block, logits: Tensor, out: Tensor) -> tuple[Tensor, ...]:
        diagonal, rank_one = loss.curvature(logits, block.targets)
        own = diagonal if rank_one is None else diagonal - rank_one.square()
        torch.mul(own, block.weight[..., None], out=out)
        return ()

    out = torch.empty_like(point.logits)
    objective.data.reduce(kernel, point.logits, out, reads=0)
    return out


def total_curvature(objective: Objective, logits: Tensor) -> Tensor:
    """Sum the weighted second derivatives (m, K) of the loss at logits; X is not read."""

    def kernel(block: Block, logits: Tensor) -> tuple[Tensor, ...]:
        diagonal, rank_one = objective.loss.curvature(logits, block.targets)
        own = diagonal if rank_one is None else diagonal - rank_one.square()
        return ((own * block.weight[..., None]).sum(dim=0),)

    return objective.data.reduce(kernel, logits, reads=0)[0]


def penalty_diagonal(objective: Objective, params: Tensor) -> Tensor:
    """Return the diagonal (m, K, p + 1) of the penalty's Hessian; 0 for the intercept.

    It is not to be written to.
    """
    return objective.ridge if objective.penalty.quadratic else objective.ridge_at(params)


def is_resolved(objective: Objective, point: Point, goal: float) -> bool:
    """Return True if rounding hides no decrease by more than a goal of one model.

    Differences of columns with means of 1e6 deviations have 1e-12 of the columns' own squares. If
    no intercept takes up the means, sums of products hold four digits of them, and quadratic
    problems may be solved wrongly. Rounding errors ``e`` of the logits hide a decrease of
    ``e'He / (2 c)`` in a direction whose curvature is a share ``c`` of the largest. A direction of
    exactly zero hides nothing: it does not change the loss. Coefficients that their gradient holds
    at a bound do not move.
    """
    coef, penalty = point.params[:, :, :-1], objective.penalty
    down, up = penalty.recession(coef, objective.reg_strength)
    gradient = point.gradient[:, :, :-1]
    ahead = coef - gradient.sign() * (1.0 + coef.abs())
    pushed = gradient.abs() > gradient_rounding(objective, point)[:, None, None]
    moves = ~pushed | (penalty.feasible(ahead, coef) != coef)
    used = (((coef != 0) | down | up) & moves)[0].any(dim=0)
    columns = used.nonzero()[:, 0]
    if not len(columns) or len(columns) > MAX_EIGEN_SIDE:
        return True

    def kernel(block: Block, curvature: Tensor) -> tuple[Tensor, ...]:
        return block.gram(curvature, None, columns), block.gram(
            block.weight[..., None], None, columns
        )

    curved, plain = objective.data.reduce(kernel, output_curvature(objective, point))
    if not objective.fit_intercept:
        curved, plain = curved[:, :, :-1, :, :-1], plain[:, :, :-1, :, :-1]
    error = torch.finfo(curved.dtype).eps * float(coef.abs().sum(dim=-1).max())
    values = _relative_eigenvalues(plain[0, 0, :, 0])
    if bool((values < ROUNDING_DISTANCE).any()):
        return False
    # as many where rows are not saturated
    curvatures = (_relative_eigenvalues(curved[0, k, :, k]) for k in range(curved.shape[1]))
    return all(len(c) == len(values) and not bool((c < error**2 / goal).any()) for c in curvatures)


def _relative_eigenvalues(gram: Tensor) -> Tensor:
    """Return eigenvalues of a matrix with a unit diagonal beyond rounding, over the largest."""
    inside = (gram.diagonal() > 0).nonzero()[:, 0]
    unit = gram.diagonal()[inside].rsqrt()
    values = torch.linalg.eigvalsh(gram[inside][:, inside] * unit * unit[:, None])
    values = values / values[-1:]  # empty if all columns are zero
    return values[values > len(inside) * torch.finfo(values.dtype).eps]


def row_kernel(
    objective: Objective, params: Tensor, low_precision: bool = False
) -> tuple[Tensor, Tensor]:
    """Return ``Z P^-1 Z'`` (n, n) and the penalty's diagonal P (p,), for a strength of 1.

    P is the same for all outputs, and 1 for columns without a penalty.  With
    ``low_precision`` the product may have low precision.
    """
    diagonal = objective.penalty.hess_diagonal(params[:1, :1, :-1])[0, 0]
    diagonal = torch.where(diagonal > 0, diagonal, 1.0)
    return objective.data.outer(1 / diagonal, low_precision), diagonal
