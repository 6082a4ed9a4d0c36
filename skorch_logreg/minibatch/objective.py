"""Objective over a mini-batch, an unbiased estimate of the whole objective per unit of weight."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from skorch_logreg.minibatch.batches import Batch
from skorch_logreg.penalties import Penalty


@dataclass(frozen=True)
class BatchObjective:
    """Objective ``F / sum_i s_i`` of m models, with the loss averaged over a mini-batch.

    It is the mean of ``s_i loss_i``, where the batches carry weights of mean 1, plus
    ``penalty / (C sum_i s_i)``. Over all rows this is the objective of the convex solvers, and its
    expectation over rows drawn at random is the same.

    Parameters
    ----------
    n_models : int
        Number of models m.
    n_outputs : int
        Number of logits K of each model.
    penalty : Penalty
        Penalty on the coefficients. If it is not smooth, autograd's subgradient is used.
    reg_strength : Tensor of shape (m,) or None
        ``1 / (C sum_i s_i)``; None: no penalty.
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
            loss = self._cross_entropy(logits, batch.targets)
        return (loss if batch.weight is None else loss * batch.weight).mean(dim=0)

    def _cross_entropy(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Compute the cross entropy (rows, m) for class indices or probabilities (rows, m, K)."""
        by_class = logits.unflatten(1, (self.n_models, self.n_outputs)).movedim(2, 1)
        if targets.is_floating_point():
            probabilities = targets.movedim(2, 1).expand_as(by_class)
            return cross_entropy(by_class, probabilities, reduction="none")
        return cross_entropy(by_class, targets.expand(-1, self.n_models), reduction="none")

    def penalty_value(self, weight: Tensor) -> Tensor | None:
        """Compute the penalty (m,) of the head's weights (m K, p); None without a penalty."""
        if self.reg_strength is None:
            return None
        coef = weight.unflatten(0, (self.n_models, self.n_outputs))
        return self.penalty.value(coef) * self.reg_strength
