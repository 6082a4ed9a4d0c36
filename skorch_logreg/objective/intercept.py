"""Optimal intercepts for given coefficients, by Newton's method with bracketed line searches."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from skorch_logreg.data import Block
from skorch_logreg.data.gram import finished_grams
from skorch_logreg.objective.objective import Objective

_MAX_EVALUATIONS = 200  # offsets of 1000 with ten classes need a hundred
_GRADIENT_ROUNDING = 1e-14  # gradient relative to the size of the residuals that is rounding error
_PREDICTED_GRADIENT = 1e-16  # predicted relative gradient that needs no evaluation
_SHORT_STEP = 0.1  # step in logits up to which the curvature at its end is known
_MAX_SLOPE_RATIO = 0.25  # share of the slope that may remain after a search along a line
_FIRST_STEP = 4.0  # in logits, along a line; brackets are extended as far as needed
_MAX_STEP_RATIO = 8.0  # largest ratio of successive steps while the bracket is open
_BRACKET_MARGIN = 0.05  # share of a bracket, at each end, in which a Newton step is not accepted
_WIDTH_ROUNDING = 1e-15  # relative width of a bracket that is rounding error
_MIN_PIVOT = 1e-5  # share of the first pivot below which a Cholesky factor is not inverted

Terms = Callable[[Tensor], tuple[Tensor, Tensor, list[float]]]


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
) -> tuple[Tensor, Tensor, list[float]]:
    """Return gradient and Hessian in the intercepts, and the sums (m) of |residuals|."""

    def kernel(block: Block, logits: Tensor) -> tuple[Tensor, ...]:
        z = logits + shift
        weight = block.weight[..., None]
        residual, diagonal, rank_one = objective.loss.residual_curvature(z, block.targets)
        residual = residual * weight
        hessian = (diagonal * weight).sum(dim=0)[..., None]
        if rank_one is not None:
            hessian = (rank_one * weight).permute(1, 2, 0) @ rank_one.transpose(0, 1)
            finished_grams(hessian, hessian.shape[1], is_softmax=True)  # in place
        return residual.sum(dim=0), hessian, residual.abs().sum(dim=(0, 2))

    gradient, hessian, size = objective.data.reduce(kernel, logits, reads=0)
    return gradient, hessian, size.tolist()


def best_shift(terms: Terms, shift: Tensor) -> Tensor:
    """Minimise convex functions of m x K constants that are added to logits.

    Along each Newton direction the root of the slope is bracketed until a quarter of the slope
    is left, so the search is robust to saturated rows, which have no curvature, and to a
    curvature that changes quickly.  After `_MAX_EVALUATIONS` the result may be inaccurate, which
    the caller can detect from the gradient.

    ``terms`` takes a shift (m, K), and returns the gradient (m, K), the Hessian (m, K, K) and, for
    each model, the sum of absolute values of the gradient's terms.

    References
    ----------
    Nocedal, Wright (2006). Numerical Optimization, algorithm 3.5.
    """
    gradient, hessian, size = terms(shift)
    looks, closed = 1, [False] * len(size)
    while True:
        step = _newton_step(gradient, hessian)
        largest = gradient.abs().amax(dim=-1).tolist(), step.abs().amax(dim=-1).tolist()
        lines = [
            _Line.of(left / of if of > 0 else 0.0, length, done)
            for left, length, of, done in zip(*largest, size, closed, strict=True)
        ]
        if all(line.closed for line in lines):
            return shift + step * _along(lines, step)
        if looks >= _MAX_EVALUATIONS:
            return shift
        step = step * (_FIRST_STEP / step.abs().amax(dim=-1, keepdim=True)).clamp(max=1.0)
        for line, slope in zip(lines, (gradient * step).sum(dim=-1).tolist(), strict=True):
            line.start(slope)
        while True:
            ahead = shift + step * _along(lines, step)
            gradient, hessian, size = terms(ahead)
            looks += 1
            slopes = (gradient * step).sum(dim=-1).tolist()
            if looks >= _MAX_EVALUATIONS or all(map(_Line.is_done, lines, slopes)):
                break
            curvatures = ((hessian @ step[..., None])[..., 0] * step).sum(dim=-1).tolist()
            for line, slope, curvature in zip(lines, slopes, curvatures, strict=True):
                line.narrow(slope, curvature)
        shift, closed = ahead, [line.has_collapsed for line in lines]


def _along(lines: list["_Line"], like: Tensor) -> Tensor:
    """Return the current positions (m, 1) on the lines."""
    return like.new_tensor([line.at for line in lines])[:, None]


@dataclass
class _Line:
    """Line search along a model's step for a root of the slope."""

    at: float = 1.0  # current position, in steps
    closed: bool = False  # whether the search is finished
    low: float = 0.0  # bracket of the root
    high: float = math.inf
    enough: float = math.inf  # absolute slope at which the search stops
    has_collapsed: bool = False  # whether the bracket has been reduced to rounding error

    @classmethod
    def of(cls, left: float, length: float, has_collapsed: bool) -> "_Line":
        """Create a search, closed if the remaining gradient and the step are small."""
        if has_collapsed or left <= _GRADIENT_ROUNDING:
            return cls(at=0.0, closed=True, has_collapsed=has_collapsed)
        # after a Newton step the gradient is reduced by a factor of half the step length
        return cls(closed=left * length <= _PREDICTED_GRADIENT and length <= _SHORT_STEP)

    def start(self, slope: float) -> None:
        """Set the slope at the start; a slope that is not negative is rounding error."""
        if not (self.closed or slope < 0):
            self.at, self.closed, self.has_collapsed = 0.0, True, True
        self.enough = _MAX_SLOPE_RATIO * abs(slope)

    def is_done(self, slope: float) -> bool:
        """Return True if the search can stop at its current position."""
        return self.closed or abs(slope) <= self.enough

    def narrow(self, slope: float, curvature: float) -> None:
        """Update the bracket and the position."""
        if self.is_done(slope):
            return
        if slope < 0:
            self.low = self.at
        else:
            self.high = self.at
        newton = self.at - slope / curvature if curvature > 0 else math.inf
        if math.isinf(self.high):
            self.at = min(max(newton, 2 * self.at), _MAX_STEP_RATIO * self.at)
            return
        width = self.high - self.low
        inside = _BRACKET_MARGIN * width
        is_inside = self.low + inside < newton < self.high - inside
        self.at = newton if is_inside else self.low + width / 2
        self.closed = self.has_collapsed = width <= _WIDTH_ROUNDING * self.high


def _newton_step(gradient: Tensor, hessian: Tensor) -> Tensor:
    """Return the Newton step (m, K), or a steepest descent step without curvature."""
    step = -(outputs_inverse(hessian) @ gradient[..., None])[..., 0]
    falls = ((gradient * step).sum(dim=-1, keepdim=True) < 0) & step.isfinite()
    if bool(falls.all()):
        return step
    steepest = -gradient * (
        _FIRST_STEP / gradient.abs().amax(dim=-1, keepdim=True).clamp(min=1e-300)
    )
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
    if not any(failed.flatten().tolist()) and bool((pivots > _MIN_PIVOT * pivots[..., :1]).all()):
        return torch.cholesky_inverse(factor)
    return torch.linalg.pinv(whole, hermitian=True)
