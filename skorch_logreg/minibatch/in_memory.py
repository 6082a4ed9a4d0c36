"""Training on rows in memory, with checkpoints."""

from typing import Any

import torch
from torch import Tensor, nn

from skorch_logreg.checkpoint import CheckpointWriter, digest, stable_repr
from skorch_logreg.data import InMemory
from skorch_logreg.data.tensors import as_tensor
from skorch_logreg.data.threads import several_threads
from skorch_logreg.minibatch.batches import InMemoryBatches
from skorch_logreg.minibatch.loop import train
from skorch_logreg.minibatch.request import TrainingRequest, TrainingResult
from skorch_logreg.solvers.minibatch import MiniBatch
from skorch_logreg.solvers.state_io import settings

# sizes of a batch from which on a second thread saves time: entries of X and logits of a linear
# model, and multiplications (rows x parameters) of another network
_MIN_THREADED_NUMBERS = 1 << 17
_MIN_THREADED_PRODUCTS = 1 << 22
_MIN_HASHED_ROWS = 1000  # rows of X that are hashed, at least, if there are so many
# arrays as large as the weights: current weights, best weights, and the optimiser's state
_MAX_WEIGHT_COPIES = 16
_JSON_BYTES = 1 << 20  # bytes of JSON of the settings, of an array, or of 4096 epochs


def train_in_memory(
    request: TrainingRequest, data: InMemory, total_weight: Tensor | None = None
) -> TrainingResult:
    """Train a network on rows with any number of axes, which are not standardised.

    Parameters
    ----------
    total_weight : Tensor of shape (1,) or (m,), or None
        Total weight that scales the penalty, if the data is part of a larger set; None: the total
        weight of the data.
    """
    solver, dtype, targets = request.solver, request.head.weight.dtype, data.targets
    if request.loss.n_outputs == 1:
        targets = targets.reshape(len(targets), -1)
    if request.loss.n_outputs == 1 or targets.is_floating_point():
        targets = targets.to(dtype)
    weight = data.weight.sum(dim=0)
    if request.shares_scale:
        weight = weight.mean(dim=0, keepdim=True)
        total_weight = None if total_weight is None else total_weight.mean(dim=0, keepdim=True)
    is_weighted = bool((data.weight != 1).any())
    batches = InMemoryBatches(
        data.rows.X,
        targets,
        (data.weight / (weight / data.n_samples)).to(dtype) if is_weighted else None,
        solver.batch_size,
        solver.shuffle,
        request.seed,
    )
    objective = request.objective(weight, 1.0 if total_weight is None else weight / total_weight)
    with several_threads(_is_large(request, data)):
        return train(request, batches.epoch, objective, _open_checkpoint(request, data))


def _is_large(request: TrainingRequest, data: InMemory) -> bool:
    """Return True if a batch is large enough for a second thread."""
    network, n_rows = request.network, data.n_samples
    n_rows = min(request.solver.batch_size or n_rows, n_rows)
    if network is request.head:
        n_numbers = request.head.in_features + request.head.out_features
        return n_rows * n_numbers >= _MIN_THREADED_NUMBERS
    n_parameters = sum(parameter.numel() for parameter in network.parameters())
    return n_rows * n_parameters >= _MIN_THREADED_PRODUCTS


def _open_checkpoint(request: TrainingRequest, data: InMemory) -> CheckpointWriter:
    """Open the checkpoint of a training that starts at the network's current weights."""
    network, solver = request.network, request.solver
    if solver.checkpoint is None:
        return CheckpointWriter(None, {})
    fingerprint = {
        **settings(solver, request.loss, request.penalty, request.reg_strength),
        "random_state": request.seed,
        "network": stable_repr(network),
        "shape of X": list(data.rows.X.shape),
        "sample_weight": digest(data.weight),
        "y": digest(data.targets),
        "X": digest(*_sampled_rows(data)),
        "start": digest(*(v for v in network.state_dict().values() if isinstance(v, Tensor))),
    }
    return CheckpointWriter(solver.checkpoint, fingerprint, _max_checkpoint_bytes(network, solver))


def _max_checkpoint_bytes(network: nn.Module, solver: MiniBatch) -> int:
    """Bound the size of a checkpoint in bytes.

    The optimiser state is bounded by the largest integer among its settings: `torch.optim.LBFGS`
    keeps two arrays for each of its ``history_size`` steps.
    """
    optimizer = solver.optimizer([nn.Parameter(torch.zeros(1))])
    numbers = [n for n in optimizer.defaults.values() if type(n) is int]
    weights = [v for v in network.state_dict().values() if isinstance(v, Tensor)]
    # an optimiser may keep float64 state for weights of any dtype
    n_bytes = 8 * sum(v.numel() for v in weights)
    n_bytes *= _MAX_WEIGHT_COPIES + 2 * max(numbers, default=0)
    return n_bytes + _JSON_BYTES * (1 + len(weights) + -(-solver.epochs // 4096))


def _sampled_rows(data: InMemory) -> list[Tensor]:
    """Return evenly spaced rows; of sparse ones, the arrays that store them."""
    X: Any = data.rows.X[:: max(data.n_samples // _MIN_HASHED_ROWS, 1)]
    if not data.rows.is_sparse:
        return [X]
    return [as_tensor(part) for part in (X.data, X.indices, X.indptr)]
