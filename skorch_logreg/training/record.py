"""What a training on mini-batches is of, for its checkpoint."""

from typing import Any

from torch import Tensor, nn

from skorch_logreg.checkpoint import Journal, digest, named
from skorch_logreg.data import InMemory
from skorch_logreg.data.tensors import as_tensor
from skorch_logreg.losses import Loss
from skorch_logreg.penalties import Penalty
from skorch_logreg.solvers.minibatch import MiniBatch
from skorch_logreg.solvers.record import settings

_ROWS = 1000  # that stand for all, at least, where there are so many


def journal_of(
    network: nn.Module,
    data: InMemory,
    loss: Loss,
    penalty: Penalty,
    strength: Tensor,
    solver: MiniBatch,
    seed: int,
) -> Journal:
    """Open the checkpoint of a training that starts at the network's present weights."""
    if solver.checkpoint is None:
        return Journal(None, {})
    fingerprint = {
        **settings(solver, loss, penalty, strength),
        "random_state": seed,
        "network": named(network),
        "shape of X": list(data.X.shape),
        "sample_weight": digest(data.weight),
        "y": digest(data.targets),
        "X": digest(*_some_rows(data)),
        "start": digest(*(v for v in network.state_dict().values() if isinstance(v, Tensor))),
    }
    return Journal(solver.checkpoint, fingerprint)


def _some_rows(data: InMemory) -> list[Tensor]:
    """Evenly spaced rows; of sparse ones, what is stored."""
    X: Any = data.X[:: max(data.n_samples // _ROWS, 1)]
    return [as_tensor(part) for part in (X.data, X.indices, X.indptr)] if data.is_sparse else [X]
