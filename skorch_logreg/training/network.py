"""Networks of a backbone and a linear head, trained in mini-batches."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from skorch_logreg.data import InMemory
from skorch_logreg.data.threads import several_threads
from skorch_logreg.losses import Loss
from skorch_logreg.penalties import Penalty
from skorch_logreg.solvers.minibatch import MiniBatch
from skorch_logreg.training.linear import prepare_batches
from skorch_logreg.training.loop import EpochProgress, TrainingResult, train
from skorch_logreg.training.state_io import open_checkpoint

# multiplications per batch (rows x parameters) from which on a second thread saves time
_MIN_THREADED_PRODUCTS = 1 << 22


def train_network(
    network: nn.Module,
    head: nn.Linear,
    data: InMemory,
    loss: Loss,
    penalty: Penalty,
    *,
    reg_strength: Tensor,
    solver: MiniBatch,
    forward: Callable[[Any], Tensor],
    seed: int = 0,
    held_out_score: Callable[[], float] | None = None,
    callback: Callable[[EpochProgress], bool] | None = None,
    state: dict[str, Any] | None = None,
    epochs: int | None = None,
    total_weight: Tensor | None = None,
) -> TrainingResult:
    """Train a network in place.

    Parameters
    ----------
    network : nn.Module
        Network from inputs to logits (rows, m K).
    head : nn.Linear
        Last layer, or the network itself; its weights are penalised.
    data : InMemory
        Rows with any number of axes, targets and weights; not standardised.
    loss : Loss
        Loss of one row.
    penalty : Penalty
        Penalty on the weights of the head.
    reg_strength : Tensor of shape (m,)
        Regularisation strength ``1 / C`` of each model; the sum of the m objectives is minimised.
    solver : MiniBatch
        Settings of the optimiser and its schedule.
    forward : callable
        Function from rows of a batch, which may be sparse or views of the caller's, to logits.
    seed : int
        Seed of the order of the rows, and of layers that draw from torch's global generator. The
        caller saves and restores the generator.
    held_out_score, callback, state, epochs
        As in `train`.
    total_weight : Tensor of shape (1,) or (m,), or None
        Total weight that scales the penalty, if the data is part of a larger set; None: the total
        weight of the data.

    Returns
    -------
    trained : TrainingResult
        Status, history and optimiser state.
    """
    dtype = head.weight.dtype
    batches, objective = prepare_batches(
        data,
        loss,
        penalty,
        reg_strength,
        solver,
        seed=seed,
        dtype=dtype,
        total_weight=total_weight,
        shared_scale=True,
    )
    n_rows = min(solver.batch_size or data.n_samples, data.n_samples)
    n_parameters = sum(parameter.numel() for parameter in network.parameters())
    with several_threads(n_rows * n_parameters >= _MIN_THREADED_PRODUCTS):
        return train(
            network,
            head,
            batches,
            objective,
            solver,
            forward=forward,
            held_out_score=held_out_score,
            callback=callback,
            checkpoint_writer=open_checkpoint(
                network, data, loss, penalty, reg_strength, solver=solver, seed=seed
            ),
            state=state,
            epochs=epochs,
            seed=~seed,  # a stream of random numbers other than that of the order of the rows
        )
