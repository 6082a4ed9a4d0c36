"""Loop over epochs and mini-batches."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import ReduceLROnPlateau

from skorch_logreg.checkpoint import CheckpointWriter
from skorch_logreg.exceptions import DivergenceError
from skorch_logreg.solvers import Status
from skorch_logreg.solvers.minibatch import MiniBatch
from skorch_logreg.training.batches import Batch, Batches, mix_seed
from skorch_logreg.training.objective import BatchObjective


@dataclass(frozen=True)
class EpochProgress:
    """Progress that is passed to a callback after every epoch.

    Attributes
    ----------
    n_epochs : int
        Number of epochs so far.
    loss : Tensor of shape (m,)
        Objective per unit of weight, averaged over the epoch's batches, each before its step.
    seconds : float
        Time since the start of the first epoch.
    """

    n_epochs: int
    loss: Tensor
    seconds: float


@dataclass(frozen=True)
class TrainingResult:
    """Result of training; the weights are left in the network.

    Attributes
    ----------
    n_epochs : int
        Number of epochs, including those before a resumption.
    status : Status
        EPOCHS after all epochs, EARLY after `patience` epochs without a better score, STOPPED by
        the callback, or INTERRUPTED.
    history : dict of str to list
        "loss", "learning_rate" and "seconds" of every epoch; "valid_score" if rows are held out.
    state : dict
        State of the optimiser and its schedule, from which training can be resumed.
    """

    n_epochs: int
    status: Status
    history: dict[str, list[float]]
    state: dict[str, Any]

    @property
    def is_complete(self) -> bool:
        """True if training ran for as many epochs as the solver allows."""
        return self.status in (Status.EPOCHS, Status.EARLY)


def train(
    network: nn.Module,
    head: nn.Linear,
    batches: Batches,
    objective: BatchObjective,
    solver: MiniBatch,
    *,
    forward: Callable[[Any], Tensor] | None = None,
    held_out_score: Callable[[], float] | None = None,
    callback: Callable[[EpochProgress], bool] | None = None,
    checkpoint_writer: CheckpointWriter | None = None,
    state: dict[str, Any] | None = None,
    epochs: int | None = None,
    seed: int | None = None,
) -> TrainingResult:
    """Train a network in place.

    Parameters
    ----------
    network : nn.Module
        Network from inputs to logits (rows, m K); parameters that require a gradient are trained.
    head : nn.Linear
        Last layer of the network, whose weights are penalised.
    batches : Batches
        Mini-batches of the training rows.
    objective : BatchObjective
        Objective over a mini-batch.
    solver : MiniBatch
        Settings of the optimiser and its schedule.
    forward : callable or None
        Function from a batch's inputs to its logits; None: the network.
    held_out_score : callable or None
        Function that returns the network's score on held-out rows; larger is better.
    callback : callable or None
        Called with an `EpochProgress` after every epoch; training stops if it returns True.
    checkpoint_writer : CheckpointWriter or None
        Checkpoint to resume from and to write to. The caller removes its file.
    state : dict or None
        `TrainingResult.state` of an earlier call, to resume its optimiser.
    epochs : int or None
        Total number of epochs, earlier ones included; None: the solver's.
    seed : int or None
        Seed of torch's global generators, combined with the number of each epoch, for layers and
        loaders that draw from them; the caller saves and restores the generators. None: they are
        not seeded.

    Returns
    -------
    trained : TrainingResult
        Status, history and optimiser state.

    Raises
    ------
    DivergenceError
        If the loss is not finite.
    """
    checkpoint_writer = (
        CheckpointWriter(None, {}) if checkpoint_writer is None else checkpoint_writer
    )
    run = _TrainingState.start(network, solver)
    if state is not None:
        run.restore(state)
    epochs = solver.epochs if epochs is None else epochs
    saved_state = checkpoint_writer.resume()
    if saved_state is not None:
        try:
            run.restore(saved_state)
            run.check(epochs)
        except Exception as error:
            raise checkpoint_writer.damaged() from error
    forward = network if forward is None else forward
    start_time = time.perf_counter() - (run.history["seconds"] or [0.0])[-1]
    try:
        network.train()
        while run.n_epochs < epochs and not run.has_stalled(solver.patience):
            if seed is not None:
                reseed(mix_seed(seed, run.n_epochs), head.weight.device)
            learning_rate = float(run.optimizer.param_groups[0]["lr"])
            try:
                loss = _epoch(
                    network, head, batches, objective, solver.clip, forward=forward, run=run
                )
            except Exception as error:
                # this epoch ran without an error before the checkpoint was written
                if saved_state is not None:
                    raise checkpoint_writer.damaged() from error
                raise
            saved_state = None
            total = sum(loss.tolist())
            seconds = time.perf_counter() - start_time
            score = None
            if held_out_score is not None:
                network.eval()
                with torch.no_grad():
                    score = held_out_score()
                network.train()
            run.record_epoch(total, learning_rate, seconds, score)
            if not math.isfinite(total):
                raise DivergenceError(
                    f"{type(solver).__name__} diverged: the loss is {total} in epoch "
                    f"{run.n_epochs}. Lower the learning rate, scale the columns of X (for "
                    "example with StandardScaler), or set clip."
                )
            if checkpoint_writer.due(run.n_epochs):
                checkpoint_writer.write(run.n_epochs, run.checkpoint_state())
            if callback is not None and callback(EpochProgress(run.n_epochs, loss, seconds)):
                status = Status.STOPPED
                break
        else:
            status = Status.EARLY if run.has_stalled(solver.patience) else Status.EPOCHS
    except KeyboardInterrupt:
        if solver.on_interrupt != "keep":
            raise
        status = Status.INTERRUPTED
    network.eval()
    if run.best is not None:
        network.load_state_dict(run.best)
    trained = TrainingResult(run.n_epochs, status, run.history, run.state())
    if trained.is_complete and checkpoint_writer.is_outdated(run.n_epochs):
        # an interruption of the steps after training must not lose the last epochs
        checkpoint_writer.write(run.n_epochs, run.checkpoint_state())
    return trained


def reseed(seed: int, device: torch.device) -> None:
    """Seed torch's global generators of the CPU and of a device; no other device is initialised."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def _epoch(
    network: nn.Module,
    head: nn.Linear,
    batches: Batches,
    objective: BatchObjective,
    clip: float | None,
    *,
    forward: Callable[[Any], Tensor],
    run: "_TrainingState",
) -> Tensor:
    """Train for one epoch and return the mean loss (m,) of its batches."""
    n_separate = objective.n_models if network is head else 1
    losses: list[Tensor] = []
    for batch in batches.epoch(run.n_epochs):

        def closure(batch: Batch = batch) -> Any:
            run.optimizer.zero_grad()
            loss = objective.loss(forward(batch.inputs), batch)
            penalty_value = objective.penalty_value(head.weight)
            if penalty_value is not None:
                loss = loss + penalty_value
            total = loss.sum() if len(loss) > 1 else loss
            total.backward()
            if clip is not None:
                _clip(network, clip, n_separate)
            losses.append(loss.detach())
            return total.detach()

        n_before = len(losses)
        with torch.enable_grad():
            run.optimizer.step(closure)
        del losses[n_before + 1 :]  # keep the loss before the step: L-BFGS evaluates several times
    if run.scheduler is not None:
        if isinstance(run.scheduler, ReduceLROnPlateau):
            run.scheduler.step(float(torch.stack(losses).mean(dim=0).sum()))
        else:
            run.scheduler.step()
    stacked = torch.stack(losses) if len(losses) > 1 else losses[0][None]
    return stacked.to(torch.float64).mean(dim=0)


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


