"""Fitted coefficients and thresholds of ordered classes with their training rows."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.utils import gen_batches

from skorch_logreg.analysis.fitted_model import (
    check_names,
    ridge_of,
    unwrap_estimator,
)
from skorch_logreg.data import from_arrays
from skorch_logreg.data.tensors import PIECE_ENTRIES
from skorch_logreg.inputs.validate import validate
from skorch_logreg.losses import CumulativeLogit
from skorch_logreg.objective import Units
from skorch_logreg.pipelines import last_step, parameter_names, to_dense_numpy


def is_ordered(estimator: Any) -> bool:
    """Return True for a fitted model of ordered classes, also at the end of a pipeline."""
    return hasattr(last_step(estimator), "thresholds_")


@dataclass(frozen=True)
class OrderedModel:
    """Coefficients and thresholds of an `OrdinalLogisticClassifier`, and its training rows.

    Information and scores are in the coefficients of standardised columns Z, and in the first
    threshold and the differences of successive ones. ``weight`` includes the class weights,
    ``names`` are those of the features and thresholds, and ``ridge`` (n_features,) the second
    derivatives ``f_j / C`` of the penalty.
    """

    X: Any
    index: np.ndarray
    weight: np.ndarray
    classes: np.ndarray
    names: tuple[str, ...]
    coef: np.ndarray
    thresholds: np.ndarray
    ridge: np.ndarray
    estimator: Any
    fit_intercept: ClassVar[bool] = True

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Extract the parameters of a fitted classifier and validate its training data."""
        whole = estimator
        estimator, X = unwrap_estimator(estimator, X)
        coef = to_dense_numpy(estimator.coef_).astype(np.float64).ravel()
        ridge, classes = ridge_of(estimator, len(coef)), np.asarray(estimator.classes_)
        order = classes.argsort()
        inputs = validate(X, y, sample_weight, classes=classes[order])
        rows, index, _ = inputs.float64_arrays()
        if rows.shape[1] != len(coef):
            raise ValueError(f"X has {rows.shape[1]} features, but the model has {len(coef)}.")
        check_names(estimator, X)
        _, weight = inputs.weighted_targets(estimator.class_weight)
        ends = [f"{low}|{high}" for low, high in zip(classes[:-1], classes[1:], strict=True)]
        return cls(
            X=rows,
            index=order[index],
            weight=np.ones(len(index)) if weight is None else weight.numpy(),
            classes=classes,
            names=(*parameter_names(whole, len(coef))[:-1], *ends),
            coef=coef,
            thresholds=to_dense_numpy(estimator.thresholds_).astype(np.float64),
            ridge=ridge,
            estimator=estimator,
        )

    @cached_property
    def units(self) -> Units:
        """Means and deviations of the columns; the deviation of a constant column is 1."""
        units = Units.of(from_arrays(self.X, self.index, self.weight), True, None)
        return replace(units, scale=torch.where(units.scale.isinf(), 1.0, units.scale))

    @property
    def is_penalised(self) -> bool:
        """True if any coefficient has a ridge penalty."""
        return bool(self.ridge.any())

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
        found[p:, p:] = self.loss.nuisance_sums(self.logits, self.targets, weight)[1][0].numpy()
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
