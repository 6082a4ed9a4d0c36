"""Confidence intervals of predicted probabilities."""

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from scipy.special import expit, logsumexp
from sklearn.utils import check_array, gen_batches

from skorch_logreg.analysis.convergence_messages import warn_not_converged
from skorch_logreg.analysis.covariance import estimated_covariance
from skorch_logreg.analysis.fitted_model import FittedModel, check_names
from skorch_logreg.analysis.inference import check_options
from skorch_logreg.analysis.normal import normal_interval, percentage
from skorch_logreg.analysis.table import Table
from skorch_logreg.data.tensors import PIECE_ENTRIES
from skorch_logreg.inputs.arrays import to_numpy
from skorch_logreg.inputs.torch_context import with_default_modes
from skorch_logreg.pipelines import transform_before_last


@dataclass(frozen=True, repr=False)
class PredictionIntervals(Table):
    """Result of `prediction_intervals`.

    Attributes
    ----------
    probability : ndarray of shape (n_samples, n_shown)
        Probabilities of the classes that are shown: the second of two, or all of several.
    standard_error : ndarray of shape (n_samples, n_shown)
        Their standard errors.
    interval : ndarray of shape (n_samples, n_shown, 2)
        Lower and upper confidence limits, between 0 and 1.
    classes : ndarray of shape (n_shown,)
        Classes that are shown.
    level : float
        Confidence level of the intervals.
    convergence_message : str or None
        Reason why the fit did not converge, as in `Inference`.
    """

    probability: np.ndarray
    standard_error: np.ndarray
    interval: np.ndarray
    classes: np.ndarray
    level: float
    convergence_message: str | None = None

    def _index(self) -> Any:
        rows = range(len(self.probability))
        return rows if len(self.classes) == 1 else list(product(rows, self.classes.tolist()))

    def _columns(self) -> dict[str, Any]:
        lower, upper = np.moveaxis(self.interval, -1, 0)
        columns = {"probability": self.probability, "std err": self.standard_error}
        columns |= {"lower": lower, "upper": upper}
        return {head: values.ravel() for head, values in columns.items()}

    def _notes(self) -> list[str]:
        message = self.convergence_message
        of = f" of class {self.classes[0]}" if len(self.classes) == 1 else ""
        notes = [f"intervals of {percentage(self.level)} for the probabilities{of}"]
        return notes if message is None else [*notes, message]


@with_default_modes
def prediction_intervals(
    estimator: Any,
    X: Any,
    y: Any,
    X_new: Any,
    *,
    sample_weight: Any = None,
    covariance: str = "model",
    groups: Any = None,
    level: float = 0.95,
) -> PredictionIntervals:
    """Compute confidence intervals of the predicted probabilities of rows.

    The log-odds of a class, ``log(p / (1 - p))``, have the variance that the delta method gives
    with the covariance of the coefficients; their limits are mapped to probabilities. The intervals
    are of the probability, not of the class of a row.

    Parameters
    ----------
    estimator, X, y, sample_weight, covariance, groups
        Fitted model of two classes or more, and its training data, as in `summary`.
    X_new : {array-like, sparse matrix} of shape (n_new, n_features)
        Rows to predict.
    level : float, default=0.95
        Confidence level of the intervals.

    Returns
    -------
    intervals : PredictionIntervals
        Probabilities, standard errors and limits.

    Raises
    ------
    ParameterError
        As in `summary`; also for ordered classes.
    ValueError
        If X_new has another number of features, or as in `summary`.

    Warns
    -----
    ConvergenceWarning
        In the same cases as `summary`.

    References
    ----------
    Agresti (2013). Categorical Data Analysis, section 5.1.7.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from skorch_logreg import TorchLogisticClassifier, prediction_intervals
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = TorchLogisticClassifier(C=float("inf")).fit(X[:, :2], y)
    >>> prediction_intervals(model, X[:, :2], y, [[14, 20], [12, 20]])
       probability     std err       lower       upper
    0       0.6653     0.03344       0.597      0.7274
    1       0.9427     0.01411      0.9079      0.9649
    intervals of 95% for the probabilities of class 1
    """
    check_options(covariance, groups, level, "frequency")
    fit = FittedModel.from_estimator(estimator, X, y, sample_weight)
    rows = transform_before_last(estimator, to_numpy(X_new))
    check_names(fit.estimator, rows)
    rows = check_array(rows, accept_sparse="csr", dtype=np.float64)
    n_outputs, side = fit.params.shape
    if rows.shape[1] != side - 1:
        raise ValueError(f"X_new has {rows.shape[1]} features, but the model has {side - 1}.")
    spread, _, _ = estimated_covariance(fit, covariance, groups, is_frequency=True)
    spread = spread.reshape(n_outputs, side, n_outputs, side)
    log_odds, variance = [], []
    for some in gen_batches(rows.shape[0], max(PIECE_ENTRIES // (n_outputs * fit.params.size), 1)):
        Z = fit.standardise(rows[some])
        logits = Z @ fit.point.params[0].numpy().T
        between = np.einsum("iq,jqls,is->ijl", Z, spread, Z, optimize=True)
        if n_outputs == 1:
            log_odds.append(logits)
            variance.append(between[:, 0])
            continue
        log_proba = fit.objective.loss.log_proba(torch.from_numpy(logits)).numpy()
        others = np.where(np.eye(n_outputs, dtype=bool), -np.inf, log_proba[:, None])
        log_others = logsumexp(others, axis=2)
        log_odds.append(log_proba - log_others)
        gradient = np.eye(n_outputs) - np.exp(others - log_others[..., None])  # in the logits
        variance.append(np.einsum("ikj,ijl,ikl->ik", gradient, between, gradient, optimize=True))
    center, error = np.concatenate(log_odds), np.sqrt(np.concatenate(variance))
    probability = expit(center)
    return PredictionIntervals(
        probability=probability,
        standard_error=probability * expit(-center) * error,
        interval=expit(normal_interval(center, error, level)),
        classes=fit.classes[1:] if n_outputs == 1 else fit.classes,
        level=level,
        convergence_message=warn_not_converged(fit),
    )
