"""Variance inflation factors of coefficients."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skorch_logreg.analysis.inference_table import Inference
from skorch_logreg.analysis.table import Table, check_single_outcome
from skorch_logreg.exceptions import ParameterError


@dataclass(frozen=True, repr=False)
class VarianceInflation(Table):
    """Result of `variance_inflation`.

    Attributes
    ----------
    names : tuple of str
        Names of the features.
    factor : ndarray of shape (n_features,)
        Variance inflation factors, at least 1.
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

    The factor of a feature is the diagonal entry of the inverse of the correlation matrix of the
    coefficients, ``1 / (1 - R^2)`` with the R^2 of the feature's regression on the others in which
    rows have the weights of the fit. Values above 5 or 10 are called large.

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
    if len(result.classes) > 2 and not result.is_ordered:
        raise ParameterError(
            f"variance_inflation is for two classes or ordered ones; the model has "
            f"{len(result.classes)}."
        )
    n_features = len(result.names) - result.n_intercepts
    covariance = result.covariance[:n_features, :n_features]
    error = np.sqrt(np.diag(covariance))
    factor = np.diag(np.linalg.inv(covariance / np.outer(error, error)))
    return VarianceInflation(result.names[:n_features], factor, result.convergence_message)
