"""State of training in mini-batches."""

import copy
import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from skorch_logreg.checkpoint import CheckpointWriter
from skorch_logreg.solvers import Status

_HISTORY = ("loss", "learning_rate", "seconds")  # numbers of every epoch


@dataclass
class TrainingState:
    """Mutable state of training, as saved in a checkpoint."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: Any
    n_epochs: int = 0
    history: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in _HISTORY})
    best: dict[str, Any] | None = None
    best_epoch: int = 0

    def step_scheduler(self, losses: list[Tensor]) -> None:
        """Adapt the learning rate after an epoch with some losses (m,) of its batches."""
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(float(torch.stack(losses).mean(dim=0).sum()))
        elif self.scheduler is not None:
            self.scheduler.step()

    def status(self, epochs: int, patience: int | None) -> Status | None:
        """Return EARLY if the score has not improved for `patience` epochs, EPOCHS at the end."""
        scores = self.history.get("valid_score", [])
        if scores and patience and len(scores) - 1 - self.best_epoch >= patience:
            return Status.EARLY
        return Status.EPOCHS if self.n_epochs >= epochs else None

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
            self.best = copy.deepcopy(dict(self.network.state_dict()))

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
        """Restore the state of a checkpoint, or of an earlier training of the same parameters.

        If that was one of other parameters, the optimiser starts again.
        """
        groups = checkpoint_state["optimizer"]["param_groups"]
        sizes = [len(group["params"]) for group in self.optimizer.param_groups]
        if "network" in checkpoint_state or sizes == [len(group["params"]) for group in groups]:
            self._restore_optimizer(checkpoint_state["optimizer"])
        else:  # schedulers compute a learning rate from the one before
            for own, before in zip(self.optimizer.param_groups, groups, strict=False):
                own["lr"] = copy.deepcopy(before["lr"])
        if self.scheduler is not None and checkpoint_state["scheduler"] is not None:
            self.scheduler.load_state_dict(checkpoint_state["scheduler"])
        self.n_epochs = checkpoint_state["n_epochs"]
        self.history = {name: list(values) for name, values in checkpoint_state["history"].items()}
        if "network" in checkpoint_state:
            self.network.load_state_dict(checkpoint_state["network"])
            self.best, self.best_epoch = checkpoint_state["best"], checkpoint_state["best_epoch"]

    def _restore_optimizer(self, state: dict[str, Any]) -> None:
        # a copy, because the optimiser updates its state in place and the caller may reuse it
        saved = copy.deepcopy(state)
        self.optimizer.load_state_dict(saved)
        # which casts numbers such as a product of NAdam's to the type of their parameter
        params = [p for group in self.optimizer.param_groups for p in group["params"]]
        for number, values in saved["state"].items():
            own = self.optimizer.state[params[number]]
            for name, value in values.items():
                if isinstance(value, Tensor):
                    is_like_param = value.ndim > 0 and value.shape == params[number].shape
                    dtype = params[number].dtype if is_like_param else value.dtype
                    own[name] = value.to(own[name].device, dtype)

    def resume(self, writer: CheckpointWriter, epochs: int) -> bool:
        """Restore the state of a checkpoint, if it has one; return True then."""
        saved = writer.resume()
        if saved is None:
            return False
        try:
            self.restore(saved)
            self.check(epochs)
        except Exception as error:
            raise writer.damaged() from error
        return True

    def check(self, epochs: int) -> None:
        """Raise an error for an invalid value of a checkpoint that an epoch would accept."""
        if set(self.history) - {"valid_score"} != set(_HISTORY):
            raise ValueError(f"a history of {list(self.history)}")
        lengths = {len(self.history[name]) for name in _HISTORY}
        is_valid = type(self.n_epochs) is int and 0 <= self.n_epochs <= epochs
        if not is_valid or lengths != {self.n_epochs}:
            raise ValueError(f"a history of {lengths} epochs, not {self.n_epochs}")
        scores, current = self.history.get("valid_score", []), self.network.state_dict()
        numbers = [*(x for values in self.history.values() for x in values)]
        numbers += [group["lr"] for group in self.optimizer.param_groups]
        if not all(isinstance(x, float | int | Tensor) for x in numbers):
            raise ValueError("a history holds numbers")
        best = current if self.best is None else self.best
        shapes, expected = (
            {k: v.shape if isinstance(v, Tensor) else type(v) for k, v in w.items()}
            for w in (best, current)
        )
        if (self.best is None) is bool(scores) or shapes != expected:
            raise ValueError("the best weights are of another network")
        if type(self.best_epoch) is not int or not 0 <= self.best_epoch < max(len(scores), 1):
            raise ValueError(f"the best of {len(scores)} epochs is not {self.best_epoch}")
        # buffers may hold infinities, as masks do
        names = [name for name, _ in self.network.named_parameters()]
        if not all(bool(w[name].isfinite().all()) for w in (current, best) for name in names):
            raise ValueError("a weight is not finite")
