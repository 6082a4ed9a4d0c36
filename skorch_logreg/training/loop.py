"""The loop over epochs and mini-batches."""

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

from skorch_logreg.checkpoint import Journal
from skorch_logreg.exceptions import DivergenceError
from skorch_logreg.solvers import Status
from skorch_logreg.solvers.minibatch import MiniBatch
from skorch_logreg.training.batches import Batch, Batches, mixed
from skorch_logreg.training.objective import BatchObjective


@dataclass(frozen=True)
class Epoch:
    """What a callback sees after an epoch.

    Attributes
    ----------
    n_epochs : int
        Epochs so far.
    loss : Tensor of shape (m,)
        Mean over the epoch's batches, each before its step, of the objective per unit of weight.
    seconds : float
        Since the first epoch.
    """

    n_epochs: int
    loss: Tensor
    seconds: float


@dataclass(frozen=True)
class Trained:
    """How training ended; the network holds the weights.

    Attributes
    ----------
    n_epochs : int
    status : Status
        EPOCHS after all of them, EARLY where the scores got no better, STOPPED or INTERRUPTED.
    history : dict of str to list
        "loss", "learning_rate" and "seconds" of every epoch; "valid_score" where there are
        rows held out.
    state : dict
        Of the optimiser and its schedule, with which training can go on.
    """

    n_epochs: int
    status: Status
    history: dict[str, list[float]]
    state: dict[str, Any]

    @property
    def is_complete(self) -> bool:
        """Whether it went on for as long as the solver said."""
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
    callback: Callable[[Epoch], bool] | None = None,
    journal: Journal | None = None,
    state: dict[str, Any] | None = None,
    epochs: int | None = None,
    seed: int | None = None,
) -> Trained:
    """Train a network in place.

    Parameters
    ----------
    network : nn.Module
        From inputs to logits (rows, m K); its parameters that require a gradient are trained.
    head : nn.Linear
        Its last layer, whose weights carry the penalty.
    batches : Batches
    objective : BatchObjective
    solver : MiniBatch
    forward : callable or None
        What gives the logits of a batch's inputs; None: the network.
    held_out_score : callable or None
        Score of the network on rows held out: the largest is best.
    callback : callable or None
        Called after every epoch; true stops.
    journal : Journal or None
        Where the state is written, and from where it goes on; its file is the caller's to
        remove.
    state : dict or None
        Of an earlier training that goes on.
    epochs : int or None
        At which to end, earlier ones included; None: the solver's.
    seed : int or None
        With which torch's own generator is set before every epoch, for layers and loaders that
        draw from it; the caller keeps the generator's state. None: it is left alone.

    Returns
    -------
    trained : Trained

    Raises
    ------
    DivergenceError
        If the loss is no longer finite.
    """
    journal = Journal(None, {}) if journal is None else journal
    run = _Run.start(network, solver)
    if state is not None:
        run.restore(state)
    epochs = solver.epochs if epochs is None else epochs
    written = journal.resume()
    if written is not None:
        try:
            run.restore(written)
            run.check(epochs)
        except Exception as error:
            raise journal.damaged() from error
    forward = network if forward is None else forward
    begun = time.perf_counter() - (run.history["seconds"] or [0.0])[-1]
    try:
        network.train()
        while run.n_epochs < epochs and not run.is_tired(solver.patience):
            if seed is not None:
                reseed(mixed(seed, run.n_epochs), head.weight.device)
            rate = float(run.optimizer.param_groups[0]["lr"])
            try:
                loss = _epoch(network, head, batches, objective, solver.clip, forward, run)
            except Exception as error:
                # the same epoch went well before the file was written
                if written is not None:
                    raise journal.damaged() from error
                raise
            written = None
            total = sum(loss.tolist())
            seconds = time.perf_counter() - begun
            score = None
            if held_out_score is not None:
                network.eval()
                with torch.no_grad():
                    score = held_out_score()
                network.train()
            run.enter(total, rate, seconds, score)
            if not math.isfinite(total):
                raise DivergenceError(
                    f"{type(solver).__name__} diverged: the loss is {total} in epoch "
                    f"{run.n_epochs}. Lower the learning rate, scale the columns of X (for "
                    "example with StandardScaler), or set clip."
                )
            if journal.due(run.n_epochs):
                journal.write(run.n_epochs, run.tree())
            if callback is not None and callback(Epoch(run.n_epochs, loss, seconds)):
                status = Status.STOPPED
                break
        else:
            status = Status.EARLY if run.is_tired(solver.patience) else Status.EPOCHS
    except KeyboardInterrupt:
        if solver.on_interrupt != "keep":
            raise
        status = Status.INTERRUPTED
    network.eval()
    if run.best is not None:
        network.load_state_dict(run.best)
    trained = Trained(run.n_epochs, status, run.history, run.state())
    if trained.is_complete and journal.behind(run.n_epochs):
        journal.write(run.n_epochs, run.tree())  # what comes next may be cut as well
    return trained


