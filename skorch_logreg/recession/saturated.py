"""Test on logits for models that may have their optimum at infinity."""

import torch
from torch import Tensor

from skorch_logreg.data import Block
from skorch_logreg.losses import Loss
from skorch_logreg.objective import Objective, Point

# share of a residual that has to remain after a step, far above the rounding of a step; of a row's
# gain that a sparser direction has to keep; and of the change of a log-probability by an exact step
# towards infinity that one of other steps may have
MIN_SHARE = 0.1


def saturated_models(objective: Objective, point: Point, limit: Tensor) -> list[bool]:
    """Return True for each model with a wrong class of at most probability ``limit`` (m,) in a row.

    Probabilities are multiplied by the weight of the row. Let ``D`` be a direction of recession
    and ``d >= 0`` its change of the right class's logit minus that of the wrong class k of row i.
    The Newton decrement is at least ``1/2 (g'D)^2 / D'HD``, and with ``g'D = -sum s p d`` and
    ``D'HD <= sum s p d^2`` at least ``1/2 s p`` of the pair (i, k) with the largest d. If ``s p``
    is above twice the decrement in every row, no such direction exists. X is not read.
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
    """Return True for each model in which a step has changed no saturated row.

    On its way to infinity a Newton step lowers the logarithm of some wrong class's probability by
    at least 1 from any starting point; near a minimiser it changes none by more than a fraction.
    For a full step of the exact Hessian that is a proof: see `proves_minimiser`. Steps of other
    curvatures have to be shorter.

    Parameters
    ----------
    objective : Objective
    before : Tensor of shape (n, m, K)
        Logits before the step.
    point : Point
        Point after the step.
    limit : Tensor of shape (m,)
        Limit of `saturated_models`.
    exact : Tensor of bool of shape (m,)
        True if the step is a full Newton step.
    """
    loss = objective.loss
    most = torch.where(exact, 1 - MIN_SHARE, MIN_SHARE)[:, None].to(limit.dtype)
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
    """Return first-order decreases of log-probabilities of wrong classes, and the probabilities."""
    if loss.n_outputs == 1:
        residual, bend, _ = loss.residual_curvature(logits, y)
        return -bend * change / residual, residual.abs()
    proba = loss.curvature(logits)[0]
    return (proba * change).sum(dim=-1, keepdim=True) - change, proba


def _rows_with(loss: Loss, logits: Tensor, block: Block) -> Tensor:
    """Return a mask (rows, m) of rows with a weight and a one-sided logit in a mask ``logits``."""
    sided = loss.one_sided(block.targets)
    logits = logits if sided is None else logits & sided
    rows = logits[..., 0] if loss.n_outputs == 1 else logits.any(dim=-1)
    return rows & (block.weight > 0)
