"""Duality gaps: rigorous bounds on the suboptimality of a point.

The guide `notebooks/exactness.md` says what they mean for the attributes of a fit.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from skorch_logreg.data import Block
from skorch_logreg.objective.intercept import intercept_terms, outputs_inverse
from skorch_logreg.objective.objective import Objective, inner, multiply_curvature
from skorch_logreg.objective.point import Point

_EPS = torch.finfo(torch.float64).eps
_SUM_ROUNDING = 128 * _EPS  # sum of residuals relative to the objective that is rounding error
# longest step of the intercepts for which the rows' share is bounded without a pass
_MAX_NEARBY_STEP_LOGITS = 0.1
_MIN_REG_STRENGTH = torch.finfo(torch.float64).tiny ** 0.5  # so that its inverse is finite, squared


def duality_gap(objective: Objective, point: Point, slack: Tensor | None = None) -> Tensor:
    """Bound ``F - F*`` (m,) by the duality gap; inf if no bound is finite.

    The dual point consists of the residuals, scaled into the domain of the penalty's conjugate.
    An intercept has no penalty, so the residuals also have to sum to zero, else the dual
    objective is minus infinity; if the intercept's gradient exceeds rounding they are shifted
    first.  By the Fenchel-Young inequality the gap is a sum of non-negative terms, one per row
    and one per feature, and no difference of two objectives is computed.

    Gradient entries below their rounding error ``slack`` (m,) count as zero.

    Notes
    -----
    Far from the best intercept the gap is infinite.  One pass over X if residuals are shifted.

    References
    ----------
    Ndiaye, Fercoq, Gramfort, Salmon (2017). Gap safe screening rules for sparsity enforcing
    penalties, section 2.
    """
    penalty = objective.penalty
    held = penalty.coercive(objective.reg_strength)
    if not any(held.tolist()):
        return torch.full_like(point.value, torch.inf)
    sums, step = point.gradient[..., -1].abs().amax(dim=-1), None
    if bool((sums > _SUM_ROUNDING * point.value).any()):
        gradient, step = feasible_gradient(objective, point)
        point = replace(point, gradient=gradient)
    features, scale = penalty_gap(objective, point, slack)
    if step is None and not bool((scale < 1).any()):
        return torch.where(held, features, torch.inf)
    loss: Any = objective.at(point).loss

    def kernel(block: Block, logits: Tensor) -> tuple[Tensor, ...]:
        if point.nuisance is not None:
            gap = loss.scaled_gap(logits, block.targets, scale)
            return ((gap * block.weight).sum(dim=0),)
        value, residual = loss.value_residual(logits, block.targets)
        if step is not None:
            residual = residual - multiply_curvature(*objective.loss.curvature(logits), step)
        product = (residual * logits).sum(dim=-1) * scale
        conjugate = loss.conjugate(residual * scale[:, None], block.targets)
        return (((value + conjugate - product) * block.weight).sum(dim=0),)

    (rows,) = objective.data.reduce(kernel, point.logits, reads=0)
    if step is None:
        rows = torch.where(scale < 1, rows, 0.0)
    else:
        held = held & step.isfinite().all(dim=-1)
    return torch.where(held, rows.clamp(min=0.0) + features, torch.inf)


def duality_gap_nearby(objective: Objective, point: Point) -> Tensor | None:
    """Bound ``F - F*`` (m,) near the best intercepts, without reading rows.

    The penalty is smooth and quadratic.  Returns None if the shift of a model's residuals is too
    long.  The rows' share is the Kullback-Leibler divergence between their probabilities, which is
    ``d'Hd / 2`` up to a factor of ``1 + |d|``.
    """
    gradient, step = feasible_gradient(objective, point)
    if not bool((step.abs() <= _MAX_NEARBY_STEP_LOGITS).all()):
        return None
    length = step.abs().amax(dim=-1)
    rows = (point.gradient[..., -1] * step).sum(dim=-1) * (1 + length) / 2
    features, _ = penalty_gap(objective, replace(point, gradient=gradient))
    held = objective.penalty.coercive(objective.reg_strength)
    return torch.where(held, features + rows, torch.inf)


def feasible_gradient(objective: Objective, point: Point) -> tuple[Tensor, Tensor]:
    """Compute the gradient for dual feasible residuals, which sum to zero.

    A row's residual, probabilities ``p`` minus the target, is shifted by
    ``-(diag(p) - p p') d`` with ``d`` the Newton step of the intercepts.  For short ``d`` the
    result is still a difference of probabilities.

    Returns
    -------
    gradient : Tensor of shape (m, K, p + 1)
        Gradient with shifted residuals.
    step : Tensor of shape (m, K)
        Newton step ``d``; inf if it is too long, or if the sum remains above rounding.

    Notes
    -----
    One pass over X, unless the point has `intercept_hessian`.
    """
    slope, loss = point.gradient[..., -1], objective.loss

    def hessian_times(step: Tensor) -> Tensor:
        def kernel(block: Block, logits: Tensor) -> tuple[Tensor, ...]:
            change = multiply_curvature(*loss.curvature(logits), step)
            return (block.rmatmul(change.mul_(block.weight[..., None])),)

        return objective.data.reduce(kernel, point.logits)[0]

    if loss.n_outputs == 1:
        intercept_hessian = point.intercept_hessian
        if intercept_hessian is None:
            intercept_hessian = hessian_times(torch.ones_like(slope))
        step = slope * outputs_inverse(intercept_hessian[..., -1:])[..., 0]
        change = intercept_hessian * step[..., None]
    else:
        hessian = intercept_terms(objective, point.logits, torch.zeros_like(slope))[1]
        step = (outputs_inverse(hessian) @ slope[..., None])[..., 0]
        change = hessian_times(step)
    gradient = point.gradient - change
    sums = gradient[..., -1].abs().amax(dim=-1)
    # a probability stays positive if logits change by at most 1 more than their mean
    feasible = (2 * step.abs().amax(dim=-1) <= 1) & (sums <= _SUM_ROUNDING * point.value)
    return gradient, torch.where(feasible[:, None], step, torch.inf)


def penalty_gap(
    objective: Objective, point: Point, slack: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the features' share (m,) of the duality gap and the scale (m,) of the dual point.

    The rows' share is of second order in ``1 - scale``.
    """
    penalty, coef = objective.penalty, point.params[..., :-1]
    reg_strength = objective.reg_strength.clamp(min=_MIN_REG_STRENGTH)
    weight = reg_strength[:, None, None]
    if penalty.smooth and penalty.quadratic:
        # the conjugate is finite everywhere, and at the gradient it has no cancellation
        features = penalty.conjugate(point.gradient[..., :-1] / weight)
        return reg_strength * features, torch.ones_like(reg_strength)
    dual = -objective.loss_gradient(point)[..., :-1]
    if slack is not None:
        dual = dual.sign() * (dual.abs() - slack[:, None, None]).clamp(min=0.0)
    dual = dual / weight
    scale = penalty.dual_scale(dual)
    dual = dual * scale[:, None, None]
    features = penalty.value(coef) + penalty.conjugate(dual) - inner(dual, coef)
    return (reg_strength * features).clamp(min=0.0), scale


def gap_beyond_rounding(objective: Objective, point: Point) -> tuple[Tensor, Tensor]:
    """Return the duality gap (m,) minus the rounding error of a gap of zero, and that error.

    If the penalty of a column is below the error of its gradient, it would dominate the gap.
    """
    error = gradient_rounding(objective, point)
    rounding = gap_rounding(point, error)
    return (duality_gap(objective, point, error) - rounding).clamp(min=0.0), rounding


def gap_rounding(point: Point, error: Tensor) -> Tensor:
    """Return the rounding error (m,) of a duality gap of zero from that of gradients (m,).

    The gap is linear in the error of the gradient, which is multiplied by the coefficients.
    """
    weights = point.params[..., :-1].abs().sum(dim=(1, 2))
    return _SUM_ROUNDING * point.value.abs() + 8 * error * weights


def gradient_rounding(objective: Objective, point: Point) -> Tensor:
    """Return the rounding error (m,) of a gradient's entry, a sum of residuals times columns."""
    loss = objective.at(point).loss

    def kernel(block: Block, logits: Tensor) -> tuple[Tensor, ...]:
        residual = loss.residual_curvature(logits, block.targets)[0]
        return ((residual.abs().sum(dim=-1) * block.weight).sum(dim=0),)

    (size,) = objective.data.reduce(kernel, point.logits, reads=0)
    return 16 * _EPS * size
