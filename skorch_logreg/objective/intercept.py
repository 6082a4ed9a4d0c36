"""Optimal intercepts for given coefficients, by Newton's method with line searches."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from skorch_logreg.data import Block
from skorch_logreg.data.gram import finished_grams
from skorch_logreg.objective.line_search import MAX_STEP_LOGITS, MAX_STEPS, line_search
from skorch_logreg.objective.objective import Objective

_EPS = torch.finfo(torch.float64).eps
_GRADIENT_ROUNDING = 64 * _EPS  # gradient relative to the sum of the residuals' sizes

Terms = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]


def minimise_intercept(
    objective: Objective, params: Tensor, logits: Tensor
) -> tuple[Tensor, Tensor]:
    """Return parameters and logits with the best intercepts; X is not read."""
    if not objective.fit_intercept:
        return params, logits
    terms = partial(intercept_terms, objective, logits)
    shift = best_shift(terms, torch.zeros_like(params[..., -1]))
    moved = params.clone()
    moved[..., -1] += shift
    return moved, logits + shift


def intercept_terms(
    objective: Objective, logits: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return gradient and Hessian in the intercepts, and the sums (m) of |residuals|."""

    def kernel(block: Block, logits: Tensor) -> tuple[Tensor, ...]:
        weight = block.weight[..., None]
        terms = objective.loss.residual_curvature(logits + shift, block.targets)
        residual, diagonal, rank_one = terms[0].mul_(weight), *terms[1:]
        gradient, size = residual.sum(dim=0), residual.abs_().sum(dim=(0, 2))
        del terms, residual  # with many classes, arrays of logits are the largest
        if rank_one is None:
            return gradient, (diagonal * weight).sum(dim=0)[..., None], size
        hessian = (rank_one * weight).permute(1, 2, 0) @ rank_one.transpose(0, 1)
        finished_grams(hessian, hessian.shape[1], is_softmax=True)  # in place
        return gradient, hessian, size

    gradient, hessian, size = objective.data.reduce(kernel, logits, reads=0)
    return gradient, hessian, size


def best_shift(terms: Terms, shift: Tensor) -> Tensor:
    """Minimise convex functions of m x K constants that are added to logits.

    Newton's method with line searches, which are robust to saturated rows that have no curvature.
    After `MAX_STEPS` the result may be inaccurate, which the caller can detect from the gradient.

    ``terms`` takes a shift (m, K), and returns the gradient (m, K), the Hessian (m, K, K) and the
    sum (m) of absolute values of the gradient's terms.
    """
    gradient, hessian, size = terms(shift)
    for _ in range(MAX_STEPS):
        step = _newton_step(gradient, hessian)
        length = step.abs().amax(dim=-1)
        left = gradient.abs().amax(dim=-1) / size
        open_ = left > _GRADIENT_ROUNDING
        step = torch.where(open_[:, None], step, 0.0)
        # a short Newton step reduces the gradient by a factor of half its length
        near = left * length <= _EPS
        if bool((near | ~open_).all()):
            return shift + step
        step = step * (MAX_STEP_LOGITS / length).clamp(max=1.0)[:, None]
        if step.shape[-1] > 1:  # a search would follow the rounding of the slope of a constant
            step = step - step.mean(dim=-1, keepdim=True)
        moved, *found = _search(terms, shift, step, (gradient * step).sum(dim=-1))
        if torch.equal(moved, shift):
            return shift
        shift, (gradient, hessian, size) = moved, found
    return shift


def _search(terms: Terms, shift: Tensor, step: Tensor, slope: Tensor) -> tuple[Tensor, ...]:
    """Search lines along steps of some slopes (m,); return the shift and its terms."""
    last: tuple[Tensor, ...] = ()

    def at(length: Tensor) -> tuple[Tensor, ...]:
        nonlocal last
        moved = shift + length[:, None] * step
        if not last or not torch.equal(moved, last[0]):
            last = moved, *terms(moved)
        return last

    def along(length: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _, gradient, hessian, _ = at(length)
        curvature = ((hessian @ step[..., None])[..., 0] * step).sum(dim=-1)
        return torch.zeros_like(slope), (gradient * step).sum(dim=-1), curvature

    return at(line_search(along, slope, torch.zeros_like(slope), rounding=0.0))


def _newton_step(gradient: Tensor, hessian: Tensor) -> Tensor:
    """Return the Newton step (m, K), or a steepest descent step without curvature.

    The latter also where a short step leaves most of the gradient: if all rows give a class a
    probability near zero, its curvature vanishes, but with smoothed labels not its gradient.
    """
    step = -(outputs_inverse(hessian) @ gradient[..., None])[..., 0]
    flat = gradient + (hessian @ step[..., None])[..., 0]
    sizes = (each.abs().amax(dim=-1, keepdim=True) for each in (step, flat, gradient))
    length, left, most = sizes
    is_flat = (length <= _EPS**0.5) & (2 * left > most)
    falls = ((gradient * step).sum(dim=-1, keepdim=True) < 0) & step.isfinite() & ~is_flat
    if bool(falls.all()):
        return step
    slope = torch.where(is_flat, flat, gradient)
    steepest = -slope * (MAX_STEP_LOGITS / slope.abs().amax(dim=-1, keepdim=True).clamp(min=1e-300))
    return torch.where(falls.all(dim=-1, keepdim=True), step, steepest)


def outputs_inverse(hessian: Tensor) -> Tensor:
    """Invert Hessians (..., K, K) in the intercepts.

    A constant added to all classes has no curvature and no gradient.  It is given the curvature
    of the mean class, because the inverse of a rounding error would be arbitrary.
    """
    n_outputs = hessian.shape[-1]
    if n_outputs == 1:
        return torch.where(hessian > 0, 1 / hessian, 0.0)
    mean = hessian.diagonal(dim1=-2, dim2=-1).mean(dim=-1) / n_outputs
    whole = hessian + mean[..., None, None]
    factor, failed = torch.linalg.cholesky_ex(whole)
    pivots = factor.diagonal(dim1=-2, dim2=-1)
    # an inverse loses as many digits as the square of the pivots' ratio has
    least = _EPS ** (1 / 3) * pivots[..., :1]
    if not any(failed.flatten().tolist()) and bool((pivots > least).all()):
        return torch.cholesky_inverse(factor)
    return torch.linalg.pinv(whole, hermitian=True)
