"""Intercepts of given coefficients: Newton's method along bracketed lines."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_LOOKS = 200  # evaluations; offsets of 1000 with ten classes take a hundred
_SETTLED = 1e-14  # gradient, relative to the residuals' size, that is rounding
_SQUARED = 1e-16  # the same of a Newton step's end, which need not be looked at
_SHORT = 0.1  # step up to which the curvature at its end is known: it changes by its exponential
_FLATTER = 0.25  # share of the slope that a step along a line may leave
_FIRST = 4.0  # logits of the first look along a line; brackets reach further, so far as is needed
_WIDER = 8.0  # times as far, at most, looks the next
_INNER = 0.05  # of a bracket, at each end, where a Newton step is not taken
_COLLAPSED = 1e-15  # relative width of a bracket that rounding has closed
_SOUND = 1e-5  # share of the first pivot up to which a factor's inverse is one of the matrix

Terms = Callable[[Tensor], tuple[Tensor, Tensor, list[float]]]


def best_shift(terms: Terms, shift: Tensor) -> Tensor:
    """Minimise convex functions of m x K constants that are added to logits.

    Newton directions; along each the slope's root is bracketed until a quarter of the slope is
    left, so that neither saturated rows (no curvature) nor a curvature that is far away can end
    the search early or send it astray.  What is left after `_LOOKS` evaluations is for the
    caller to see in the gradient.

    Parameters
    ----------
    terms : callable
        Given a shift (m, K): gradient (m, K), Hessian (m, K, K) and, for each model, the size of
        what the gradient sums.
    shift : Tensor of shape (m, K)
        Where to start.

    Returns
    -------
    shift : Tensor of shape (m, K)

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
        if looks >= _LOOKS:
            return shift
        step = step * (_FIRST / step.abs().amax(dim=-1, keepdim=True)).clamp(max=1.0)
        for line, slope in zip(lines, (gradient * step).sum(dim=-1).tolist(), strict=True):
            line.start(slope)
        while True:
            ahead = shift + step * _along(lines, step)
            gradient, hessian, size = terms(ahead)
            looks += 1
            slopes = (gradient * step).sum(dim=-1).tolist()
            if looks >= _LOOKS or all(map(_Line.is_done, lines, slopes)):
                break
            curvatures = ((hessian @ step[..., None])[..., 0] * step).sum(dim=-1).tolist()
            for line, slope, curvature in zip(lines, slopes, curvatures, strict=True):
                line.narrow(slope, curvature)
        shift, closed = ahead, [line.has_collapsed for line in lines]


def _along(lines: list["_Line"], like: Tensor) -> Tensor:
    """Places (m, 1) on the lines."""
    return like.new_tensor([line.at for line in lines])[:, None]


@dataclass
class _Line:
    """Search along a model's step for a place where the slope is nearly none.

    Attributes
    ----------
    at : float
        Where to look, in steps.
    closed : bool
        Whether nothing is to be searched for.
    """

    at: float = 1.0
    closed: bool = False
    low: float = 0.0
    high: float = math.inf
    enough: float = math.inf
    has_collapsed: bool = False

    @classmethod
    def of(cls, left: float, length: float, has_collapsed: bool) -> "_Line":
        """Decide whether to search, by what is left of the gradient and the step's length."""
        if has_collapsed or left <= _SETTLED:
            return cls(at=0.0, closed=True, has_collapsed=has_collapsed)
        # a Newton step leaves half of its length of the gradient, relatively
        return cls(closed=left * length <= _SQUARED and length <= _SHORT)

    def start(self, slope: float) -> None:
        """Take the slope at the start; where it is not downwards, rounding is all that is left."""
        if not (self.closed or slope < 0):
            self.at, self.closed, self.has_collapsed = 0.0, True, True
        self.enough = _FLATTER * abs(slope)

    def is_done(self, slope: float) -> bool:
        """Whether the search may end where it is."""
        return self.closed or abs(slope) <= self.enough

    def narrow(self, slope: float, curvature: float) -> None:
        """Narrow the bracket and choose where to look next."""
        if self.is_done(slope):
            return
        if slope < 0:
            self.low = self.at
        else:
            self.high = self.at
        newton = self.at - slope / curvature if curvature > 0 else math.inf
        if math.isinf(self.high):
            self.at = min(max(newton, 2 * self.at), _WIDER * self.at)
            return
        width = self.high - self.low
        inside = _INNER * width
        is_inside = self.low + inside < newton < self.high - inside
        self.at = newton if is_inside else self.low + width / 2
        self.closed = self.has_collapsed = width <= _COLLAPSED * self.high


def _newton_step(gradient: Tensor, hessian: Tensor) -> Tensor:
    """Newton step (m, K); the way down where nothing is curved."""
    step = -(outputs_inverse(hessian) @ gradient[..., None])[..., 0]
    falls = ((gradient * step).sum(dim=-1, keepdim=True) < 0) & step.isfinite()
    if bool(falls.all()):
        return step
    steepest = -gradient * (_FIRST / gradient.abs().amax(dim=-1, keepdim=True).clamp(min=1e-300))
    return torch.where(falls.all(dim=-1, keepdim=True), step, steepest)


def outputs_inverse(hessian: Tensor) -> Tensor:
    """Inverse of Hessians (..., K, K) in the intercepts.

    A constant added to all classes has no curvature and no gradient, so it is given that of the
    mean class; to invert around an eigenvalue of rounding would be a lottery.
    """
    n_outputs = hessian.shape[-1]
    if n_outputs == 1:
        return torch.where(hessian > 0, 1 / hessian, 0.0)
    mean = hessian.diagonal(dim1=-2, dim2=-1).mean(dim=-1) / n_outputs
    whole = hessian + mean[..., None, None]
    factor, failed = torch.linalg.cholesky_ex(whole)
    pivots = factor.diagonal(dim1=-2, dim2=-1)
    if not any(failed.flatten().tolist()) and bool((pivots > _SOUND * pivots[..., :1]).all()):
        return torch.cholesky_inverse(factor)
    return torch.linalg.pinv(whole, hermitian=True)
