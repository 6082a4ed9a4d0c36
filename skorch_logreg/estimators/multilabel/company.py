"""Binary problems over the same rows, in batches that fit a budget of memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skorch_logreg.estimators.multilabel.indicator import Indicator
from skorch_logreg.estimators.multilabel.per_label import ClassWeights
from skorch_logreg.estimators.problem import Problem
from skorch_logreg.estimators.soft_labels import smooth_labels
from skorch_logreg.fitting import Params, Solution, Status

__all__ = ["SATURATED_LOGIT", "Company", "Fits"]

SATURATED_LOGIT = 1000.0  # a logit whose probabilities are 0 and 1 to the last bit


@dataclass(frozen=True)
class Company:
    """Labels and what each of their cells counts.

    Parameters
    ----------
    labels : Indicator
    rows : Tensor of shape (n_samples,), float64, or None
        Sample weights.
    factors : Tensor of shape (n_labels, 2), float64, or None
        Class weights of absence and presence.
    constant : ndarray of shape (n_labels,), int
        1 or -1 where every cell that counts holds 1 or 0: there is no minimiser; else 0.
    at_once : int
        Models that a solve may take.
    device : torch.device
        Where they are solved.
    total : Tensor of shape (n_labels,), float64
        Weight of all cells of a label.
    label_smoothing : float, default=0.0
        Share of every known cell that is spread evenly over 0 and 1.
    """

    labels: Indicator
    rows: Tensor | None
    factors: Tensor | None
    constant: np.ndarray
    at_once: int
    device: torch.device
    total: Tensor
    label_smoothing: float = 0.0

    @classmethod
    def of(
        cls,
        labels: Indicator,
        rows: Tensor | None,
        class_weights: ClassWeights | None,
        *,
        at_once: int,
        device: torch.device,
        label_smoothing: float = 0.0,
    ) -> "Company":
        """Count the cells of every label.

        Raises
        ------
        ValueError
            If a label has no cell that is known and counts.
        """
        rows = None if rows is None else rows.to(device)
        alive = None if rows is None else (rows > 0).to(torch.float64)
        counts = torch.zeros(2, labels.n_labels, dtype=torch.float64, device=device)
        totals = counts
        if rows is not None:
            totals = torch.zeros_like(counts)
        for part in _parts(np.arange(labels.n_labels), at_once):
            targets, known = labels.columns(part, device)
            counts[:, part] = _tally(targets, known, alive)
            if totals is not counts:
                totals[:, part] = _tally(targets, known, rows)
        _refuse_empty(labels, counts, "has no known cell, or none in a row with a weight")
        totals = _smoothed(totals, label_smoothing)
        counts = _smoothed(counts, label_smoothing)
        factors = None
        if class_weights is not None:
            factors = class_weights.balance(*totals.cpu()).to(device)
            counts = torch.where(factors.T > 0, counts, 0.0)
            totals = totals * factors.T
            _refuse_empty(labels, counts, "has no cell that class_weight gives a weight")
        absent, present = counts.cpu().numpy() > 0
        constant = np.where(absent & present, 0, np.where(present, 1, -1))
        total = totals.sum(dim=0)
        return cls(labels, rows, factors, constant, at_once, device, total, label_smoothing)

    @classmethod
    def of_part(
        cls,
        labels: Indicator,
        rows: Tensor | None,
        class_weights: ClassWeights | None,
        *,
        at_once: int,
        device: torch.device,
        label_smoothing: float = 0.0,
    ) -> "Company":
        """Take some of the rows: nothing is counted, and no label is called constant."""
        constant = np.zeros(labels.n_labels, dtype=int)
        return cls(
            labels,
            None if rows is None else rows.to(device),
            None if class_weights is None else class_weights.factors.to(device),
            constant,
            at_once,
            device,
            torch.zeros(labels.n_labels, dtype=torch.float64, device=device),
            label_smoothing,
        )

    @property
    def is_soft(self) -> bool:
        """Whether targets are probabilities."""
        return self.labels.is_soft or self.label_smoothing > 0

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return int(self.labels.values.shape[0])

    def batches(self, among: np.ndarray | None = None) -> Iterator[np.ndarray]:
        """Labels to solve together, of some or of all; constant ones are left out."""
        free = self.constant == 0
        labels = np.flatnonzero(free) if among is None else among[free[among]]
        return _parts(labels, self.at_once)

    def cells(self, labels: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """Targets (n_samples, m) and weights (n_samples, m), (n_samples,) or None: all 1.

        A cell of probability q is one that holds 1 and one that holds 0, of weights q and
        ``1 - q``; each has its class weight.
        """
        targets, known = self.labels.columns(labels, self.device)
        if self.is_soft:
            targets = smooth_labels(targets.to(torch.float64), self.label_smoothing, 2)
        weight = self.rows
        if self.factors is not None:
            absent, present = self.factors[torch.from_numpy(labels).to(self.device)].T
            if self.is_soft:
                own = targets * present
                weight = own + (1 - targets) * absent
                targets = own / torch.where(weight > 0, weight, 1.0)
            else:
                weight = torch.where(targets == 1, present, absent)
            if self.rows is not None:
                weight *= self.rows[:, None]
        if known is not None:
            if weight is None:
                weight = known.to(torch.float64)
            else:
                weight = (weight[:, None] if weight.ndim == 1 else weight) * known
        return targets, weight

    def known(self, labels: np.ndarray) -> Tensor | None:
        """Where targets are known, (n_samples, m), bool; None: everywhere."""
        return self.labels.columns(labels, self.device)[1]


class Fits:
    """What is known of all labels: converged at certainty until a solution is kept.

    Parameters
    ----------
    problem : Problem
    constant : ndarray of shape (n_labels,)
        Of the `Company`.
    device : torch.device
    """

    def __init__(self, problem: Problem, constant: np.ndarray, device: torch.device) -> None:
        n_labels, width = len(constant), problem.n_features + problem.has_column
        self._problem = problem
        self._coef = torch.zeros(n_labels, width, dtype=torch.float64, device=device)
        self._intercept = self._coef.new_zeros(n_labels)
        certain = SATURATED_LOGIT * torch.from_numpy(constant).to(self._coef)
        if problem.has_column:
            self._coef[:, -1] = certain / problem.intercept_scaling
        else:
            self._intercept += certain
        self._n_iter = torch.zeros(n_labels, dtype=torch.int32, device=device)
        self._optimality = self._coef.new_zeros(n_labels)
        self.n_passes = 0
        self.status = [Status.CONVERGED] * n_labels
        self.trained: list[tuple[np.ndarray, dict[str, Any]]] = []

    def keep(self, labels: np.ndarray, solution: Solution) -> None:
        """Take over what a solve found."""
        where = torch.from_numpy(labels).to(self._coef.device)
        self._coef[where] = solution.params.coef[:, 0]
        self._intercept[where] = solution.params.intercept[:, 0]
        self._n_iter[where] = solution.n_iter.to(torch.int32)
        self._optimality[where] = solution.optimality
        self.n_passes += int(solution.n_passes)
        if solution.trained is not None:
            self.trained.append((labels, solution.trained.state))
        for label, status in zip(labels, solution.status, strict=True):
            self.status[label] = status

    @property
    def params(self) -> Params:
        """Of all labels, (n_labels, 1, n_columns) and (n_labels, 1)."""
        return Params(self._coef[:, None], self._intercept[:, None])

    def ends(self) -> list[tuple[Status, float]]:
        """How the fit of every label ended, and the optimality reached."""
        return list(zip(self.status, self._optimality.tolist(), strict=True))

    def failed(self) -> np.ndarray:
        """Whether the fit of a label did not converge, (n_labels,)."""
        return np.array([status is not Status.CONVERGED for status in self.status])

    def attributes(self) -> dict[str, Any]:
        """Fitted attributes, where X lives."""
        converged = torch.from_numpy(~self.failed()).to(self._coef.device)
        found = self._problem.fitted(Params(self._coef[None], self._intercept[None]))
        rest = {
            "n_iter_": self._n_iter,
            "optimality_": self._optimality,
            "converged_": converged,
        }
        arrays = {name: self._problem.namespace.from_tensor(value) for name, value in rest.items()}
        return found | arrays | {"n_passes_": self.n_passes}


def _parts(labels: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Cut into parts of about the same length, none above a size."""
    n_parts = -(-len(labels) // size)
    return iter(np.array_split(labels, n_parts)) if n_parts else iter(())


def _tally(targets: Tensor, known: Tensor | None, rows: Tensor | None) -> Tensor:
    """Weights (2, m) of the cells that hold 0 and 1."""
    if known is None and rows is None:
        present = targets.sum(dim=0).to(torch.float64)
        return torch.stack([targets.shape[0] - present, present])
    present = targets.to(torch.float64)
    absent = 1 - present if known is None else known.to(torch.float64).sub_(present)
    if rows is None:
        return torch.stack([absent.sum(dim=0), present.sum(dim=0)])
    return torch.stack([rows @ absent, rows @ present])


def _smoothed(counts: Tensor, label_smoothing: float) -> Tensor:
    """Weights (2, m) of smoothed cells."""
    return counts * (1 - label_smoothing) + counts.sum(dim=0) * (label_smoothing / 2)


def _refuse_empty(labels: Indicator, counts: Tensor, what: str) -> None:
    empty = (counts.sum(dim=0) == 0).nonzero()[:, 0].cpu().numpy()
    if len(empty):
        raise ValueError(f"Label {labels.describe(empty)} {what}: there is nothing to fit it to.")
