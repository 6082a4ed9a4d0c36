"""Firth's bias reduction: finite estimates for few rows, rare classes and separable data."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy import linalg, stats
from sklearn.utils import check_array, check_consistent_length, column_or_1d, gen_batches
from sklearn.utils.validation import _check_sample_weight, _get_feature_names

from skorch_logreg.analysis.likelihood import (
    HigherMaximumError,
    Likelihood,
    NoMaximumError,
    damped_cholesky,
    maximise,
)
from skorch_logreg.analysis.profile import Profile
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs import to_numpy

__all__ = ["FirthFit", "firth"]

_MAX_STARTS = 20  # one is usual, and two where few rows are separable
_BLOCK_ENTRIES = 1 << 20  # of products of some rows at a time


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
class _JeffreysLikelihood(Likelihood):
    """Log-likelihood plus half the log-determinant of the information."""

    def value(self, theta: np.ndarray) -> float:
        """Penalised log-likelihood; it has no bound where the information is singular."""
        diagonal = np.abs(np.diag(np.linalg.qr(self._information_root(theta), mode="r")))
        if not (diagonal > 0).all():
            return -np.inf
        return super().value(theta) + float(np.log(diagonal).sum())

    def score(self, theta: np.ndarray) -> np.ndarray:
        """``Z' (s (y - p) + h (1/2 - p))`` with the leverages h."""
        leverage = (self._orthogonal_factor(theta) ** 2).sum(axis=1)
        return super().score(theta) - self.Z.T @ (leverage * self._centered_proba(theta) / 2)

    def hessian_cholesky(self, theta: np.ndarray, basis: np.ndarray) -> np.ndarray:
        """Factor the negative Hessian, or where it is indefinite that of leverages held fixed.

        With the rows ``u_i`` of the orthogonal factor of the information's square root and
        ``M = sum_i (2 p_i - 1) z_i (u_i x u_i)'``, half the log-determinant has the second
        derivatives ``sum_i h_i (1 - 6 p_i (1 - p_i)) z_i z_i' / 2 - M M' / 2``.
        """
        rows, centered_proba = self._orthogonal_factor(theta), self._centered_proba(theta)
        own, leverage = super().curvature(theta), (rows**2).sum(axis=1)
        design = self.Z @ basis
        spread = (1 - centered_proba**2) / 4  # p (1 - p)
        mixed = _sum_outer_products(design * centered_proba[:, None], rows)
        hessian = (design * (own - leverage * (0.5 - 3 * spread))[:, None]).T @ design
        try:
            return linalg.cholesky(hessian + mixed @ mixed.T / 2)
        except linalg.LinAlgError:
            return damped_cholesky(np.sqrt(own + leverage * spread)[:, None] * design)

    def _centered_proba(self, theta: np.ndarray) -> np.ndarray:
        """``2 p - 1``."""
        return np.tanh(self.Z @ theta / 2)

    def _information_root(self, theta: np.ndarray) -> np.ndarray:
        """Square root of the information, (n_samples, n_params)."""
        return np.sqrt(super().curvature(theta))[:, None] * self.Z

    def _orthogonal_factor(self, theta: np.ndarray) -> np.ndarray:
        return np.linalg.qr(self._information_root(theta), mode="reduced").Q


def _fit_profiles(
    likelihood: Likelihood, quantile: float, intervals: str
) -> tuple[list[Profile], np.ndarray, np.ndarray]:
    """Maximise from zero, and profile; where a profile finds a higher maximum, begin there."""
    theta = np.zeros(likelihood.Z.shape[1])
    for _ in range(_MAX_STARTS):
        theta = maximise(likelihood, theta, np.eye(len(theta)))
        covariance = likelihood.covariance(theta)
        profiles = [Profile.at_maximum(likelihood, theta, covariance, j) for j in range(len(theta))]
        if intervals == "wald":
            coef, error = np.array([(profile.estimate, profile.error) for profile in profiles]).T
            ends = np.column_stack([coef - quantile * error, coef + quantile * error])
            return profiles, ends, (coef / error) ** 2
        try:
            ends = np.array([profile.interval(quantile) for profile in profiles])
            statistic = np.array([profile.deviance_at(0.0) for profile in profiles])
        except HigherMaximumError as higher:
            theta = higher.theta
        else:
            return profiles, ends, statistic
    raise NoMaximumError(f"of {_MAX_STARTS} maxima each was above the last.")


def _sum_outer_products(design: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Sum ``z_i (u_i x u_i)'`` over rows, with each pair of entries of u once."""
    i, j = np.triu_indices(rows.shape[1])
    total = np.zeros((design.shape[1], len(i)))
    for part in gen_batches(len(rows), max(_BLOCK_ENTRIES // len(i), 1)):
        total += design[part].T @ (rows[part][:, i] * rows[part][:, j])
    return total * np.where(i == j, 1.0, np.sqrt(2.0))


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
        If columns are collinear, or the maximum or an end of an interval was not reached.

    Notes
    -----
    This penalty depends on the rows, so it is no ``penalty=`` of an estimator; it takes some
    Newton steps of ``n p^3``, and a profile as many for every end of an interval.

    On separable rows the penalised likelihood may have several maxima.  Maximisation begins at
    zero; where a profile reaches a higher maximum, it begins there again ("wald" has no profile).
    The profiles may have several as well: an end is that of the maximum that is reached from the
    estimate, as in logistf; one that another maximum would have may be farther away.

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
    if fit_intercept:
        names.append("intercept")
    names = list(map(str, names))
    likelihood = _JeffreysLikelihood.from_data(X, y == classes[1], weight, names, fit_intercept)
    quantile = float(stats.norm.ppf((1 + level) / 2))
    try:
        profiles, interval, statistic = _fit_profiles(likelihood, quantile, intervals)
    except NoMaximumError as failure:
        raise ValueError(f"The penalised likelihood was not maximised: {failure}") from failure
    return FirthFit(
        names=tuple(names),
        coef=np.array([profile.estimate for profile in profiles]),
        standard_error=np.array([profile.error for profile in profiles]),
        interval=interval,
        statistic=statistic,
        p_value=stats.chi2.sf(statistic, 1),
        log_likelihood=profiles[0].value - float(np.linalg.slogdet(likelihood.to_coef)[1]),
        classes=classes,
    )
