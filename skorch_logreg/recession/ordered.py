"""Optima at infinity of models of ordered classes."""

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from skorch_logreg.data import Block, from_arrays
from skorch_logreg.data.tensors import BLOCK_ELEMENTS
from skorch_logreg.losses import Binomial
from skorch_logreg.objective import SUM_RTOL, Objective, Point, loss_hessian, penalty_diagonal
from skorch_logreg.objective.hessian import MAX_EIGEN_SIDE
from skorch_logreg.objective.nuisance import nuisance_root
from skorch_logreg.penalties import L2
from skorch_logreg.recession.newton import CONSTANT_LOGIT
from skorch_logreg.recession.saturated import MIN_SHARE
from skorch_logreg.recession.search import find_direction, unbounded_directions


def ordered_direction(objective: Objective, point: Point) -> Tensor | None:
    """Find a direction (1, p + 1) of recession of one model with thresholds.

    The loss of a row depends on the thresholds above and below its class. Along a direction
    of coefficients and thresholds no such loss increases if and only if it does not in the binary
    model of all pairs of a row and one of its thresholds, whose columns are those of X and an
    indicator of every threshold.

    Notes
    -----
    The binary model is made only where a Newton step does not prove a minimiser. Nothing is found
    in more than 600 unpenalised columns, or 2^24 entries.

    References
    ----------
    Albert, Anderson (1984). On the existence of maximum likelihood estimates in logistic
    regression models, Biometrika 71.
    """
    down, up = unbounded_directions(objective)
    free = (down & up)[:-1].nonzero()[:, 0]
    data, n_thresholds = objective.data, point.nuisance.shape[1]  # type: ignore[union-attr]
    n_blocks = data.n_samples * data.row_size / BLOCK_ELEMENTS
    too_large = len(free) > MAX_EIGEN_SIDE or n_blocks > 2
    if too_large or not len(free) or _has_minimiser(objective, point):
        return None
    X, targets, _ = data.pick(lambda targets, weight: (weight[:, 0] > 0).nonzero()[:, 0])
    index, rows = targets[:, 0, 0].numpy(), sp.csr_array(X)
    pairs, classes = [], []
    for is_below in (0, 1):
        place = index - is_below
        kept = np.flatnonzero((place >= 0) & (place < n_thresholds))
        entries = -np.ones(len(kept)), (np.arange(len(kept)), place[kept])
        shown = sp.csr_array(entries, shape=(len(kept), n_thresholds))
        pairs.append(sp.hstack([rows[kept], shown], format="csr"))
        classes.append(torch.full((len(kept),), is_below))
    binary, loss = from_arrays(sp.vstack(pairs, format="csr"), torch.cat(classes), None), Binomial()
    zero = torch.zeros(n_thresholds, dtype=torch.float64)
    units = torch.cat([data.center.cpu(), zero]), torch.cat([data.scale.cpu(), zero + 1])
    found = find_direction(
        Objective(
            binary.standardised(*units, loss.encode(binary.targets)), loss, L2(), zero[:1], True
        ),
        columns=torch.cat([free.cpu(), data.n_features + torch.arange(n_thresholds)]),
    )
    if found is None:
        return None
    return torch.cat([found[:, : data.n_features], found[:, -1:]], dim=1).to(data.device)


def _has_minimiser(objective: Objective, point: Point) -> bool:
    """Return True if a Newton step of one model is so short that it proves a minimiser.

    Derivatives of the loss in the distances of rows from their thresholds change their sign only if
    these change by 1 or more, see `proves_minimiser`.
    """
    penalty = objective.penalty
    is_smooth = penalty.smooth or not (penalty.constrains or bool(objective.reg_strength.any()))
    if not is_smooth or objective.shape[2] > MAX_EIGEN_SIDE:
        return False
    hessian = loss_hessian(objective, point)[0, 0, :-1, 0, :-1]
    hessian.diagonal().add_(penalty_diagonal(objective, point.params)[0, 0, :-1])
    scale = hessian.diagonal().clamp(min=1e-300).rsqrt()
    values, vectors = torch.linalg.eigh(hessian * scale * scale[:, None])
    curved = values > SUM_RTOL  # an eigenvalue of less may be a rounding error
    solved = vectors[:, curved].T @ (scale * point.gradient[0, 0, :-1]) / values[curved]
    step = torch.zeros_like(point.params)
    step[0, 0, :-1] = -scale * (vectors[:, curved] @ solved)
    flat = point.params.new_zeros(int((~curved).sum()), 1, objective.shape[2])
    flat[:, 0, :-1] = (scale[:, None] * vectors[:, ~curved]).T * hessian.diagonal().amax().sqrt()
    loss: Any = objective.at(point).loss

    def kernel(block: Block, logits: Tensor, change: Tensor) -> tuple[Tensor, ...]:
        mixed = loss.mixed(logits, block.targets) * change * block.weight[..., None]
        return mixed.sum(dim=0), loss.nuisance_sums(logits, block.targets, block.weight)

    def hidden(block: Block) -> tuple[Tensor, ...]:
        moved = block.matmul(flat).abs().amax(dim=1) > CONSTANT_LOGIT
        return ((moved & (block.weight > 0)).sum(),)

    if len(flat) and int(objective.data.reduce(hidden)[0]):
        return False
    change = objective.logits(step)
    mixed, sums = objective.data.reduce(kernel, point.logits, change, reads=0)
    root = nuisance_root(loss.nuisance_derivatives(sums)[1])
    moved = -(root.mT @ (root @ mixed[..., None]))[0, :, 0]
    slope = 1 / torch.expm1(loss.nuisance[0, 1:])
    longest = change[0:].abs().max() + moved.cumsum(dim=0).abs().max()
    of_intervals = (moved[1:].abs() * (1 + slope)).sum()
    return bool(longest + of_intervals < 1 - MIN_SHARE)
