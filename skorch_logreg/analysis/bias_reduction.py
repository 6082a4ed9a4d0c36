"""Firth's bias reduction: finite estimates for few rows, rare classes and separable data."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy import linalg, stats
from sklearn.utils import check_array, check_consistent_length, column_or_1d
from sklearn.utils.validation import _check_sample_weight, _get_feature_names

from skorch_logreg.analysis.profile import Likelihood, maximise, profile_interval, profiled
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs import to_numpy

__all__ = ["FirthFit", "firth"]


@dataclass(frozen=True)
class FirthFit:
    """A fit of `firth`; the intercept is the last.

    Attributes
    ----------
    names : tuple of str
    coef : ndarray of shape (n_params,)
    standard_error : ndarray of shape (n_params,)
        Square roots of the diagonal of the inverse information, as logistf has them.
    interval : ndarray of shape (n_params, 2)
        Of the profile of the penalised likelihood, or by the normal distribution.
    statistic, p_value : ndarray of shape (n_params,)
        Twice what the penalised log-likelihood loses without the parameter, and the probability
        of more under chi-squared with one degree; or z squared.
    log_likelihood : float
        Penalised: ``log L + log det(I) / 2``.
    classes : ndarray of shape (2,)
    """

    names: tuple[str, ...]
    coef: np.ndarray
    standard_error: np.ndarray
    interval: np.ndarray
    statistic: np.ndarray
    p_value: np.ndarray
    log_likelihood: float
    classes: np.ndarray


@dataclass(frozen=True)
class _Jeffreys(Likelihood):
    """Log-likelihood plus half the log-determinant of the information."""

    def value(self, theta: np.ndarray) -> float:
        """Penalised log-likelihood."""
        try:
            _, factor = self._factored(theta)
        except linalg.LinAlgError:  # so far away that probabilities are 0 and 1
            return -np.inf
        return super().value(theta) + float(np.log(np.diag(factor)).sum())

    def score(self, theta: np.ndarray) -> np.ndarray:
        """``Z' (s (y - p) + h (1/2 - p))`` with the leverages h."""
        p, factor = self._factored(theta)
        root = np.sqrt(self.weight * p * (1 - p))
        half = linalg.solve_triangular(factor, (self.Z * root[:, None]).T, lower=True)
        leverage = (half**2).sum(axis=0)
        return self.Z.T @ (self.weight * (self.y - p) + leverage * (0.5 - p))

    def _factored(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.proba(theta), linalg.cholesky(self.information(theta), lower=True)


def firth(
    X: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    fit_intercept: bool = True,
    level: float = 0.95,
    intervals: str = "profile",
) -> FirthFit:
    """Fit two classes by penalised likelihood, with Jeffreys' prior as the penalty.

    It maximises ``log L + log det(I) / 2``, which takes the bias of first order out of the
    estimates and is finite on separable data.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Becomes dense.
    y : array-like of shape (n_samples,)
        Labels of two classes; coefficients are of the second.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        How often every row counts.
    fit_intercept : bool, default=True
    level : float, default=0.95
        Of the intervals.
    intervals : {"profile", "wald"}, default="profile"
        Where the likelihood is not symmetric, as on separable data, the profile is right.

    Returns
    -------
    fit : FirthFit

    Raises
    ------
    ParameterError
        If there are not two classes, or a parameter is not allowed.
    ValueError
        If the columns are collinear.

    Notes
    -----
    This penalty depends on the rows, so it is no ``penalty=`` of an estimator; it takes some
    Newton steps of ``n p^2``, and a profile as many for every end of an interval.

    References
    ----------
    Firth (1993). Bias reduction of maximum likelihood estimates, Biometrika 80, section 3.3.
    Heinze, Schemper (2002). A solution to the problem of separation in logistic regression,
    Statistics in Medicine 21.

    Examples
    --------
    A table of two by two has the odds ratio of its cells, each with a half more:

    >>> import numpy as np
    >>> from skorch_logreg import firth
    >>> fit = firth([[0], [0], [1], [1]], [0, 1, 0, 1], sample_weight=[10, 5, 0, 8])
    >>> float(np.exp(fit.coef[0]).round(9)), round(8.5 * 10.5 / (0.5 * 5.5), 9)
    (32.454545455, 32.454545455)
    """
    if intervals not in ("profile", "wald"):
        raise ParameterError(f"intervals={intervals!r}; expected 'profile' or 'wald'.")
    if not 0 < level < 1:
        raise ParameterError(f"level={level!r}; it must lie between 0 and 1.")
    names = _get_feature_names(X)
    X, y, sample_weight = map(to_numpy, (X, y, sample_weight))
    X = check_array(X, accept_sparse="csr", dtype=np.float64)
    X = X.toarray() if sp.issparse(X) else X
    y = column_or_1d(y)
    check_consistent_length(X, y)
    classes = np.unique(y)
    if len(classes) != 2:
        raise ParameterError(f"y holds {len(classes)} classes; firth is for two.")
    weight = np.ones(len(y))
    if sample_weight is not None:
        weight = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
    names = [f"x{j}" for j in range(X.shape[1])] if names is None else list(names)
    likelihood = _Jeffreys.of(X, (y == classes[1]).astype(float), weight, fit_intercept)
    try:
        theta = maximise(likelihood, np.zeros(likelihood.Z.shape[1]))
    except linalg.LinAlgError as failure:
        raise ValueError("The columns of X are collinear or constant; leave one out.") from failure
    outward = likelihood.outward()
    covariance = outward @ linalg.inv(likelihood.information(theta)) @ outward.T
    coef, error = outward @ theta, np.sqrt(np.diag(covariance))
    quantile, best = float(stats.norm.ppf((1 + level) / 2)), likelihood.value(theta)
    if intervals == "wald":
        interval = np.column_stack([coef - quantile * error, coef + quantile * error])
        statistic = (coef / error) ** 2
    else:
        ends = [profile_interval(likelihood, coef, error[j], j, quantile) for j in range(len(coef))]
        interval = np.array(ends)
        without = [_without(likelihood, coef, j) for j in range(len(coef))]
        statistic = 2 * (best - np.array(without))
    return FirthFit(
        names=(*map(str, names), *(["intercept"] if fit_intercept else [])),
        coef=coef,
        standard_error=error,
        interval=interval,
        statistic=statistic,
        p_value=stats.chi2.sf(statistic, 1),
        log_likelihood=best + float(np.log(likelihood.scale).sum()),
        classes=classes,
    )


def _without(likelihood: Likelihood, coef: np.ndarray, place: int) -> float:
    """Highest value where a parameter is zero."""
    if place == len(likelihood.scale):
        likelihood = likelihood.around_zero()
    theta = np.linalg.solve(likelihood.outward(), coef)
    return profiled(likelihood, theta, place, 0.0)[0]
