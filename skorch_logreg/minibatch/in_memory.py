"""Mini-batches of rows in memory, and training on them with checkpoints."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from skorch_logreg.checkpoint import CheckpointWriter, digest, stable_repr
from skorch_logreg.data import InMemory
from skorch_logreg.data.tensors import BLOCK_ELEMENTS, CACHED_ENTRIES, SAMPLE_ROWS, as_tensor
from skorch_logreg.data.threads import several_threads
from skorch_logreg.minibatch.loop import mix_seed, train
from skorch_logreg.minibatch.request import Batch, TrainingRequest, TrainingResult
from skorch_logreg.solvers.minibatch import MiniBatch
from skorch_logreg.solvers.state_io import settings

# arrays as large as the weights: current weights, best weights, and the optimiser's state
_MAX_WEIGHT_COPIES = 16
_JSON_BYTES = 1 << 20  # bytes of JSON of the settings, of 64 arrays, or of 4096 epochs


@dataclass(frozen=True)
class InMemoryBatches:
    """Mini-batches of arrays in memory: rows, and their targets and weights as in `Batch`.

    The order of the rows is drawn from the seed and the number of the epoch, so that resumed
    training sees the same batches as uninterrupted training. A ``batch_size`` of None takes all
    rows, without a copy.
    """

    X: Any
    targets: Tensor
    weight: Tensor | None
    batch_size: int | None
    shuffle: bool
    seed: int

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of an epoch; views if `shuffle` is False."""
        n = int(self.X.shape[0])
        size = self.batch_size or n
        if size >= n:
            yield Batch(self.X, self.targets, self.weight)
            return
        parts: Any = (slice(start, start + size) for start in range(0, n, size))
        is_dense = isinstance(self.X, Tensor)
        if self.shuffle:
            generator = torch.Generator("cpu").manual_seed(mix_seed(self.seed, number))
            order = torch.randperm(n, generator=generator, device="cpu")
            parts = (order.to(self.targets.device) if is_dense else order).split(size)
        for rows in parts:
            inputs = self.X[rows if is_dense or isinstance(rows, slice) else rows.numpy()]
            weight = None if self.weight is None else self.weight[rows]
            yield Batch(inputs, self.targets[rows], weight)


def train_in_memory(
    request: TrainingRequest, data: InMemory, total_weight: Tensor | None = None
) -> TrainingResult:
    """Train a network on rows with any number of axes, which are not standardised.

    ``total_weight`` (1,) or (m,) scales the penalty, if the data is part of a larger set; None: it
    is the weight of the data.
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
        data.X,
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
        return n_rows * n_numbers >= CACHED_ENTRIES
    n_parameters = sum(parameter.numel() for parameter in network.parameters())
    return n_rows * n_parameters >= BLOCK_ELEMENTS


def _open_checkpoint(request: TrainingRequest, data: InMemory) -> CheckpointWriter:
    """Open the checkpoint of a training that starts at the network's current weights."""
    network, solver = request.network, request.solver
    if solver.checkpoint is None:
        return CheckpointWriter(None, {})
    sampled: Any = data.X[:: max(data.n_samples // SAMPLE_ROWS, 1)]
    stored = [sampled]
    if data.is_sparse:
        stored = [as_tensor(part) for part in (sampled.data, sampled.indices, sampled.indptr)]
    fingerprint = {
        **settings(solver, request.loss, request.penalty, request.reg_strength),
        "random_state": request.seed,
        "network": stable_repr(network),
        "shape of X": list(data.X.shape),
        "sample_weight": digest(data.weight),
        "y": digest(data.targets),
        "X": digest(*stored),
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
    copies = _MAX_WEIGHT_COPIES + 2 * max(numbers, default=0)
    n_bytes = copies * sum(8 * v.numel() + (_JSON_BYTES >> 6) for v in weights)
    return n_bytes + _JSON_BYTES + (_JSON_BYTES >> 12) * solver.epochs
