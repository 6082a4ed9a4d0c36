"""Targets and weights of the binary problems of all labels, which share their rows."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skorch_logreg import fitting
from skorch_logreg.estimators.multilabel.indicator import Indicator
from skorch_logreg.estimators.multilabel.per_label import class_weights
from skorch_logreg.estimators.multilabel.validate import can_train_together
from skorch_logreg.inputs.labels import smooth_labels
from skorch_logreg.inputs.validate import FitInput

__all__ = ["BinaryProblems"]


@dataclass(frozen=True)
class BinaryProblems:
    """Targets and weights of all labels.

    Parameters
    ----------
    labels : Indicator
    sample_weight : Tensor of shape (n_samples,), float64, or None
    class_weight : Tensor of shape (n_labels, 2), float64, or None
        Class weights of absence and presence.
    constant : ndarray of shape (n_labels,), int
        1 or -1 if all entries of a label with a positive weight are 1 or 0, so that the objective
        has no minimiser; else 0.
    max_models : int
        Largest number of models per solve.
    device : torch.device
        Device of the solves.
    total_weight : Tensor of shape (n_labels,), float64
        Total weight of each label's entries.
    label_smoothing : float
        Fraction of every known target that is spread evenly over 0 and 1.
    """

    labels: Indicator
    sample_weight: Tensor | None
    class_weight: Tensor | None
    constant: np.ndarray
    max_models: int
    device: torch.device
    total_weight: Tensor
    label_smoothing: float

    @classmethod
    def of(
        cls,
        model: Any,
        inputs: FitInput,
        estimator: Any,
        solver: Any,
        device: torch.device,
        *,
        part: bool = False,
    ) -> "BinaryProblems":
        """Create the binary problems of a `MultiLabel` fit.

        `class_weight` and `label_smoothing` of ``estimator`` apply, and ``solver`` decides whether
        labels are trained together. With ``part``, these are only some of the rows, whose targets
        are not counted.

        Raises
        ------
        ValueError
            If a label has no known entry with a positive weight.
        """
        labels = inputs.labels
        sample_weight, class_weight, is_balanced = class_weights(
            model.class_weight, estimator.class_weight, labels, inputs.weight
        )
        budget = model.memory_budget
        if budget is None:
            budget = getattr(estimator, "memory_budget", None)
        n_samples, n_features = map(int, inputs.X.shape[:2])
        max_models = 1
        if can_train_together(solver):
            max_models = fitting.models_at_once(n_samples, n_features, 1, budget)
        problems = cls(
            labels,
            None if sample_weight is None else sample_weight.to(device),
            None if class_weight is None else class_weight.to(device),
            np.zeros(labels.n_labels, dtype=int),
            max_models,
            device,
            torch.zeros(labels.n_labels, dtype=torch.float64, device=device),
            # a TorchLogisticClassifierCV lacks the parameter
            float(getattr(estimator, "label_smoothing", 0.0)),
        )
        return problems if part else problems._count(is_balanced)

    def _count(self, is_balanced: Tensor | None) -> "BinaryProblems":
        """Sum the weights of the entries of every label that are 0 and 1, and balance them."""
        labels, class_weight = self.labels, self.class_weight
        totals = torch.zeros(2, labels.n_labels, dtype=torch.float64, device=self.device)
        n_parts = -(-labels.n_labels // self.max_models)
        for part in np.array_split(np.arange(labels.n_labels), n_parts):
            targets, known = labels.columns(part, self.device)
            totals[:, part] = _total_weights(targets, known, self.sample_weight)
        self._refuse_empty(totals, "has no known cell, or none in a row with a weight")
        totals = totals * (1 - self.label_smoothing) + totals.sum(dim=0) * self.label_smoothing / 2
        if class_weight is not None and is_balanced is not None:
            balanced = torch.where(totals > 0, totals.sum(dim=0) / (2 * totals), 0.0)
            class_weight = torch.where(
                is_balanced[:, None].to(self.device), balanced.T, class_weight
            )
            totals = totals * class_weight.T
            self._refuse_empty(totals, "has no cell that class_weight gives a weight")
        absent, present = totals.cpu().numpy() > 0
        return replace(
            self,
            class_weight=class_weight,
            constant=present.astype(int) - absent,
            total_weight=totals.sum(dim=0),
        )

    def _refuse_empty(self, totals: Tensor, reason: str) -> None:
        empty = (totals.sum(dim=0) == 0).nonzero()[:, 0].cpu().numpy()
        if len(empty):
            raise ValueError(
                f"Label {self.labels.describe(empty)} {reason}: there is nothing to fit it to."
            )

    def targets_and_weights(self, labels: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """Return targets (n_samples, m) and weights (n_samples, m), (n_samples,) or None (all 1).

        A target of probability q counts as a 1 of weight q and a 0 of weight ``1 - q``, each times
        its class weight.
        """
        targets, known = self.labels.columns(labels, self.device)
        is_soft = self.labels.is_soft or self.label_smoothing > 0
        if is_soft:
            targets = smooth_labels(targets.to(torch.float64), self.label_smoothing, 2)
        weight = self.sample_weight
        if self.class_weight is not None:
            absent, present = self.class_weight[torch.from_numpy(labels).to(self.device)].T
            if is_soft:
                own = targets * present
                weight = own + (1 - targets) * absent
                targets = own / torch.where(weight > 0, weight, 1.0)
            else:
                weight = torch.where(targets == 1, present, absent)
            if self.sample_weight is not None:
                weight *= self.sample_weight[:, None]
        if known is not None:
            if weight is None:
                weight = known.to(torch.float64)
            else:
                weight = (weight[:, None] if weight.ndim == 1 else weight) * known
        return targets, weight


def _total_weights(targets: Tensor, known: Tensor | None, sample_weight: Tensor | None) -> Tensor:
    """Sum the weights (2, m) of the entries that are 0 and 1."""
    if known is None and sample_weight is None:
        present = targets.sum(dim=0).to(torch.float64)
        return torch.stack([targets.shape[0] - present, present])
    present = targets.to(torch.float64)
    absent = 1 - present if known is None else known.to(torch.float64).sub_(present)
    if sample_weight is None:
        return torch.stack([absent.sum(dim=0), present.sum(dim=0)])
    return torch.stack([sample_weight @ absent, sample_weight @ present])
