"""Loop over epochs and mini-batches."""

import math
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from skorch_logreg.checkpoint import CheckpointWriter
from skorch_logreg.exceptions import DivergenceError
from skorch_logreg.minibatch.request import Batch, BatchObjective, TrainingRequest, TrainingResult
from skorch_logreg.minibatch.state import TrainingState
from skorch_logreg.solvers import Status


def train(
    request: TrainingRequest,
    epoch: Callable[[int], Iterable[Batch]],
    objective: BatchObjective,
    checkpoint_writer: CheckpointWriter | None = None,
) -> TrainingResult:
    """Train a network on the batches of every epoch, in an order that depends only on its number.

    A checkpoint is resumed from and written to; the caller removes its file. A DivergenceError is
    raised if the loss or a weight is not finite.
    """
    network, solver = request.network, request.solver
    writer = CheckpointWriter(None, {}) if checkpoint_writer is None else checkpoint_writer
    epochs = solver.epochs if request.epochs is None else request.epochs
    optimizer = solver.optimizer([p for p in network.parameters() if p.requires_grad])
    run = TrainingState(network, optimizer, solver.scheduler(optimizer))
    if request.state is not None:
        run.restore(request.state)
    is_resumed = run.resume(writer, epochs)
    start_time = time.perf_counter() - (run.history["seconds"] or [0.0])[-1]
    try:
        network.train()
        while (status := run.status(epochs, solver.patience)) is None:
            learning_rate = float(run.optimizer.param_groups[0]["lr"])
            try:
                loss = _train_epoch(request, epoch(run.n_epochs), objective, run)
            except Exception as error:
                # this epoch ran without an error before the checkpoint was written
                if is_resumed:
                    raise writer.damaged() from error
                raise
            is_resumed = False
            seconds, total = time.perf_counter() - start_time, sum(loss.tolist())
            _require_finite(request, run, total)
            run.record_epoch(total, learning_rate, seconds, _held_out_score(request))
            if writer.due(run.n_epochs):
                writer.write(run.n_epochs, run.checkpoint_state())
            if request.callback is not None and request.callback(run.n_epochs, loss):
                status = Status.STOPPED
                break
    except KeyboardInterrupt:
        if solver.on_interrupt != "keep":
            raise
        status = Status.INTERRUPTED
    network.eval()
    if run.best is not None:
        network.load_state_dict(run.best)
    _require_finite(request, run)  # an interrupted epoch was not checked
    trained = TrainingResult(run.n_epochs, status, run.history, run.state())
    if trained.is_complete and writer.is_outdated(run.n_epochs):
        # an interruption of the steps after training must not lose the last epochs
        writer.write(run.n_epochs, run.checkpoint_state())
    return trained


def mix_seed(seed: int, number: int) -> int:
    """Combine two numbers into one seed, so that epochs of neighbouring seeds are uncorrelated."""
    return (seed * 0x9E3779B97F4A7C15 + (number + 1) * 0xBF58476D1CE4E5B9) % (1 << 63)


def reseed(seed: int, device: torch.device) -> None:
    """Seed torch's global generators of the CPU and of a device; no other device is initialised."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def _train_epoch(
    request: TrainingRequest,
    batches: Iterable[Batch],
    objective: BatchObjective,
    run: TrainingState,
) -> Tensor:
    """Train for one epoch and return the mean loss (m,) of its batches."""
    network, head, clip = request.network, request.head, request.solver.clip
    forward = network if request.forward is None else request.forward
    n_separate = objective.n_models if network is head else 1
    if request.layer_seed is not None:
        reseed(mix_seed(request.layer_seed, run.n_epochs), head.weight.device)
    losses: list[Tensor] = []
    for batch in batches:

        def closure(batch: Batch = batch) -> Any:
            run.optimizer.zero_grad()
            loss = objective.loss(forward(batch.inputs), batch)
            penalty_value = objective.penalty_value(head.weight)
            if penalty_value is not None:
                loss = loss + penalty_value
            total = loss.sum() if len(loss) > 1 else loss
            total.backward()
            if clip is not None:
                _clip(network, float(clip), n_separate)
            losses.append(loss.detach())
            return total.detach()

        n_before = len(losses)
        with torch.enable_grad():
            run.optimizer.step(closure)
        del losses[n_before + 1 :]  # keep the loss before the step: L-BFGS evaluates several times
    if not losses:
        raise ValueError("The loader yielded no batch; it must yield its rows in every epoch.")
    run.step_scheduler(losses)
    return torch.stack(losses).to(torch.float64).mean(dim=0)


def _require_finite(request: TrainingRequest, run: TrainingState, loss: float = 0.0) -> None:
    """Raise a DivergenceError if the loss of the present epoch or a weight is not finite."""
    cause = f"the loss is {loss}"
    if math.isfinite(loss):
        if all(bool(weight.isfinite().all()) for weight in request.network.parameters()):
            return
        cause = "weights are not finite"
    raise DivergenceError(
        f"{type(request.solver).__name__} diverged: {cause} in epoch {run.n_epochs + 1}. Lower the "
        "learning rate, scale the columns of X (for example with StandardScaler), or set clip."
    )


def _held_out_score(request: TrainingRequest) -> float | None:
    if request.held_out_score is None:
        return None
    request.network.eval()
    with torch.no_grad():
        score = request.held_out_score()
    request.network.train()
    return score


def _clip(network: nn.Module, clip: float, n_models: int) -> None:
    """Clip the gradient norm: of the whole network, or of each of several linear models."""
    if n_models == 1:
        clip_grad_norm_(network.parameters(), clip)
        return
    gradients = [p.grad.view(n_models, -1) for p in network.parameters() if p.grad is not None]
    norm = torch.cat(gradients, dim=1).norm(dim=1, keepdim=True)
    scale = (clip / (norm + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scale)
