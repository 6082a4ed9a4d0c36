"""Checkpoints of training in mini-batches."""

from typing import Any

import torch
from torch import Tensor, nn

from skorch_logreg.checkpoint import CheckpointWriter, digest, stable_repr
from skorch_logreg.data import InMemory
from skorch_logreg.data.tensors import as_tensor
from skorch_logreg.losses import Loss
from skorch_logreg.penalties import Penalty
from skorch_logreg.solvers.minibatch import MiniBatch
from skorch_logreg.solvers.state_io import settings

_MIN_HASHED_ROWS = 1000  # rows of X that are hashed, at least, if there are so many
# arrays as large as the weights: current weights, best weights, and the optimiser's state
_MAX_WEIGHT_COPIES = 16
_JSON_BYTES = 1 << 20  # bytes of JSON that do not depend on the size of the problem
_HISTORY_BYTES_PER_EPOCH = 1 << 8  # bytes of an epoch's history


def open_checkpoint(
    network: nn.Module,
    data: InMemory,
    loss: Loss,
    penalty: Penalty,
    reg_strength: Tensor,
    *,
    solver: MiniBatch,
    seed: int,
) -> CheckpointWriter:
    """Open the checkpoint of a training that starts at the network's current weights."""
    if solver.checkpoint is None:
        return CheckpointWriter(None, {})
    fingerprint = {
        **settings(solver, loss, penalty, reg_strength),
        "random_state": seed,
        "network": stable_repr(network),
        "shape of X": list(data.X.shape),
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
    n_bytes = sum(8 * v.numel() + _JSON_BYTES // 64 for v in weights)
    return (
        n_bytes * (_MAX_WEIGHT_COPIES + 2 * max(numbers, default=0))
        + _JSON_BYTES
        + _HISTORY_BYTES_PER_EPOCH * solver.epochs
    )


def _sampled_rows(data: InMemory) -> list[Tensor]:
    """Return evenly spaced rows; of sparse ones, the arrays that store them."""
    X: Any = data.X[:: max(data.n_samples // _MIN_HASHED_ROWS, 1)]
    return [as_tensor(part) for part in (X.data, X.indices, X.indptr)] if data.is_sparse else [X]
