"""Fitted coefficients with their training rows: likelihood, information and residuals."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from scipy.optimize import brentq
from scipy.special import expit, log_expit, log_softmax
from sklearn.utils import check_array, check_consistent_length, column_or_1d
from sklearn.utils.validation import (
    _check_feature_names,
    _check_sample_weight,
    _get_feature_names,
    check_is_fitted,
)

from skorch_logreg.analysis import convergence_messages
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs import to_numpy
from skorch_logreg.pipelines import feature_names, last_step, transform_before_last
from skorch_logreg.solvers import MiniBatch

_BLOCK_ENTRIES = 1 << 20  # entries of a dense block of rows (8 MiB)


@dataclass(frozen=True)
class FittedModel:
    """Coefficients of a fitted model with K outputs, and its training rows.

    Parameters
    ----------
    X : ndarray or csr_matrix of shape (n_samples, n_features), float64
        Training rows.
    index : ndarray of shape (n_samples,)
        Index into `classes` of the class of every row.
    weight : ndarray of shape (n_samples,)
        Sample weights, multiplied by the class weights.
    classes : ndarray of shape (n_classes,)
        Class labels.
    names : tuple of str
        Names of the features, followed by "intercept".
    params : ndarray of shape (K, n_features + 1)
        Coefficients and intercept. K is 1 for two classes, else the number of classes.
    ridge : ndarray of shape (n_features + 1,)
        Second derivatives of the penalty, ``f_j / C``; 0 for the intercept.
    fit_intercept : bool
        Whether the model has an intercept.
    estimator : classifier
        The fitted classifier.
    offset : ndarray of shape (n_samples,) or None
        Offset added to the logits of two classes.
    """

    X: Any
    index: np.ndarray
    weight: np.ndarray
    classes: np.ndarray
    names: tuple[str, ...]
    params: np.ndarray
    ridge: np.ndarray
    fit_intercept: bool
    estimator: Any
    offset: np.ndarray | None = None

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, sample_weight: Any = None, offset: Any = None
    ) -> Self:
        """Extract the coefficients of a fitted classifier and validate its training data.

        For a pipeline or a search, this is its final classifier on the transformed rows.

        Raises
        ------
        ParameterError
            If the model is not a maximum of the likelihood with a ridge penalty or none.
        """
        whole = estimator
        estimator, X = unwrap_estimator(estimator, X)
        _check_supported(estimator)
        has_offset = getattr(estimator, "has_offset_", False)
        if has_offset and offset is None:
            raise ParameterError(
                "The model was fitted with an offset, without which its probabilities are others; "
                "give it to summary. Nothing else here takes one."
            )
        if offset is not None and not has_offset:
            raise ParameterError(
                "offset is given, but the model was fitted without one; leave offset=None."
            )
        given = X
        X = check_array(X, accept_sparse="csr", dtype=np.float64)
        y, sample_weight, offset = map(to_numpy, (y, sample_weight, offset))
        y = column_or_1d(y)
        check_consistent_length(X, y)
        coef = estimator.coef_.toarray() if sp.issparse(estimator.coef_) else estimator.coef_
        coef = np.asarray(coef, dtype=np.float64)
        if X.shape[1] != coef.shape[1]:
            raise ValueError(f"X has {X.shape[1]} features, but the model has {coef.shape[1]}.")
        check_names(estimator, given)
        classes = np.asarray(estimator.classes_)
        index = np.searchsorted(classes, y).clip(max=len(classes) - 1)
        if (classes[index] != y).any():
            unknown = np.unique(y[classes[index] != y])
            raise ValueError(f"y holds {unknown}, but the model's classes are {classes}.")
        weight = np.ones(len(y))
        if sample_weight is not None:
            weight = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
        weight = apply_class_weight(estimator.class_weight, classes, index, weight[:, None])[:, 0]
        if offset is not None:
            offset = np.asarray(offset, dtype=np.float64)
            if offset.shape != y.shape or len(classes) > 2:
                raise ParameterError(
                    f"offset has shape {offset.shape}, expected (n_samples,) = {y.shape}, for two "
                    "classes."
                )
        factor = getattr(estimator, "penalty_factor", None)
        factor = np.ones(X.shape[1]) if factor is None else np.asarray(factor, dtype=np.float64)
        C, _ = penalty_parameters(estimator)
        intercept = np.broadcast_to(np.asarray(estimator.intercept_, float).ravel(), len(coef))
        return cls(
            X=X,
            index=index,
            weight=weight,
            classes=classes,
            names=(*map(str, feature_names(whole, X.shape[1])), "intercept"),
            params=np.column_stack([coef, intercept]),
            ridge=np.append(factor / C, 0.0),
            fit_intercept=bool(estimator.fit_intercept),
            estimator=estimator,
            offset=offset,
        )

    @cached_property
    def convergence_message(self) -> str | None:
        """Reason why the fit did not converge, or None if it did or this is not known."""
        return convergence_messages.convergence_message(self.estimator, self)

    @property
    def n_samples(self) -> float:
        """Sum of the weights."""
        return float(self.weight.sum())

    @property
    def n_outputs(self) -> int:
        """Number of outputs K: 1 for two classes, else the number of classes."""
        return len(self.params)

    @property
    def is_penalised(self) -> bool:
        """True if any coefficient has a ridge penalty."""
        return bool(self.ridge.any())

    @cached_property
    def center_scale(self) -> tuple[np.ndarray, np.ndarray]:
        """Weighted mean and standard deviation of every column, each of shape (n_features,).

        Without an intercept the mean is 0 and the deviation is the root mean square. The
        deviation of a constant column is 1.
        """
        total = self.n_samples
        if sp.issparse(self.X):
            mean = np.asarray(self.X.T @ self.weight).ravel() / total
            square = np.asarray(self.X.multiply(self.X).T @ self.weight).ravel() / total
            variance = np.maximum(square - mean**2, 0.0)
        else:
            mean = self.weight @ self.X / total
            variance = sum(
                self.weight[rows] @ (self.X[rows] - mean) ** 2 for rows in self._row_slices()
            )
            variance = variance / total
        if not self.fit_intercept:
            return np.zeros_like(mean), np.where(
                variance + mean**2 > 0, np.sqrt(variance + mean**2), 1
            )
        return mean, np.where(variance > 0, np.sqrt(variance), 1.0)

    def standardized_blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Iterate over dense blocks of rows of ``[Z 1]`` with ``Z = (X - mean) / deviation``."""
        mean, deviation = self.center_scale
        for rows in self._row_slices():
            some = self.X[rows]
            some = some.toarray() if sp.issparse(some) else some
            last = np.full(len(some), float(self.fit_intercept))
            yield rows, np.column_stack([(some - mean) / deviation, last])

    def _row_slices(self) -> Iterator[slice]:
        """Iterate over slices of rows, each with at most 2^20 entries."""
        step = max(_BLOCK_ENTRIES // (self.X.shape[1] + 1), 1)
        for start in range(0, self.X.shape[0], step):
            yield slice(start, min(start + step, self.X.shape[0]))

    @cached_property
    def to_original_units(self) -> np.ndarray:
        """Matrix from parameters of ``[Z 1]`` to those of ``[X 1]``, of shape (p + 1, p + 1)."""
        mean, deviation = self.center_scale
        matrix = np.diag(np.append(1 / deviation, float(self.fit_intercept)))
        matrix[-1, :-1] = -mean / deviation * self.fit_intercept
        return matrix

    @cached_property
    def logits(self) -> np.ndarray:
        """Logits without the offset, of shape (n_samples, n_classes).

        For two classes the logits of the first class are zero.
        """
        logits = np.asarray(self.X @ self.params[:, :-1].T) + self.params[:, -1]
        if self.n_outputs == 1:
            logits = np.column_stack([np.zeros(len(logits)), logits])
        return logits

    @cached_property
    def log_proba(self) -> np.ndarray:
        """Log-probabilities, of shape (n_samples, n_classes)."""
        logits = self.logits
        if self.offset is not None:
            logits = logits + np.column_stack([np.zeros_like(self.offset), self.offset])
        return log_softmax(logits, axis=1)

    @property
    def proba(self) -> np.ndarray:
        """Probabilities of the outputs, of shape (n_samples, K).

        For two classes the only column is the probability of the second class.
        """
        proba = np.exp(self.log_proba)
        return proba[:, 1:] if self.n_outputs == 1 else proba

    @property
    def residual(self) -> np.ndarray:
        """Class indicator minus probability, of shape (n_samples, K)."""
        labels = np.arange(self.n_outputs) if self.n_outputs > 1 else np.array([1])
        observed = self.index[:, None] == labels
        return observed - self.proba

    @property
    def log_likelihood(self) -> float:
        """Weighted log-likelihood of the rows."""
        return float(self.weight @ self.log_proba[np.arange(len(self.index)), self.index])

    @property
    def null_log_likelihood(self) -> float:
        """Log-likelihood of the intercept-only model, or of equal probabilities without one."""
        if self.offset is not None:
            return self._null_log_likelihood_with_offset(self.offset)
        if not self.fit_intercept:
            return -self.n_samples * float(np.log(len(self.classes)))
        counts = np.bincount(self.index, weights=self.weight, minlength=len(self.classes))
        counts = counts[counts > 0]
        return float(counts @ np.log(counts / counts.sum()))

    def _null_log_likelihood_with_offset(self, offset: np.ndarray) -> float:
        """Compute the log-likelihood of the model with the offset and an intercept only.

        The likelihood of rows of one class is largest, 1, at an infinite intercept.
        """
        if self.fit_intercept and len(np.unique(self.index[self.weight > 0])) < 2:
            return 0.0
        sign = np.where(self.index == 1, 1.0, -1.0)

        def slope(intercept: float) -> float:
            return float(self.weight @ (sign * expit(-sign * (offset + intercept))))

        far = float(np.abs(offset).max()) + 40.0
        intercept = brentq(slope, -far, far, xtol=1e-13) if self.fit_intercept else 0.0
        return float(self.weight @ log_expit(sign * (offset + intercept)))

    def information(self) -> np.ndarray:
        """Compute the Hessian of the loss in parameters of ``[Z 1]``.

        Returns
        -------
        information : ndarray of shape (K * (p + 1), K * (p + 1))
            Hessian of the unpenalised loss.
        """
        proba, K, side = self.proba, self.n_outputs, self.params.shape[1]
        total = np.zeros((K, side, K, side))
        for rows, Z in self.standardized_blocks():
            p, s = proba[rows], self.weight[rows]
            for k in range(K):
                for j in range(k, K):
                    own = p[:, k] * ((k == j) - p[:, j]) if K > 1 else p[:, 0] * (1 - p[:, 0])
                    total[k, :, j] += (Z * (s * own)[:, None]).T @ Z
        for k in range(K):
            for j in range(k):
                total[k, :, j] = total[j, :, k].T
        return total.reshape(K * side, K * side)

    def standardized_ridge(self) -> np.ndarray:
        """Compute the penalty's second derivatives in parameters of ``[Z 1]``, (K * (p + 1),)."""
        own = self.ridge / np.append(self.center_scale[1], 1.0) ** 2
        return np.tile(own, self.n_outputs)


def unwrap_estimator(estimator: Any, X: Any) -> tuple[Any, Any]:
    """Return the final classifier of searches and pipelines, and X transformed for it.

    Raises
    ------
    ParameterError
        If the classifier has one model per label or no coefficients, if it penalises the
        intercept (liblinear), or if it was not fitted to all rows of X.
    """
    X, estimator = transform_before_last(estimator, to_numpy(X)), last_step(estimator)
    check_is_fitted(estimator)
    name = type(estimator).__name__
    if hasattr(estimator, "target_kind_"):
        raise ParameterError(f"{name} has many models; analyse each label by itself.")
    if not hasattr(estimator, "coef_"):
        raise ParameterError(f"{name} has no coef_; expected a fitted linear classifier.")
    if estimator.solver == "liblinear" and estimator.fit_intercept:
        raise ParameterError(
            f"{name} has solver='liblinear', which penalises the intercept; choose another."
        )
    if not getattr(estimator, "refit", True):
        raise ParameterError(
            f"{name} has refit=False: its coefficients are means over the folds, the optimum of "
            "no rows. Fit it with refit=True."
        )
    if isinstance(estimator.solver, MiniBatch) and estimator.solver.validation_fraction:
        raise ParameterError(
            f"{name} has solver={estimator.solver!r}, which held rows of X out of the fit. Fit it "
            "with validation_fraction=0."
        )
    return estimator, X


def check_names(estimator: Any, X: Any) -> None:
    """Raise an error if X has other feature names than the fit, or in another order."""
    if hasattr(estimator, "feature_names_in_") and _get_feature_names(X) is not None:
        _check_feature_names(estimator, X, reset=False)


def penalty_parameters(estimator: Any) -> tuple[float, float]:
    """Return C, inf without a penalty, and l1_ratio, as given or as found by cross-validation."""
    given: Any = getattr(estimator, "C_", None)
    C = np.unique(estimator.C if given is None else given)
    given = getattr(estimator, "l1_ratio_", getattr(estimator, "l1_ratio", None))
    l1_ratios = {float(ratio or 0.0) for ratio in np.ravel(given)}
    if len(C) > 1 or len(l1_ratios) > 1:
        raise ParameterError(f"{type(estimator).__name__} has several C_: {C}; fit with one.")
    (l1_ratio,) = l1_ratios
    if isinstance(estimator.penalty, str):
        l1_ratio = {"l1": 1.0, "l2": 0.0}.get(estimator.penalty, l1_ratio)
    return (np.inf if estimator.penalty is None else float(C[0])), l1_ratio


def apply_class_weight(
    class_weight: Any, classes: np.ndarray, index: np.ndarray, weight: np.ndarray
) -> np.ndarray:
    """Multiply sample weights by class weights.

    Parameters
    ----------
    class_weight : dict, "balanced" or None
        Class weights; "balanced" uses the weighted class frequencies.
    classes : ndarray of shape (n_classes,)
        Class labels.
    index : ndarray of shape (n_samples,)
        Index into `classes` of the class of every row.
    weight : ndarray of shape (n_samples, m)
        Sample weights of m models.

    Returns
    -------
    weight : ndarray of shape (n_samples, m)
        Sample weights multiplied by class weights.
    """
    if class_weight is None:
        return weight
    if isinstance(class_weight, str):
        totals = np.stack([weight[index == k].sum(axis=0) for k in range(len(classes))])
        by_class = totals.sum(axis=0) / (len(classes) * np.where(totals > 0, totals, np.inf))
    else:
        by_class = np.array([[class_weight.get(label, 1.0)] for label in classes.tolist()])
    return weight * by_class[index]


def _check_supported(estimator: Any) -> None:
    """Raise a ParameterError for models without asymptotic standard errors."""
    name = type(estimator).__name__
    C, l1_ratio = penalty_parameters(estimator)
    if l1_ratio and np.isfinite(C):
        raise ParameterError(
            f"{name} has l1_ratio={l1_ratio!r}: coefficients that may be exactly zero have no "
            "normal distribution. Use bootstrap, or fit the chosen features again with "
            "C=float('inf') on other rows."
        )
    if hasattr(estimator.penalty, "of_features") or getattr(estimator, "bounds", None) is not None:
        raise ParameterError(
            f"{name} has penalty={estimator.penalty!r} and bounds="
            f"{getattr(estimator, 'bounds', None)!r}: at a bound, or a group of zeros, there is no "
            "normal distribution. Use bootstrap."
        )
    factor = getattr(estimator, "penalty_factor", None)
    if factor is not None and np.isinf(np.asarray(factor, dtype=np.float64)).any():
        raise ParameterError(
            "penalty_factor is inf for some features, which are not in the model; fit it again "
            "without their columns."
        )
    for parameter in ("soft_labels", "label_smoothing"):
        if getattr(estimator, parameter, False):
            raise ParameterError(
                f"{parameter}={getattr(estimator, parameter)!r} has no likelihood."
            )
