"""Variance inflation factors of coefficients."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skorch_logreg.analysis.inference_table import Inference
from skorch_logreg.analysis.table import Table, check_single_outcome
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.objective import SUM_RTOL


@dataclass(frozen=True, repr=False)
class VarianceInflation(Table):
    """Result of `variance_inflation`.

    Attributes
    ----------
    names : tuple of str
        Names of the features.
    factor : ndarray of shape (n_features,)
        Variance inflation factors, at least 1; inf for a linear combination of other features, and
        nan for a constant one.
    convergence_message : str or None
        Reason why the fit did not converge, as in `Inference`.
    """

    names: tuple[str, ...]
    factor: np.ndarray
    convergence_message: str | None = None

    def _columns(self) -> dict[str, Any]:
        return {"factor": self.factor}

    def _notes(self) -> list[str]:
        return [] if self.convergence_message is None else [self.convergence_message]


def variance_inflation(result: Inference) -> VarianceInflation:
    """Compute by how much correlation of the features inflates the variances of coefficients.

    The factor of a feature is ``1 / (1 - R^2)`` with the R^2 of the feature's regression on the
    others in which rows have their weights in the information, for two classes ``s p (1 - p)``. It
    is the diagonal entry of the inverse of the features' correlation matrix with these weights, and
    without a penalty that of the coefficients' correlation matrix. It does not depend on the
    `covariance` of the summary, and on a penalty only by the probabilities: with a penalty it
    measures how collinear the features are, not by how much variances are larger. Values above 5
    or 10 are called large.

    Parameters
    ----------
    result : Inference
        Result of `summary` for two classes or ordered ones.

    Returns
    -------
    inflation : VarianceInflation
        Factors of the features, as those of R's ``car::vif``.

    Raises
    ------
    ParameterError
        If there are three classes or more without an order.

    References
    ----------
    Davis, Hyde, Bangdiwala, Nelson (1986). An example of dependencies among variables in a
    conditional logistic regression, in: Modern Statistical Methods in Chronic Disease Epidemiology.
    Fox, Monette (1992). Generalized collinearity diagnostics, Journal of the American Statistical
    Association 87.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from skorch_logreg import TorchLogisticClassifier, summary, variance_inflation
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = TorchLogisticClassifier(C=float("inf")).fit(X[:, :3], y)
    >>> variance_inflation(summary(model, X[:, :3], y))
            factor
    x0       89.56
    x1       1.114
    x2       90.59
    """
    check_single_outcome(result=result)
    if result.information is None:
        raise ParameterError(
            f"variance_inflation is for two classes or ordered ones; the model has "
            f"{len(result.classes)}."
        )
    n_features = len(result.names) - result.n_intercepts
    factor = inflation_factors(np.asarray(result.information), n_features)
    return VarianceInflation(result.names[:n_features], factor, result.convergence_message)


def inflation_factors(information: np.ndarray, n_features: int) -> np.ndarray:
    """Compute the factors from the information of features, and of intercepts after them.

    The information of the features given the intercepts is, up to their scales, the correlation
    matrix. Its eigenvalues up to the rounding of sums are zero.
    """
    own, cross = information[:n_features, :n_features], information[:n_features, n_features:]
    inverse = np.linalg.pinv(information[n_features:, n_features:], hermitian=True)
    rest = own - cross @ inverse @ cross.T
    varies = np.diag(rest) > SUM_RTOL * np.diag(own)
    rest = rest[np.ix_(varies, varies)]
    deviation = np.sqrt(np.diag(rest))
    values, vectors = np.linalg.eigh(rest / np.outer(deviation, deviation))
    is_zero = values <= SUM_RTOL * values.max(initial=0.0)
    is_collinear = (vectors[:, is_zero] ** 2).sum(axis=1) > SUM_RTOL  # in one of their combinations
    finite = (vectors[:, ~is_zero] ** 2 / values[~is_zero]).sum(axis=1)
    factor = np.full(n_features, np.nan)
    factor[varies] = np.where(is_collinear, np.inf, finite)
    return factor
