"""Binary problems that share their rows, and their results."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skorch_logreg.estimators.multilabel.indicator import Indicator
from skorch_logreg.estimators.multilabel.per_label import ClassWeights
from skorch_logreg.fitting import FitResult, Params, Status
from skorch_logreg.fitting.batch import SATURATED_LOGIT
from skorch_logreg.inputs.labels import smooth_labels
from skorch_logreg.inputs.problem import Problem

__all__ = ["BinaryProblems", "LabelResults"]


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
    label_smoothing : float, default=0.0
        Fraction of every known target that is spread evenly over 0 and 1.
    """

    labels: Indicator
    sample_weight: Tensor | None
    class_weight: Tensor | None
    constant: np.ndarray
    max_models: int
    device: torch.device
    total_weight: Tensor
    label_smoothing: float = 0.0

    def count(self, class_weights: ClassWeights | None) -> "BinaryProblems":
        """Count the entries of every label that are 0 and 1, and their weights.

        Raises
        ------
        ValueError
            If a label has no known entry with a positive weight.
        """
        labels, sample_weight, device = self.labels, self.sample_weight, self.device
        has_weight = None if sample_weight is None else (sample_weight > 0).to(torch.float64)
        counts = torch.zeros(2, labels.n_labels, dtype=torch.float64, device=device)
        totals = counts if sample_weight is None else torch.zeros_like(counts)
        n_parts = -(-labels.n_labels // self.max_models)
        for part in np.array_split(np.arange(labels.n_labels), n_parts):
            targets, known = labels.columns(part, device)
            counts[:, part] = _count_entries(targets, known, has_weight)
            if totals is not counts:
                totals[:, part] = _count_entries(targets, known, sample_weight)
        self._refuse_empty(counts, "has no known cell, or none in a row with a weight")
        totals = _smoothed(totals, self.label_smoothing)
        counts = _smoothed(counts, self.label_smoothing)
        class_weight = None
        if class_weights is not None:
            class_weight = class_weights.balance(*totals.cpu()).to(device)
            counts = torch.where(class_weight.T > 0, counts, 0.0)
            totals = totals * class_weight.T
            self._refuse_empty(counts, "has no cell that class_weight gives a weight")
        absent, present = counts.cpu().numpy() > 0
        constant = np.where(absent & present, 0, np.where(present, 1, -1))
        total_weight = totals.sum(dim=0)
        return replace(
            self, class_weight=class_weight, constant=constant, total_weight=total_weight
        )

    def _refuse_empty(self, counts: Tensor, reason: str) -> None:
        empty = (counts.sum(dim=0) == 0).nonzero()[:, 0].cpu().numpy()
        if len(empty):
            raise ValueError(
                f"Label {self.labels.describe(empty)} {reason}: there is nothing to fit it to."
            )

    @property
    def is_soft(self) -> bool:
        """True if targets are probabilities."""
        return self.labels.is_soft or self.label_smoothing > 0

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return int(self.labels.values.shape[0])

    def targets_and_weights(self, labels: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """Return targets (n_samples, m) and weights (n_samples, m), (n_samples,) or None (all 1).

        A target of probability q counts as a 1 of weight q and a 0 of weight ``1 - q``, each times
        its class weight.
        """
        targets, known = self.labels.columns(labels, self.device)
        if self.is_soft:
            targets = smooth_labels(targets.to(torch.float64), self.label_smoothing, 2)
        weight = self.sample_weight
        if self.class_weight is not None:
            absent, present = self.class_weight[torch.from_numpy(labels).to(self.device)].T
            if self.is_soft:
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

    def known(self, labels: np.ndarray) -> Tensor | None:
        """Return a mask (n_samples, m) of the known targets; None if all are known."""
        return self.labels.columns(labels, self.device)[1]


class LabelResults:
    """Results of all labels, filled in by `store`; constant labels have saturated intercepts."""

    def __init__(self, problem: Problem, constant: np.ndarray, device: torch.device) -> None:
        n_labels, n_columns = len(constant), problem.n_features + problem.has_column
        self._problem = problem
        self._coef = torch.zeros(n_labels, n_columns, dtype=torch.float64, device=device)
        self._intercept = SATURATED_LOGIT * torch.from_numpy(constant).to(self._coef)
        self._n_iter = torch.zeros(n_labels, dtype=torch.int32, device=device)
        self._optimality = self._coef.new_zeros(n_labels)
        self.n_passes = 0
        self.status = [Status.CONVERGED] * n_labels
        self.trained: list[tuple[np.ndarray, dict[str, Any]]] = []

    def store(self, labels: np.ndarray, solution: FitResult) -> None:
        """Store the solution of some labels."""
        index = torch.from_numpy(labels).to(self._coef.device)
        self._coef[index] = solution.params.coef[:, 0]
        self._intercept[index] = solution.params.intercept[:, 0]
        self._n_iter[index] = solution.n_iter.to(torch.int32)
        self._optimality[index] = solution.optimality
        self.n_passes += int(solution.n_passes)
        if solution.trained is not None:
            self.trained.append((labels, solution.trained.state))
        for label, status in zip(labels, solution.status, strict=True):
            self.status[label] = status

    @property
    def params(self) -> Params:
        """Parameters of all labels, (n_labels, 1, n_columns) and (n_labels, 1)."""
        return Params(self._coef[:, None], self._intercept[:, None])

    def final_points(self) -> list[tuple[Status, float]]:
        """Return the status and the optimality of every label."""
        return list(zip(self.status, self._optimality.tolist(), strict=True))

    def failed(self) -> np.ndarray:
        """Return a mask (n_labels,) of the labels whose fit did not converge."""
        return np.array([status is not Status.CONVERGED for status in self.status])

    def attributes(self) -> dict[str, Any]:
        """Return the fitted attributes, in the array namespace of X."""
        converged = torch.from_numpy(~self.failed()).to(self._coef.device)
        found = self._problem.fitted(Params(self._coef[None], self._intercept[None]))
        rest = {
            "n_iter_": self._n_iter,
            "optimality_": self._optimality,
            "converged_": converged,
        }
        arrays = {name: self._problem.namespace.from_tensor(value) for name, value in rest.items()}
        return found | arrays | {"n_passes_": self.n_passes}


def _count_entries(targets: Tensor, known: Tensor | None, sample_weight: Tensor | None) -> Tensor:
    """Sum the weights (2, m) of the entries that are 0 and 1."""
    if known is None and sample_weight is None:
        present = targets.sum(dim=0).to(torch.float64)
        return torch.stack([targets.shape[0] - present, present])
    present = targets.to(torch.float64)
    absent = 1 - present if known is None else known.to(torch.float64).sub_(present)
    if sample_weight is None:
        return torch.stack([absent.sum(dim=0), present.sum(dim=0)])
    return torch.stack([sample_weight @ absent, sample_weight @ present])


def _smoothed(counts: Tensor, label_smoothing: float) -> Tensor:
    """Apply label smoothing to the weights (2, m)."""
    return counts * (1 - label_smoothing) + counts.sum(dim=0) * (label_smoothing / 2)
