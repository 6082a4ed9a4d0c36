"""Initial parameters of many classes, from stochastic gradients on batches of rows."""

from collections.abc import Iterator

import torch
from torch import Tensor

from skorch_logreg.curvature.shared import joint_basis
from skorch_logreg.data.dense import DenseBlock, DenseRows
from skorch_logreg.data.threads import several_threads
from skorch_logreg.objective import Objective, on_sample
from skorch_logreg.solvers.choose import ROWS_PER_COEF

# benchmarks.curves embeddings took half of the time with 300 such steps and up to a third more than
# that with 600 or twice the rate; with 200, clusters and embeddings take 5 to 15 % less
_BATCH_ROWS = 256
_MAX_STEPS, _MAX_EPOCHS = 200, 4
_RATE = 0.3  # norm of the first step of a class, in the coordinates of `_adam`
_BETAS = 0.9, 0.999  # decay rates of the means of gradients and of their squares
# benchmarks.curves relu, with 7, gains nothing; as many of the last are compared with the start
_MIN_BATCHES = 10
# mean share of the loss in the curvature, below which the penalty decides (benchmarks.curves
# embeddings with C = 1e-4: no pass is saved)
_MIN_SHARE = 0.03


def start_on_batches(objective: Objective, start: Tensor) -> Tensor:
    """Take steps on random batches of rows with Adam, in coordinates of similar curvature.

    Far from the minimum, where most rows are misclassified, Hessians change so fast that cheap
    steps decrease the objective more than accurate ones.  Returns parameters (m, K, p + 1): the
    ``start`` of models whose objective did not decrease, or if the rows are few or not dense.

    References
    ----------
    Kingma, Ba (2015). Adam: a method for stochastic optimization, algorithm 1.
    """
    data, n_columns = objective.data, objective.data.n_features
    too_few = data.n_samples < _MIN_BATCHES * _BATCH_ROWS
    if too_few or objective.offset is not None or not isinstance(data, DenseRows):
        return start
    total = data.weight.sum(dim=0)[:, None, None]
    _, _, basis, share = joint_basis(on_sample(objective, ROWS_PER_COEF * n_columns))
    # curvature of a class by its loss is at most about 1 / K of that of the rows
    strength = objective.loss.n_outputs * objective.reg_strength[:, None, None] / total
    curvature = 1 - share + strength * share
    if bool(((1 - share) / curvature).mean() < _MIN_SHARE):
        return start
    scale = curvature.clamp(min=torch.finfo(torch.float32).eps).rsqrt()
    with several_threads():
        return _adam(objective.low_precision(), start, basis.float(), scale.float())


def _adam(objective: Objective, start: Tensor, basis: Tensor, scale: Tensor) -> Tensor:
    """Minimise over coordinates ``u`` with coefficients ``(scale * u) basis'``.

    `torch.optim.Adam` takes the same steps, but two seconds for its imports.
    """
    data, params, values = objective.data, start.clone(), []
    assert isinstance(data, DenseRows)
    total = data.weight.sum(dim=0)
    # the intercepts are coordinates of their own
    basis = torch.block_diag(basis, basis.new_ones(1, 1))
    scale = torch.cat([scale, torch.ones_like(scale[..., :1])], dim=-1)
    gradient_scale = scale / total[:, None, None].float()
    mean, square = params.new_zeros(2, *params.shape, dtype=torch.float32)
    X = basis.new_empty(_BATCH_ROWS, data.n_features)
    batches = [*_batches(data)]
    for i, rows in enumerate(batches):
        data.fill(rows, X)
        weight = data.weight[rows]
        weight = weight * (total / weight.sum(dim=0)).nan_to_num(1.0, 1.0)
        point = objective.evaluate_block(params, DenseBlock(X, None, data.targets[rows], weight))
        values.append(point.value)
        gradient = (point.gradient.float() @ basis).mul_(gradient_scale)
        mean.lerp_(gradient, 1 - _BETAS[0])
        square.lerp_(gradient.square_(), 1 - _BETAS[1])
        root = (square / (1 - _BETAS[1] ** (i + 1))).sqrt_().add_(1e-8)
        rate = _RATE * data.n_features**-0.5 * (1 - i / len(batches))
        step = (mean / root).mul_(scale * (rate / (1 - _BETAS[0] ** (i + 1))))
        params -= step @ basis.T
    decreased = torch.stack(values[-_MIN_BATCHES:]).mean(dim=0) < values[0]
    # steps of class blocks leave the mean over classes as it is
    params[..., :-1] = objective.penalty.balanced(params[..., :-1], objective.reg_strength)
    return torch.where(decreased[:, None, None], params, start)


def _batches(data: DenseRows) -> Iterator[Tensor]:
    """Yield the rows of every batch, in a new order for every epoch."""
    generator = torch.Generator().manual_seed(0)
    n_rows, left = data.n_samples, _MAX_STEPS
    for _ in range(_MAX_EPOCHS):
        order = torch.randperm(n_rows, generator=generator).to(data.device)
        batches = order.split(_BATCH_ROWS)[: n_rows // _BATCH_ROWS][:left]
        left -= len(batches)
        yield from batches