def reseed(seed: int, device: torch.device) -> None:
    """Set torch's own generators, of the CPU and of a device; no other is woken."""
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
    forward: Callable[[Any], Tensor],
    run: "_Run",
) -> Tensor:
    """Go through all rows once; mean loss (m,) of the batches."""
    alone = objective.n_models if network is head else 1
    losses: list[Tensor] = []
    for batch in batches.epoch(run.n_epochs):

        def closure(batch: Batch = batch) -> Any:
            run.optimizer.zero_grad()
            loss = objective.loss(forward(batch.inputs), batch)
            pull = objective.pull(head.weight)
            if pull is not None:
                loss = loss + pull
            total = loss.sum() if len(loss) > 1 else loss
            total.backward()
            if clip is not None:
                _clip(network, clip, alone)
            losses.append(loss.detach())
            return total.detach()

        before = len(losses)
        with torch.enable_grad():
            run.optimizer.step(closure)
        del losses[before + 1 :]  # some optimisers look more than once
    if run.scheduler is not None:
        if isinstance(run.scheduler, ReduceLROnPlateau):
            run.scheduler.step(float(torch.stack(losses).mean(dim=0).sum()))
        else:
            run.scheduler.step()
    every = torch.stack(losses) if len(losses) > 1 else losses[0][None]
    return every.to(torch.float64).mean(dim=0)


def _clip(network: nn.Module, clip: float, n_models: int) -> None:
    """Scale gradients down to a norm: of the network, or of each of many linear models."""
    if n_models == 1:
        clip_grad_norm_(network.parameters(), clip)
        return
    gradients = [p.grad.view(n_models, -1) for p in network.parameters() if p.grad is not None]
    norm = torch.cat(gradients, dim=1).norm(dim=1, keepdim=True)
    scale = (clip / (norm + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scale)


@dataclass
class _Run:
    """How far training has come: all that a checkpoint holds."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: Any
    n_epochs: int = 0
    history: dict[str, list[float]] = field(default_factory=dict)
    best: dict[str, Tensor] | None = None
    best_epoch: int = 0

    @classmethod
    def start(cls, network: nn.Module, solver: MiniBatch) -> "_Run":
        optimizer = solver.optimizer([p for p in network.parameters() if p.requires_grad])
        run = cls(network, optimizer, solver.scheduler(optimizer))
        run.history = {"loss": [], "learning_rate": [], "seconds": []}
        return run

    def enter(self, loss: float, rate: float, seconds: float, score: float | None) -> None:
        """Enter an epoch into the history; keep the weights if none was better."""
        self.n_epochs += 1
        self.history["loss"].append(loss)
        self.history["learning_rate"].append(rate)
        self.history["seconds"].append(seconds)
        if score is None:
            return
        scores = self.history.setdefault("valid_score", [])
        scores.append(score)
        best = scores[self.best_epoch]
        if self.best is None or score > best or math.isnan(best):
            self.best_epoch = len(scores) - 1
            self.best = {k: v.clone() for k, v in self.network.state_dict().items()}

    def is_tired(self, patience: int | None) -> bool:
        """Whether no score was better for that many epochs."""
        scores = self.history.get("valid_score", [])
        return bool(scores and patience and len(scores) - 1 - self.best_epoch >= patience)

    def state(self) -> dict[str, Any]:
        """State without the network's weights, that shares no memory with this run."""
        optimizer: Any = self.optimizer
        state = {
            "n_epochs": self.n_epochs,
            "optimizer": optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "history": self.history,
        }
        return copy.deepcopy(state)

    def tree(self) -> dict[str, Any]:
        """State for a checkpoint."""
        network = dict(self.network.state_dict())
        best = {"best": self.best, "best_epoch": self.best_epoch}
        return {"network": network, **self.state(), **best}

    def restore(self, tree: dict[str, Any]) -> None:
        """Go on from an earlier training, or from where a checkpoint was written."""
        # a copy: the optimiser would write into what a caller may fall back on
        self.optimizer.load_state_dict(copy.deepcopy(tree["optimizer"]))
        if self.scheduler is not None and tree["scheduler"] is not None:
            self.scheduler.load_state_dict(tree["scheduler"])
        self.n_epochs = tree["n_epochs"]
        self.history = {name: list(values) for name, values in tree["history"].items()}
        if "network" in tree:
            self.network.load_state_dict(tree["network"])
            self.best, self.best_epoch = tree["best"], tree["best_epoch"]

    def check(self, epochs: int) -> None:
        """Check what a checkpoint said, as far as an epoch would not.

        Raises
        ------
        Exception
            Of any kind, if it is of no number of epochs, or a weight is not finite.
        """
        lengths = {len(values) for name, values in self.history.items() if name != "valid_score"}
        sound = type(self.n_epochs) is int and 0 <= self.n_epochs <= epochs
        if not sound or lengths != {self.n_epochs}:
            raise ValueError(f"a history of {lengths} epochs, not {self.n_epochs}")
        scores, known = self.history.get("valid_score", []), self.network.state_dict()
        numbers = [*(x for values in self.history.values() for x in values)]
        numbers += [group["lr"] for group in self.optimizer.param_groups]
        if not all(isinstance(x, float | int | Tensor) for x in numbers):
            raise ValueError("a history holds numbers")
        best = known if self.best is None else self.best
        shapes, expected = ({k: v.shape for k, v in w.items()} for w in (best, known))
        if (self.best is None) is bool(scores) or shapes != expected:
            raise ValueError("the best weights are of another network")
        if type(self.best_epoch) is not int or not 0 <= self.best_epoch < max(len(scores), 1):
            raise ValueError(f"the best of {len(scores)} epochs is not {self.best_epoch}")
        weights = [w for w in [*known.values(), *best.values()] if isinstance(w, Tensor)]
        if not all(bool(w.isfinite().all()) for w in weights):
            raise ValueError("a weight is not finite")
