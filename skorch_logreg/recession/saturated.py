"""Which models may have their optimum at infinity: a test on logits."""

import torch
from torch import Tensor

from skorch_logreg.data import Block
from skorch_logreg.losses import Loss
from skorch_logreg.objective import Objective, Point

_DECREMENT_FACTOR = 20.0  # 2 of the theorem, and 10: a decrement is known up to this (promise 2)
MIN_RESIDUAL_SHARE = (
    0.1  # share of a residual that a step has to leave, far above the rounding of a step
)
_MAX_LOG_CHANGE = (
    0.1  # change of a logarithm: a tenth of what an exact step makes on its way to infinity
)
_ROUNDING = 1e-13  # a decrement relative to the value, below which it is rounding


def saturation_limit(point: Point, decrement: Tensor) -> Tensor:
    """Weighted probability (m,) up to which a wrong class may be one that goes to zero."""
    return _DECREMENT_FACTOR * decrement.clamp(min=0.0) + _ROUNDING * point.value.abs()


def saturated_models(objective: Objective, point: Point, limit: Tensor) -> list[bool]:
    """Whether some row gives a wrong class no more than a weighted probability ``limit`` (m,).

    Let ``D`` be a direction of recession and ``d >= 0`` what it adds to the lead of the right
    class over the wrong class k of row i.  The Newton decrement is at least
    ``1/2 (g'D)^2 / D'HD``, and with ``g'D = -sum s p d`` and ``D'HD <= sum s p d^2`` at least
    ``1/2 s p`` of the pair (i, k) with the largest d.  Where ``s p`` is above twice the
    decrement in every row, there is none.

    Notes
    -----
    X is not read.
    """
    loss = objective.loss

    def kernel(block: Block, logits: Tensor) -> tuple[Tensor, ...]:
        wrong = loss.residual_curvature(logits, block.targets)[0].abs_()
        low = wrong.mul_(block.weight[..., None]) <= limit[:, None]
        return (_rows_with(loss, low, block).sum(dim=0),)

    (count,) = objective.data.reduce(kernel, point.logits, reads=0)
    return [n > 0 for n in count.tolist()]


def keeps_saturated_rows(
    objective: Objective, before: Tensor, point: Point, limit: Tensor, exact: Tensor
) -> list[bool]:
    """Whether a step left saturated rows as they were, model by model.

    On its way to infinity a Newton step lowers the logarithm of some wrong class' probability by
    one at least, wherever it starts; near a minimiser it changes none by more than a fraction.
    Where the step is one of the Hessian itself, the whole way, that is a proof: see
    `proves_minimiser`.  A step of another curvature has to be shorter.

    Parameters
    ----------
    before : Tensor of shape (n, m, K)
        Logits before the step.
    point : Point
        After it.
    limit : Tensor of shape (m,)
        As in `saturated_models`.
    exact : Tensor of bool of shape (m,)
        Whether the step is Newton's.

    Notes
    -----
    X is not read.
    """
    loss = objective.loss
    most = torch.where(exact, 1 - MIN_RESIDUAL_SHARE, _MAX_LOG_CHANGE)[:, None].to(limit.dtype)
    limit = torch.where(exact, torch.inf, limit)[:, None]

    def kernel(block: Block, old: Tensor, new: Tensor) -> tuple[Tensor, ...]:
        fall, wrong = _log_probability_falls(loss, old, new - old, block.targets)
        moved = ~(fall <= most) & (wrong * block.weight[..., None] <= limit)
        return (_rows_with(loss, moved, block).sum(dim=0),)

    (count,) = objective.data.reduce(kernel, before, point.logits, reads=0)
    return [n == 0 for n in count.tolist()]


def _log_probability_falls(
    loss: Loss, logits: Tensor, change: Tensor, y: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute what logarithms of wrong classes' probabilities lose by a step, and these.

    (rows, m, K) each; to first order.
    """
    if loss.n_outputs == 1:
        residual, bend, _ = loss.residual_curvature(logits, y)
        return -bend * change / residual, residual.abs()
    proba = loss.curvature(logits)[0]
    return (proba * change).sum(dim=-1, keepdim=True) - change, proba


def _rows_with(loss: Loss, logits: Tensor, block: Block) -> Tensor:
    """Rows (rows, m) with a weight and one of some logits that can go to one end only."""
    sided = loss.one_sided(block.targets)
    logits = logits if sided is None else logits & sided
    rows = logits[..., 0] if loss.n_outputs == 1 else logits.any(dim=-1)
    return rows & (block.weight > 0)
