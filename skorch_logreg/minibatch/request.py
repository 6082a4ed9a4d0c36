"""The request for training in mini-batches, its objective, and its result."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from skorch_logreg.losses import Loss
from skorch_logreg.penalties import Penalty
from skorch_logreg.solvers import Status
from skorch_logreg.solvers.minibatch import MiniBatch


class Batch(NamedTuple):
    """Rows of one mini-batch.

    Attributes
    ----------
    inputs : object
        Rows of X, as the network takes them.
    targets : Tensor of shape (rows, 1), (rows, m) or (rows, m, K)
        Class indices or class probabilities; with one logit a model, floats in the network's dtype.
    weight : Tensor of shape (rows, 1) or (rows, m), or None
        Sample weights, scaled to mean 1 over all rows; None stands for 1 everywhere.
    """

    inputs: Any
    targets: Tensor
    weight: Tensor | None


@dataclass(frozen=True)
class BatchObjective:
    """Objective ``F / sum_i s_i`` of m models, with the loss averaged over a mini-batch.

    It is the mean of ``s_i loss_i``, where the batches carry weights of mean 1, plus
    ``penalty / (C sum_i s_i)``. Over all rows this is the objective of the convex solvers, and its
    expectation over rows drawn at random is the same.

    Models have K ``n_outputs`` each. A penalty that is not smooth has autograd's subgradient;
    ``reg_strength`` (m,) is ``1 / (C sum_i s_i)``, or None without a penalty.
    """

    n_models: int
    n_outputs: int
    penalty: Penalty
    reg_strength: Tensor | None

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Compute the mean loss (m,) of logits (rows, m K)."""
        if batch.weight is None and self.n_models == 1:  # without weights torch computes the mean
            if self.n_outputs == 1:
                return binary_cross_entropy_with_logits(logits, batch.targets)[None]
            return cross_entropy(logits, batch.targets[:, 0])[None]
        if self.n_outputs == 1:
            targets = batch.targets.expand(-1, self.n_models)
            loss = binary_cross_entropy_with_logits(logits, targets, reduction="none")
        else:
            by_class = logits.unflatten(1, (self.n_models, self.n_outputs)).movedim(2, 1)
            if batch.targets.is_floating_point():
                targets = batch.targets.movedim(2, 1).expand_as(by_class)
            else:
                targets = batch.targets.expand(-1, self.n_models)
            loss = cross_entropy(by_class, targets, reduction="none")
        return (loss if batch.weight is None else loss * batch.weight).mean(dim=0)

    def penalty_value(self, weight: Tensor) -> Tensor | None:
        """Compute the penalty (m,) of the head's weights (m K, p); None without a penalty."""
        if self.reg_strength is None:
            return None
        coef = weight.unflatten(0, (self.n_models, self.n_outputs))
        return self.penalty.value(coef) * self.reg_strength


@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """Network to train in place, its objective and the options of its training.

    Attributes
    ----------
    network : nn.Module
        Network from inputs to logits (rows, m K); parameters that require a gradient are trained.
    head : nn.Linear
        Last layer, or the network itself.
    penalty : Penalty
        Penalty on the weights of the head.
    reg_strength : Tensor of shape (m,)
        Regularisation strength ``1 / C`` of each model; the sum of the m objectives is minimised.
    shares_scale : bool, default=False
        Whether all models divide by the same mean weight, so that an entry of y counts the same
        in each of them; else each divides by its own.
    forward : callable or None, default=None
        Function from a batch's inputs, which may be views of the caller's, to logits; None: the
        network.
    held_out_score : callable or None, default=None
        Function that returns the network's score on held-out rows; larger is better.
    callback : callable or None, default=None
        Called after every epoch with the number of epochs and the objective per unit of weight
        (m,), averaged over the epoch's batches before their steps; True stops the training.
    state : dict or None, default=None
        `TrainingResult.state` of an earlier call, to resume its optimiser.
    epochs : int or None, default=None
        Total number of epochs, earlier ones included; None: the solver's.
    seed : int, default=0
        Seed of the order of rows in memory.
    layer_seed : int or None, default=None
        Seed of torch's global generators, combined with the number of each epoch, for layers and
        loaders that draw from them; the caller saves and restores the generators. None: they are
        not seeded.
    """

    network: nn.Module
    head: nn.Linear
    loss: Loss
    penalty: Penalty
    reg_strength: Tensor
    solver: MiniBatch
    shares_scale: bool = False
    forward: Callable[[Any], Tensor] | None = None
    held_out_score: Callable[[], float] | None = None
    callback: Callable[[int, Tensor], bool] | None = None
    state: dict[str, Any] | None = None
    epochs: int | None = None
    seed: int = 0
    layer_seed: int | None = None

    def objective(self, total_weight: Tensor, weight_share: float | Tensor = 1.0) -> BatchObjective:
        """Return the objective of rows of a total weight (1,) or (m,), a share of all rows."""
        reg_strength = self.reg_strength * weight_share
        scaled = (reg_strength / total_weight).to(self.head.weight.dtype)
        return BatchObjective(
            len(reg_strength),
            self.loss.n_outputs,
            self.penalty,
            scaled if bool(reg_strength.any()) else None,
        )


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
