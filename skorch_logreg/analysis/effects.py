"""Average marginal effects of features, and influence of rows on a fit."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar

import numpy as np

from skorch_logreg.analysis.class_effects import class_effects
from skorch_logreg.analysis.convergence_messages import warn_not_converged
from skorch_logreg.analysis.covariance import inverse_hessian, quadratic_forms, without_information
from skorch_logreg.analysis.fitted_model import FittedModel, names_by_class
from skorch_logreg.analysis.normal import NormalEstimates, check_level
from skorch_logreg.analysis.ordered_effects import ordered_effects
from skorch_logreg.analysis.ordered_model import OrderedModel, is_ordered
from skorch_logreg.analysis.table import Table
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs.torch_context import with_default_modes
from skorch_logreg.pipelines import to_dense_numpy


@dataclass(frozen=True, repr=False)
class MarginalEffects(NormalEstimates):
    """Result of `marginal_effects`.

    Attributes
    ----------
    names : tuple of str
        Names of the features; ``"class: feature"`` with three classes or more.
    effect : ndarray of shape (n_features,)
        Average change of the probability of the second class, or of each of several classes.
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
    _head: ClassVar = "effect"


@with_default_modes
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

    With three classes or more, ordered or not, these are the effects on the probabilities of all
    classes, with names ``"class: feature"``.

    The effect of a feature j is the mean derivative of the probability over the rows, for two
    classes ``mean_i p_i (1 - p_i) w_j``. The effect of a discrete feature is the mean difference
    between the probabilities at 1 and at 0. Standard errors come from the delta method with the
    "model" covariance of `summary`.

    Parameters
    ----------
    estimator, X, y, sample_weight
        Fitted model and its training data, as in `summary`.
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
        If a discrete column does not exist or has other values, or level is not between 0 and 1.

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
    check_level(level)
    fit: FittedModel | OrderedModel
    if is_ordered(estimator):
        fit = OrderedModel.from_estimator(estimator, X, y, sample_weight)
    else:
        fit = FittedModel.from_estimator(estimator, X, y, sample_weight)
    names = fit.names[: fit.X.shape[1]]
    columns = _column_indices(discrete, names)
    for j in columns:
        _check_binary(fit, j)
    if isinstance(fit, OrderedModel):
        effects, jacobian = ordered_effects(fit, columns)
    else:
        effects, jacobian = class_effects(fit, columns)
    first = 1 if len(fit.classes) == 2 else 0
    jacobian = jacobian[first:].reshape(-1, jacobian.shape[-1])
    root = np.where(without_information(fit), 0.0, jacobian) @ inverse_hessian(fit)
    return MarginalEffects(
        names_by_class(names, fit.classes[first:], len(fit.classes)),
        effects[first:].ravel(),
        root @ fit.information @ root.T,
        level,
        warn_not_converged(fit),
    )


def _check_binary(fit: FittedModel | OrderedModel, j: int) -> None:
    """Raise an error if a column has other values than 0 and 1, in rows that count."""
    column = to_dense_numpy(fit.X[:, [j]])[fit.weight > 0, 0]
    if not np.isin(column, (0, 1)).all():
        raise ParameterError(
            f"discrete has column {fit.names[j]}, which holds values other than 0 and 1."
        )


def _column_indices(columns: Any, names: tuple[str, ...]) -> list[int]:
    """Return the indices of columns given by index, possibly negative, or by name."""
    indices, places = [], range(-len(names), len(names))
    for column in [columns] if isinstance(columns, str | Integral) else columns:
        if isinstance(column, str) and names.count(column) == 1:
            indices.append(names.index(column))
        elif isinstance(column, Integral) and not isinstance(column, bool) and column in places:
            indices.append(int(column) % len(names))
        else:
            known = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
            raise ParameterError(
                f"discrete has {column!r}, which is not a column: expected an index from 0 to "
                f"{len(names) - 1}, or a name of {known}."
            )
    return indices


@dataclass(frozen=True, repr=False)
class Influence(Table):
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

    def _index(self) -> range:
        return range(len(self.leverage))

    def _columns(self) -> dict[str, Any]:
        residuals = {"pearson": self.pearson, "deviance": self.deviance}
        return {"leverage": self.leverage, **residuals, "Cook's distance": self.cooks_distance}

    def _notes(self) -> list[str]:
        return [] if self.convergence_message is None else [self.convergence_message]


@with_default_modes
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
    fit = FittedModel.from_estimator(estimator, X, y, sample_weight, binary_function="influence")
    inverse = inverse_hessian(fit)  # B in x_i' B x_i
    spread = quadratic_forms(fit, inverse)
    leverage = fit.curvature[:, 0] * spread
    sign, margin = np.where(fit.index == 1, 1.0, -1.0), fit.margin
    with np.errstate(over="ignore", divide="ignore"):
        pearson = sign * np.sqrt(fit.weight) * np.exp(-margin / 2)
        cooks = (fit.weight * fit.residual[:, 0]) ** 2 * spread / (1 - leverage) ** 2
    deviance = sign * np.sqrt(2 * fit.weight * fit.loss())
    k = len(fit.names) - (not fit.fit_intercept)
    return Influence(leverage, pearson, deviance, cooks / k, warn_not_converged(fit))
