"""Average marginal effects of features, and influence of rows on a fit."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy import linalg
from scipy.special import expit, log_expit

from skorch_logreg.analysis.convergence_messages import warn_not_converged
from skorch_logreg.analysis.fitted_model import FittedModel
from skorch_logreg.analysis.inference import inverse_hessian
from skorch_logreg.analysis.normal import NormalEstimates
from skorch_logreg.exceptions import ParameterError

__all__ = ["Influence", "MarginalEffects", "influence", "marginal_effects"]


@dataclass(frozen=True)
class MarginalEffects(NormalEstimates):
    """Result of `marginal_effects`.

    Attributes
    ----------
    names : tuple of str
        Names of the features.
    effect : ndarray of shape (n_features,)
        Average change of the probability of the second class.
    standard_error, z, p_value : ndarray of shape (n_features,)
        Standard error of the effect, their ratio and its two-sided p-value.
    interval : ndarray of shape (n_features, 2)
        Lower and upper confidence limits.
    covariance : ndarray of shape (n_features, n_features)
        Covariance matrix of the effects.
    level : float
        Confidence level of the intervals.
    convergence_message : str or None
        Reason why the fit did not converge, as in `Inference`.
    """

    names: tuple[str, ...]
    effect: np.ndarray
    covariance: np.ndarray
    level: float
    convergence_message: str | None = None

    @property
    def estimate(self) -> np.ndarray:
        """Average effects, of shape (n_features,)."""
        return self.effect

    @property
    def standard_error(self) -> np.ndarray:
        """Standard errors by the delta method, of shape (n_features,)."""
        return np.sqrt(np.diag(self.covariance))


def marginal_effects(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    discrete: Sequence[int | str] = (),
    level: float = 0.95,
) -> MarginalEffects:
    """Compute average marginal effects of features on the probability of the second class.

    The effect of a feature j is the mean derivative of the probability over the rows,
    ``mean_i p_i (1 - p_i) w_j``. The effect of a discrete feature is the mean difference between
    the probabilities at 1 and at 0. Standard errors come from the delta method with the "model"
    covariance of `summary`.

    Parameters
    ----------
    estimator, X, y, sample_weight
        Fitted model of two classes and its training data, as in `summary`.
    discrete : sequence of int or str, default=()
        Indices or names of the columns whose values are 0 or 1.
    level : float, default=0.95
        Confidence level of the intervals.

    Returns
    -------
    effects : MarginalEffects
        Effects, standard errors and intervals.

    Raises
    ------
    ParameterError
        If there are more than two classes, or a discrete column does not exist or has other
        values.

    Warns
    -----
    ConvergenceWarning
        In the same cases as `summary`.

    References
    ----------
    Greene (2012). Econometric Analysis, section 17.3.2.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from skorch_logreg import TorchLogisticClassifier
    >>> from skorch_logreg.analysis import marginal_effects
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = TorchLogisticClassifier(C=float("inf")).fit(X[:, :2], y)
    >>> marginal_effects(model, X[:, :2], y).effect.round(3)
    array([-0.083, -0.017])
    """
    fit = _fit_two_classes(estimator, X, y, sample_weight, "marginal_effects")
    information = fit.information()
    bread = inverse_hessian(fit, information)
    spread = fit.to_original_units @ bread @ information @ bread @ fit.to_original_units.T
    row_share, p = fit.weight / fit.n_samples, fit.proba[:, 0]
    slope = p * (1 - p)
    slope_derivative = slope * (1 - 2 * p)
    coef, n_features = fit.params[0, :-1], fit.X.shape[1]
    effect = coef * (row_share @ slope)
    jacobian = np.zeros((n_features, n_features + 1))
    jacobian[:, :-1] = np.eye(n_features) * (row_share @ slope)
    slope_gradient = np.append(
        np.asarray(fit.X.T @ (row_share * slope_derivative)).ravel(), row_share @ slope_derivative
    )
    jacobian += np.outer(coef, slope_gradient)
    for j in _column_indices(discrete, fit.names[:-1]):
        column = fit.X[:, [j]].toarray()[:, 0] if sp.issparse(fit.X) else fit.X[:, j]
        if not np.isin(column, (0, 1)).all():
            raise ParameterError(
                f"discrete has column {fit.names[j]}, which holds values other than 0 and 1."
            )
        others = np.asarray(fit.X @ coef).ravel() + fit.params[0, -1] - column * coef[j]
        effect[j], jacobian[j] = 0.0, 0.0
        for value, sign in ((1.0, 1.0), (0.0, -1.0)):
            q = expit(others + value * coef[j])
            own = row_share * q * (1 - q)
            effect[j] += sign * (row_share @ q)
            gradient = np.asarray(fit.X.T @ own).ravel()
            gradient[j] = own.sum() * value
            jacobian[j] += sign * np.append(gradient, own.sum())
    covariance = jacobian @ spread @ jacobian.T
    warn_not_converged(fit.convergence_message)
    return MarginalEffects(fit.names[:-1], effect, covariance, level, fit.convergence_message)


def _column_indices(columns: Any, names: tuple[str, ...]) -> list[int]:
    """Return the indices of columns given by index, possibly negative, or by name."""
    indices = []
    for column in [columns] if isinstance(columns, str | Integral) else columns:
        if isinstance(column, str) and names.count(column) == 1:
            indices.append(names.index(column))
        elif (
            isinstance(column, Integral)
            and not isinstance(column, bool)
            and -len(names) <= int(column) < len(names)
        ):
            indices.append(int(column) % len(names))
        else:
            known = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
            raise ParameterError(
                f"discrete has {column!r}, which is no column: expected a place from 0 to "
                f"{len(names) - 1}, or a name of {known}."
            )
    return indices


@dataclass(frozen=True)
class Influence:
    """Result of `influence`.

    Attributes
    ----------
    leverage : ndarray of shape (n_samples,)
        Leverages ``h_i = s_i p_i (1 - p_i) x_i' B x_i``. They sum to the number of parameters, or
        with a ridge penalty to the effective number of parameters.
    pearson, deviance : ndarray of shape (n_samples,)
        Pearson and deviance residuals.
    cooks_distance : ndarray of shape (n_samples,)
        Cook's distances ``pearson^2 h / (1 - h)^2 / k``. This is ``d' (I + P) d / k``, where d is
        the change of the coefficients in one Newton step without the row.
    convergence_message : str or None
        Reason why the fit did not converge, as in `Inference`.
    """

    leverage: np.ndarray
    pearson: np.ndarray
    deviance: np.ndarray
    cooks_distance: np.ndarray
    convergence_message: str | None = None


def influence(estimator: Any, X: Any, y: Any, *, sample_weight: Any = None) -> Influence:
    """Compute leverages, residuals and Cook's distances of the rows of a binary fit.

    Parameters
    ----------
    estimator, X, y, sample_weight
        Fitted model of two classes and its training data, as in `summary`.

    Returns
    -------
    influence : Influence
        Leverages, residuals and Cook's distances.

    Raises
    ------
    ParameterError
        If there are more than two classes.

    Warns
    -----
    ConvergenceWarning
        In the same cases as `summary`.

    References
    ----------
    Pregibon (1981). Logistic regression diagnostics, Annals of Statistics 9.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from skorch_logreg import TorchLogisticClassifier
    >>> from skorch_logreg.analysis import influence
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = TorchLogisticClassifier(C=float("inf")).fit(X[:, :2], y)
    >>> float(influence(model, X[:, :2], y).leverage.sum().round(6))
    3.0
    """
    fit = _fit_two_classes(estimator, X, y, sample_weight, "influence")
    half = linalg.cholesky(
        _with_intercept_variance(inverse_hessian(fit, fit.information()), fit.fit_intercept),
        lower=True,
    )
    sign = np.where(fit.index == 1, 1.0, -1.0)
    # log-probabilities of the true class and of the other one, accurate where one rounds to 1
    margin = sign * (fit.logits[:, 1] - fit.logits[:, 0])
    own, other = log_expit(margin), log_expit(-margin)
    spread = np.empty(len(sign))  # x_i' B x_i
    for rows, Z in fit.standardized_blocks():
        spread[rows] = ((Z @ half) ** 2).sum(axis=1)
    leverage = fit.weight * np.exp(own + other) * spread
    k = len(fit.names) - (not fit.fit_intercept)
    with np.errstate(over="ignore", divide="ignore"):
        pearson = sign * np.sqrt(fit.weight) * np.exp(-margin / 2)
        cooks = (fit.weight * np.exp(other)) ** 2 * spread / (1 - leverage) ** 2 / k
    deviance = sign * np.sqrt(-2 * fit.weight * own)
    warn_not_converged(fit.convergence_message)
    return Influence(leverage, pearson, deviance, cooks, fit.convergence_message)


def _with_intercept_variance(matrix: np.ndarray, fit_intercept: bool) -> np.ndarray:
    """Give an absent intercept unit variance, so that the matrix is positive definite.

    The column of an absent intercept is zero, so that the variance has no effect.
    """
    if fit_intercept:
        return matrix
    matrix = matrix.copy()
    matrix[-1, -1] = 1.0
    return matrix


def _fit_two_classes(
    estimator: Any, X: Any, y: Any, sample_weight: Any, function: str
) -> FittedModel:
    """Return the fitted model; raise a ParameterError if it has more than two classes."""
    fit = FittedModel.from_estimator(estimator, X, y, sample_weight)
    if fit.n_outputs > 1:
        raise ParameterError(f"{function} is for two classes; the model has {len(fit.classes)}.")
    return fit
