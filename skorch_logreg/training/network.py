"""A network in the training loop: a backbone under a linear head."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from skorch_logreg.data import InMemory
from skorch_logreg.data.threads import several_threads
from skorch_logreg.losses import Loss
from skorch_logreg.penalties import Penalty
from skorch_logreg.solvers.minibatch import MiniBatch
from skorch_logreg.training.linear import prepared
from skorch_logreg.training.loop import Epoch, Trained, train
from skorch_logreg.training.record import journal_of

_THREADED = 1 << 22  # products of a batch from which on a second thread pays


def train_network(
    network: nn.Module,
    head: nn.Linear,
    data: InMemory,
    loss: Loss,
    penalty: Penalty,
    strength: Tensor,
    solver: MiniBatch,
    *,
    forward: Callable[[Any], Tensor],
    seed: int = 0,
    held_out_score: Callable[[], float] | None = None,
    callback: Callable[[Epoch], bool] | None = None,
    state: dict[str, Any] | None = None,
    epochs: int | None = None,
    total_weight: Tensor | None = None,
) -> Trained:
    """Train one network in place.

    Parameters
    ----------
    network : nn.Module
        From inputs to logits (rows, m K).
    head : nn.Linear
        Its last layer, or itself: the penalty is on its weights.
    data : InMemory
        Rows of any number of axes, as they were given.
    loss : Loss
    penalty : Penalty
    strength : Tensor of shape (m,)
        ``1 / C``; of many models the sum of their objectives is followed.
    solver : MiniBatch
    forward : callable
        From rows of a batch, which may be views of the caller's or sparse, to logits.
    seed : int
        Of the order of the rows, and of layers that draw from torch's generator, whose state
        the caller keeps.
    held_out_score, callback, state, epochs
        As in `train`.
    total_weight : Tensor of shape (1,) or (m,), or None
        Weight of all rows that the penalty stands beside; None: that of the data.

    Returns
    -------
    trained : Trained
    """
    dtype = head.weight.dtype
    batches, objective = prepared(
        data, loss, penalty, strength, solver, seed, dtype, total_weight, together=True
    )
    n_rows = min(solver.batch_size or data.n_samples, data.n_samples)
    n_parameters = sum(parameter.numel() for parameter in network.parameters())
    with several_threads(n_rows * n_parameters >= _THREADED):
        return train(
            network,
            head,
            batches,
            objective,
            solver,
            forward=forward,
            held_out_score=held_out_score,
            callback=callback,
            journal=journal_of(network, data, loss, penalty, strength, solver, seed),
            state=state,
            epochs=epochs,
            seed=~seed,  # what layers draw has nothing in common with the order of the rows
        )
