"""What a feature does to the probability, and what a row does to the model."""

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
    """Average changes of the probability, with what they may be off.

    Attributes
    ----------
    names : tuple of str
    effect, standard_error, z, p_value : ndarray of shape (n_features,)
    interval : ndarray of shape (n_features, 2)
    covariance : ndarray of shape (n_features, n_features)
    level : float
        Of the intervals.
    convergence_message : str or None
        As in `Inference`.
    """

    names: tuple[str, ...]
    effect: np.ndarray
    covariance: np.ndarray
    level: float
    convergence_message: str | None = None

    @property
    def estimate(self) -> np.ndarray:
        """Return the effects."""
        return self.effect

    @property
    def standard_error(self) -> np.ndarray:
        """Square roots of their variances, by the delta method."""
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
    """Average over the rows what a feature does to the probability of the second class.

    Of a feature j that is ``mean_i p_i (1 - p_i) w_j``, its derivative; of a discrete one what
    the probability gains from 0 to 1.  Standard errors are by the delta method from the
    covariance "model" of `summary`.

    Parameters
    ----------
    estimator, X, y, sample_weight
        As `summary` takes them; two classes.
    discrete : sequence of int or str, default=()
        Columns that are 0 or 1, by place or name.
    level : float, default=0.95
        Of the intervals.

    Returns
    -------
    effects : MarginalEffects

    Raises
    ------
    ParameterError
        If there are more than two classes, or a discrete column does not exist or has other
        values.

    Warns
    -----
    ConvergenceWarning
        As `summary`.

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
    drift = np.append(
        np.asarray(fit.X.T @ (row_share * slope_derivative)).ravel(), row_share @ slope_derivative
    )
    jacobian += np.outer(coef, drift)
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
            moved = np.asarray(fit.X.T @ own).ravel()
            moved[j] = own.sum() * value
            jacobian[j] += sign * np.append(moved, own.sum())
    covariance = jacobian @ spread @ jacobian.T
    warn_not_converged(fit.convergence_message)
    return MarginalEffects(fit.names[:-1], effect, covariance, level, fit.convergence_message)


def _column_indices(columns: Any, names: tuple[str, ...]) -> list[int]:
    """Places of columns that are given by place, from the end if negative, or by name."""
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
    """How much every row holds the model where it is.

    Attributes
    ----------
    leverage : ndarray of shape (n_samples,)
        ``h_i = s_i p_i (1 - p_i) x_i' B x_i``: they sum to the parameters, or under a ridge to
        the effective ones.
    pearson, deviance : ndarray of shape (n_samples,)
        Residuals.
    cooks_distance : ndarray of shape (n_samples,)
        ``pearson^2 h / (1 - h)^2 / k``, which is ``d' (I + P) d / k`` with the change d of the
        coefficients by one Newton step without the row.
    convergence_message : str or None
        As in `Inference`.
    """

    leverage: np.ndarray
    pearson: np.ndarray
    deviance: np.ndarray
    cooks_distance: np.ndarray
    convergence_message: str | None = None


def influence(estimator: Any, X: Any, y: Any, *, sample_weight: Any = None) -> Influence:
    """Find the rows that a fit of two classes leans on.

    Parameters
    ----------
    estimator, X, y, sample_weight
        As `summary` takes them; two classes.

    Returns
    -------
    influence : Influence

    Raises
    ------
    ParameterError
        If there are more than two classes.

    Warns
    -----
    ConvergenceWarning
        As `summary`.

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
    # log-probabilities of a row's own class and the other, exact where one rounds to 1
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
    """Give the intercept that is not there a variance, which meets columns of zero."""
    if fit_intercept:
        return matrix
    matrix = matrix.copy()
    matrix[-1, -1] = 1.0
    return matrix


def _fit_two_classes(
    estimator: Any, X: Any, y: Any, sample_weight: Any, function: str
) -> FittedModel:
    fit = FittedModel.from_estimator(estimator, X, y, sample_weight)
    if fit.n_outputs > 1:
        raise ParameterError(f"{function} is for two classes; the model has {len(fit.classes)}.")
    return fit