@dataclass
class _TrainingState:
    """Mutable state of training, as saved in a checkpoint."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: Any
    n_epochs: int = 0
    history: dict[str, list[float]] = field(default_factory=dict)
    best: dict[str, Tensor] | None = None
    best_epoch: int = 0

    @classmethod
    def start(cls, network: nn.Module, solver: MiniBatch) -> "_TrainingState":
        optimizer = solver.optimizer([p for p in network.parameters() if p.requires_grad])
        run = cls(network, optimizer, solver.scheduler(optimizer))
        run.history = {"loss": [], "learning_rate": [], "seconds": []}
        return run

    def record_epoch(
        self, loss: float, learning_rate: float, seconds: float, score: float | None
    ) -> None:
        """Append an epoch to the history; save the weights if its score is the best so far."""
        self.n_epochs += 1
        self.history["loss"].append(loss)
        self.history["learning_rate"].append(learning_rate)
        self.history["seconds"].append(seconds)
        if score is None:
            return
        scores = self.history.setdefault("valid_score", [])
        scores.append(score)
        best = scores[self.best_epoch]
        if self.best is None or score > best or math.isnan(best):
            self.best_epoch = len(scores) - 1
            self.best = {k: v.clone() for k, v in self.network.state_dict().items()}

    def has_stalled(self, patience: int | None) -> bool:
        """Return True if the score has not improved for `patience` epochs."""
        scores = self.history.get("valid_score", [])
        return bool(scores and patience and len(scores) - 1 - self.best_epoch >= patience)

    def state(self) -> dict[str, Any]:
        """Return a deep copy of the state without the network's weights."""
        optimizer: Any = self.optimizer
        state = {
            "n_epochs": self.n_epochs,
            "optimizer": optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "history": self.history,
        }
        return copy.deepcopy(state)

    def checkpoint_state(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        network = dict(self.network.state_dict())
        best = {"best": self.best, "best_epoch": self.best_epoch}
        return {"network": network, **self.state(), **best}

    def restore(self, checkpoint_state: dict[str, Any]) -> None:
        """Restore the state of an earlier training or of a checkpoint."""
        # a copy, because the optimiser updates its state in place and the caller may reuse it
        self.optimizer.load_state_dict(copy.deepcopy(checkpoint_state["optimizer"]))
        if self.scheduler is not None and checkpoint_state["scheduler"] is not None:
            self.scheduler.load_state_dict(checkpoint_state["scheduler"])
        self.n_epochs = checkpoint_state["n_epochs"]
        self.history = {name: list(values) for name, values in checkpoint_state["history"].items()}
        if "network" in checkpoint_state:
            self.network.load_state_dict(checkpoint_state["network"])
            self.best, self.best_epoch = checkpoint_state["best"], checkpoint_state["best_epoch"]

    def check(self, epochs: int) -> None:
        """Check what a checkpoint holds, as far as an epoch would not raise by itself.

        Raises
        ------
        Exception
            If the number of epochs is not valid, an entry does not match the network, or a weight
            is not finite.
        """
        lengths = {len(values) for name, values in self.history.items() if name != "valid_score"}
        is_valid = type(self.n_epochs) is int and 0 <= self.n_epochs <= epochs
        if not is_valid or lengths != {self.n_epochs}:
            raise ValueError(f"a history of {lengths} epochs, not {self.n_epochs}")
        scores, current = self.history.get("valid_score", []), self.network.state_dict()
        numbers = [*(x for values in self.history.values() for x in values)]
        numbers += [group["lr"] for group in self.optimizer.param_groups]
        if not all(isinstance(x, float | int | Tensor) for x in numbers):
            raise ValueError("a history holds numbers")
        best = current if self.best is None else self.best
        shapes, expected = ({k: v.shape for k, v in w.items()} for w in (best, current))
        if (self.best is None) is bool(scores) or shapes != expected:
            raise ValueError("the best weights are of another network")
        if type(self.best_epoch) is not int or not 0 <= self.best_epoch < max(len(scores), 1):
            raise ValueError(f"the best of {len(scores)} epochs is not {self.best_epoch}")
        weights = [w for w in [*current.values(), *best.values()] if isinstance(w, Tensor)]
        if not all(bool(w.isfinite().all()) for w in weights):
            raise ValueError("a weight is not finite")
