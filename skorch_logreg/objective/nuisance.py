"""Best values of a loss's own parameters for given logits, by Newton's method.

They are not penalised and not among the parameters of a point: every point has their best values,
so that solvers see the objective minimised over them, which is convex in the coefficients. Its
gradient is that at the best values, and its Hessian the Schur complement of the joint one.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from skorch_logreg.data import Block
from skorch_logreg.losses import NuisanceLoss
from skorch_logreg.objective.line_search import MAX_STEP_LOGITS, MAX_STEPS, SLOPE_LEFT

_EPS = torch.finfo(torch.float64).eps
# relative change of the last step: it leaves about its square, and in the value the square of that
_LAST_CHANGE = _EPS**0.25

Reduce = Callable[..., tuple[Tensor, ...]]


def best_nuisance(reduce: Reduce, loss: NuisanceLoss, logits: Tensor, start: Tensor) -> Tensor:
    """Minimise the loss of logits (n, m, K) over its nuisance parameters (m, T).

    All but the first have to stay positive. ``reduce`` is `Data.reduce`; X is not read.
    """

    def sums(nuisance: Tensor) -> tuple[Tensor, ...]:
        at = loss.with_nuisance(nuisance)

        def kernel(block: Block, logits: Tensor) -> tuple[Tensor, ...]:
            return (at.nuisance_sums(logits, block.targets, block.weight),)

        return at.nuisance_derivatives(*reduce(kernel, logits, reads=0))

    nuisance = start.expand(logits.shape[1], -1)
    gradient, hessian = sums(nuisance)
    for _ in range(MAX_STEPS):
        root = nuisance_root(hessian)
        step = -(root.mT @ (root @ gradient[..., None]))[..., 0]
        step *= (MAX_STEP_LOGITS / step.abs().amax(dim=1, keepdim=True)).clamp(max=1.0)
        change = step.abs()
        change[:, 1:] /= nuisance[:, 1:].clamp(max=1.0)
        is_open = (change > _LAST_CHANGE).any(dim=1)
        if not bool(is_open.any()):
            return nuisance + step
        slope, length = (gradient * step).sum(dim=1), torch.ones_like(step[:, 0])
        shortened = torch.zeros_like(length, dtype=torch.bool)
        while True:
            moved = nuisance + length[:, None] * step
            inside = (moved[:, 1:] > 0).all(dim=1)
            moved = torch.where(inside[:, None], moved, nuisance)
            ahead = sums(moved)
            # the slope of a convex function increases: too far ahead it is as large as before, and
            # where rows are saturated a Newton step leaves most of it
            left = (ahead[0] * step).sum(dim=1) / -slope
            is_long = (~inside | (is_open & (left > SLOPE_LEFT))) & (length > _EPS)
            is_short = inside & is_open & (left < -SLOPE_LEFT) & ~shortened
            if not bool((is_long | is_short).any()):
                break
            shortened |= is_long
            length = length * torch.where(is_long, 0.5, torch.where(is_short, 2.0, 1.0))
        if bool((length <= _EPS).all()):
            return nuisance
        nuisance, (gradient, hessian) = moved, ahead
    return nuisance


def nuisance_root(hessian: Tensor) -> Tensor:
    """Return ``R^-1`` (m, T, T) of Hessians ``R R'`` in the nuisance parameters."""
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    scale = torch.where(diagonal > 0, diagonal, 1.0).rsqrt()
    values, vectors = torch.linalg.eigh(hessian * scale[:, None] * scale[..., None])
    kept = values > _EPS * len(scale[0])
    root = torch.where(kept, values, torch.inf).rsqrt()
    return root[..., None] * vectors.mT * scale[:, None]
