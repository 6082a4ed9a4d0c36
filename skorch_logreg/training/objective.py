"""The objective over a mini-batch: an unbiased share of the whole, per unit of weight."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from skorch_logreg.penalties import Penalty
from skorch_logreg.training.batches import Batch


@dataclass(frozen=True)
class BatchObjective:
    """``F / sum_i s_i`` of m models, with the loss taken from some rows.

    That is the mean of ``s_i loss_i``, where weights of mean 1 come with the batches, plus
    ``penalty / (C sum_i s_i)``: over all rows it is the objective of the convex solvers, and over
    rows drawn at random its mean is.

    Parameters
    ----------
    n_models, n_outputs : int
        m, and the logits of each, K.
    penalty : Penalty
    strength : Tensor of shape (m,) or None
        ``1 / (C sum_i s_i)``; None: no penalty. Where it is not smooth, autograd's subgradient
        is followed.
    """

    n_models: int
    n_outputs: int
    penalty: Penalty
    reg_strength: Tensor | None

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Mean loss (m,) of logits (rows, m K)."""
        if batch.weight is None and self.n_models == 1:  # torch takes the mean by itself
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
        """Cross entropy (rows, m) of indices (rows, m) or probabilities (rows, m, K)."""
        by_class = logits.unflatten(1, (self.n_models, self.n_outputs)).movedim(2, 1)
        if targets.is_floating_point():
            probabilities = targets.movedim(2, 1).expand_as(by_class)
            return cross_entropy(by_class, probabilities, reduction="none")
        return cross_entropy(by_class, targets.expand(-1, self.n_models), reduction="none")

    def penalty_value(self, weight: Tensor) -> Tensor | None:
        """Penalty (m,) of the head's weights (m K, p); None: there is none."""
        if self.reg_strength is None:
            return None
        coef = weight.unflatten(0, (self.n_models, self.n_outputs))
        return self.penalty.value(coef) * self.reg_strength

    @classmethod
    def of(
        cls,
        n_models: int,
        n_outputs: int,
        total_weight: Tensor,
        penalty: Penalty,
        reg_strength: Tensor,
        dtype: torch.dtype,
    ) -> "BatchObjective":
        """Scale by the weight of all rows.

        Parameters
        ----------
        n_models, n_outputs : int
        total_weight : Tensor of shape (1,) or (m,), float64
            ``sum_i s_i``.
        penalty : Penalty
        strength : Tensor of shape (m,)
            ``1 / C``.
        dtype : torch.dtype
            Of the network.
        """
        scaled = (reg_strength / total_weight).to(dtype)
        return cls(n_models, n_outputs, penalty, scaled if bool(reg_strength.any()) else None)
