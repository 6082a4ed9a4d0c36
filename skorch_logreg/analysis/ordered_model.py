"""Fitted coefficients and thresholds of ordered classes with their training rows."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from sklearn.utils import gen_batches

from skorch_logreg.analysis.fitted_model import FittedRows, read_rows
from skorch_logreg.data.tensors import PIECE_ENTRIES
from skorch_logreg.losses import CumulativeLogit
from skorch_logreg.pipelines import last_step, to_dense_numpy


def is_ordered(estimator: Any) -> bool:
    """Return True for a fitted model of ordered classes, also at the end of a pipeline."""
    return hasattr(last_step(estimator), "thresholds_")


@dataclass(frozen=True, kw_only=True)
class OrderedModel(FittedRows):
    """Coefficients and thresholds of an `OrdinalLogisticClassifier`, and its training rows.

    Information and scores are in the coefficients of standardised columns Z, and in the first
    threshold and the differences of successive ones. ``names`` are those of the features and
    thresholds.
    """

    coef: np.ndarray
    thresholds: np.ndarray

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Extract the parameters of a fitted classifier and validate its training data."""
        found = read_rows(estimator, X, y, sample_weight)
        classes, model = found["classes"], found["estimator"]
        ends = [f"{low}|{high}" for low, high in zip(classes[:-1], classes[1:], strict=True)]
        return cls(
            **found | {"names": (*found["names"][:-1], *ends)},
            coef=to_dense_numpy(model.coef_).astype(np.float64).ravel(),
            thresholds=to_dense_numpy(model.thresholds_).astype(np.float64),
        )

    @property
    def n_intercepts(self) -> int:
        """Number of thresholds."""
        return len(self.thresholds)

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Iterate over dense blocks of the rows of Z."""
        center, scale = self.units.center.numpy(), self.units.scale.numpy()
        for rows in gen_batches(len(self.index), max(PIECE_ENTRIES // len(self.names), 1)):
            yield rows, (to_dense_numpy(self.X[rows]) - center) / scale

    @cached_property
    def logits(self) -> torch.Tensor:
        """Linear predictors (n_samples, 1, 1) of the rows of Z."""
        coef = self.coef * self.units.scale.numpy()
        logits = np.concatenate([Z @ coef for _, Z in self.blocks()])
        return torch.from_numpy(logits)[:, None, None]

    @cached_property
    def loss(self) -> CumulativeLogit:
        """Loss with the thresholds of Z."""
        thresholds = self.thresholds - self.coef @ self.units.center.numpy()
        return CumulativeLogit(torch.from_numpy(np.diff(thresholds, prepend=0.0))[None])

    @property
    def targets(self) -> torch.Tensor:
        """Class indices (n_samples, 1, 1)."""
        return torch.from_numpy(self.index)[:, None, None]

    @property
    def margin(self) -> np.ndarray:
        """Distance (n_samples,) from the nearer threshold of the row's class."""
        return self.loss.margin(self.logits, self.targets)[:, 0].numpy()

    @property
    def log_likelihood(self) -> float:
        """Weighted log-likelihood of the rows."""
        return -float(self.weight @ self.loss.value(self.logits, self.targets)[:, 0].numpy())

    @property
    def null_log_likelihood(self) -> float:
        """Log-likelihood of the thresholds without features."""
        total = np.bincount(self.index, self.weight, minlength=len(self.classes))
        shown = total[total > 0]
        return float(shown @ np.log(shown / shown.sum()))

    @cached_property
    def information(self) -> np.ndarray:
        """Hessian of the loss without the penalty, of shape (n_params, n_params)."""
        weight, p = torch.from_numpy(self.weight)[:, None], len(self.coef)
        curved = self.loss.curvature(self.logits, self.targets)[0][..., 0] * weight
        mixed = (self.loss.mixed(self.logits, self.targets)[:, 0] * weight).numpy()
        found = np.zeros((len(self.names), len(self.names)))
        sums = self.loss.nuisance_sums(self.logits, self.targets, weight)
        found[p:, p:] = self.loss.nuisance_derivatives(sums)[1][0].numpy()
        for rows, Z in self.blocks():
            found[:p, :p] += Z.T @ (Z * curved[rows].numpy())
            found[:p, p:] += Z.T @ mixed[rows]
        found[p:, :p] = found[:p, p:].T
        return found

    @property
    def penalised_information(self) -> np.ndarray:
        """Hessian of loss and penalty."""
        found, p = self.information.copy(), len(self.coef)
        found[range(p), range(p)] += self.ridge / self.units.scale.numpy() ** 2
        return found

    def scores(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Iterate over the gradients (rows, n_params) of the losses of blocks of rows."""
        loss, logits, targets = self.loss, self.logits, self.targets
        residual = loss.value_residual(logits, targets)[1][:, 0].numpy()
        of_thresholds = loss.nuisance_gradient(logits, targets)[:, 0].numpy()
        for rows, Z in self.blocks():
            yield rows, np.hstack([residual[rows] * Z, of_thresholds[rows]])

    @property
    def estimates(self) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
        """Names, values, and the matrix to them from the parameters of Z."""
        p, scale = len(self.coef), self.units.scale.numpy()
        moved = np.zeros((len(self.names), len(self.names)))
        moved[range(p), range(p)] = 1 / scale
        moved[p:, :p] = self.units.center.numpy() / scale
        moved[p:, p:] = np.tril(np.ones((len(self.thresholds),) * 2))
        return self.names, np.concatenate([self.coef, self.thresholds]), moved
