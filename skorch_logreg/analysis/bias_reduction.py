"""Firth's bias-reduced logistic regression, which is finite on separable data."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg, stats

from skorch_logreg.analysis.likelihood import (
    HigherMaximumError,
    Likelihood,
    NoMaximumError,
    damped_cholesky,
)
from skorch_logreg.analysis.normal import check_level, normal_interval, normal_quantile
from skorch_logreg.analysis.profile import Profile, maximum_profiles
from skorch_logreg.analysis.table import Table
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs.arrays import to_numpy
from skorch_logreg.inputs.validate import validate
from skorch_logreg.pipelines import parameter_names, to_dense_numpy


@dataclass(frozen=True, repr=False)
class FirthFit(Table):
    """Result of `firth`.

    Attributes
    ----------
    names : tuple of str
        Names of the parameters; the intercept is the last one.
    coef : ndarray of shape (n_params,)
        Estimated coefficients and intercept.
    standard_error : ndarray of shape (n_params,)
        Square roots of the diagonal of the inverse information, as in R's logistf.
    interval : ndarray of shape (n_params, 2)
        Lower and upper confidence limits, from the profile of the penalised likelihood or from
        the normal distribution.
    statistic : ndarray of shape (n_params,)
        Twice the decrease of the penalised log-likelihood when the parameter is set to zero, or
        the squared Wald statistic.
    p_value : ndarray of shape (n_params,)
        Tail probability of `statistic` under the chi-squared distribution with one degree of
        freedom.
    log_likelihood : float
        Penalised log-likelihood, ``log L + log det(I) / 2``.
    classes : ndarray of shape (2,)
        Class labels; coefficients refer to the second one.
    level : float
        Confidence level of the intervals.
    """

    names: tuple[str, ...]
    coef: np.ndarray
    standard_error: np.ndarray
    interval: np.ndarray
    statistic: np.ndarray
    p_value: np.ndarray
    log_likelihood: float
    classes: np.ndarray
    level: float

    def _columns(self) -> dict[str, Any]:
        lower, upper = self.interval.T
        columns = {"coef": self.coef, "std err": self.standard_error, "lower": lower}
        return {**columns, "upper": upper, "chi2": self.statistic, "p": self.p_value}

    def _notes(self) -> list[str]:
        return [
            f"penalised log-likelihood {self.log_likelihood:.6g}; coefficients of class "
            f"{self.classes[1]}; intervals of {self.level:.0%}"
        ]


@dataclass(frozen=True)
class _JeffreysLikelihood(Likelihood):
    """Log-likelihood with Jeffreys' prior, ``log L + log det(I) / 2``."""

    def value(self, theta: np.ndarray) -> float:
        """Compute the penalised log-likelihood, -inf where the information is singular."""
        diagonal = np.abs(np.diag(np.linalg.qr(self.information_root(theta), mode="r")))
        if not (diagonal > 0).all():
            return -np.inf
        return super().value(theta) + float(np.log(diagonal).sum())

    def score(self, theta: np.ndarray) -> np.ndarray:
        """Compute the gradient ``Z' (s (y - p) + h (1/2 - p))`` with the leverages h."""
        leverage = (self._orthogonal_factor(theta) ** 2).sum(axis=1)
        return super().score(theta) - self.Z.T @ (leverage * self._centered_proba(theta) / 2)

    def hessian_cholesky(self, theta: np.ndarray, basis: np.ndarray) -> np.ndarray:
        """Factor the negative Hessian, with fixed leverages where the full one is indefinite.

        With the rows ``u_i`` of the orthogonal factor of the information's square root and
        ``M = sum_i (2 p_i - 1) z_i (u_i x u_i)'``, half the log-determinant has the second
        derivatives ``sum_i h_i (1 - 6 p_i (1 - p_i)) z_i z_i' / 2 - M M' / 2``.
        """
        rows, centered_proba = self._orthogonal_factor(theta), self._centered_proba(theta)
        own, leverage = self.curvature(theta), (rows**2).sum(axis=1)
        design = self.Z @ basis
        spread = (1 - centered_proba**2) / 4  # p (1 - p)
        weighted = design * centered_proba[:, None]
        mixed = np.array([(rows.T @ (rows * column[:, None])).ravel() for column in weighted.T])
        hessian = (design * (own - leverage * (0.5 - 3 * spread))[:, None]).T @ design
        try:
            return linalg.cholesky(hessian + mixed @ mixed.T / 2)
        except linalg.LinAlgError:
            return damped_cholesky(np.sqrt(own + leverage * spread)[:, None] * design)

    def _centered_proba(self, theta: np.ndarray) -> np.ndarray:
        """Compute ``2 p - 1``, of shape (n_samples,)."""
        return np.tanh(self.Z @ theta / 2)

    def _orthogonal_factor(self, theta: np.ndarray) -> np.ndarray:
        """Compute the orthogonal factor Q of the information's square root."""
        return np.linalg.qr(self.information_root(theta), mode="reduced").Q


def _fit_profiles(
    likelihood: Likelihood, level: float, intervals: str
) -> tuple[list[Profile], np.ndarray, np.ndarray]:
    """Maximise the likelihood from zero, and return profiles, limits (n, 2) and statistics (n,).

    A profile that reaches a higher maximum restarts the maximisation from there.
    """
    theta, quantile = np.zeros(likelihood.Z.shape[1]), normal_quantile(level)
    while True:  # usually once, or twice for few rows that are separable
        profiles = maximum_profiles(likelihood, theta)
        if intervals == "wald":
            coef, error = np.array([(profile.estimate, profile.error) for profile in profiles]).T
            return profiles, normal_interval(coef, error, level), (coef / error) ** 2
        try:
            limits = np.array([profile.interval(quantile) for profile in profiles])
            statistic = np.array([profile.deviance_at(0.0) for profile in profiles])
        except HigherMaximumError as higher:
            theta = higher.theta
        else:
            return profiles, limits, statistic


def firth(
    X: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    fit_intercept: bool = True,
    level: float = 0.95,
    intervals: str = "profile",
) -> FirthFit:
    """Fit a binary logistic regression by likelihood penalised with Jeffreys' prior.

    The fit maximises ``log L + log det(I) / 2``, which removes the first-order bias of the
    estimates and is finite on separable data.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Training rows; a sparse matrix is converted to dense.
    y : array-like of shape (n_samples,)
        Labels of two classes; coefficients refer to the second one.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        Frequency weights: the number of times every row counts.
    fit_intercept : bool, default=True
        Whether to fit an intercept.
    level : float, default=0.95
        Confidence level of the intervals.
    intervals : {"profile", "wald"}, default="profile"
        Method for the intervals and tests. Wald intervals are not reliable where the likelihood
        is not symmetric, as on separable data.

    Returns
    -------
    fit : FirthFit
        Estimates, standard errors, intervals and tests.

    Raises
    ------
    ParameterError
        If there are not two classes, or a parameter is not allowed.
    ValueError
        If columns are collinear, or the maximum or an end of an interval was not reached.

    Notes
    -----
    The penalty depends on the rows, so it is not available as ``penalty=`` of an estimator. The
    fit takes some Newton steps of ``O(n p^3)`` operations, and a profile takes as many for every
    confidence limit.

    On separable rows the penalised likelihood may have several maxima. Maximisation starts from
    zero and restarts from a higher maximum that a profile reaches (except with "wald", which has
    none). The profiles may have several maxima as well: a confidence limit belongs to the one
    that is reached from the estimate, as in logistf, and a limit of another maximum may be
    farther away.

    References
    ----------
    Firth (1993). Bias reduction of maximum likelihood estimates, Biometrika 80, section 3.3.
    Heinze, Schemper (2002). A solution to the problem of separation in logistic regression,
    Statistics in Medicine 21.

    Examples
    --------
    For a two-by-two table the estimate is the odds ratio of its cells, each increased by 0.5:

    >>> import numpy as np
    >>> from skorch_logreg import firth
    >>> fit = firth([[0], [0], [1], [1]], [0, 1, 0, 1], sample_weight=[10, 5, 0, 8])
    >>> float(np.exp(fit.coef[0]).round(9)), round(8.5 * 10.5 / (0.5 * 5.5), 9)
    (32.454545455, 32.454545455)
    """
    if intervals not in ("profile", "wald"):
        raise ParameterError(f"intervals={intervals!r}; expected 'profile' or 'wald'.")
    check_level(level)
    inputs = validate(to_numpy(X), y, sample_weight)
    X, index, weight = inputs.float64_arrays()
    X = to_dense_numpy(X)
    classes = inputs.labels.classes
    if len(classes) != 2:
        raise ParameterError(f"y holds {len(classes)} classes; firth is for two.")
    names = parameter_names(None, X.shape[1], inputs.names)[: X.shape[1] + fit_intercept]
    likelihood = _JeffreysLikelihood.from_data(X, index == 1, weight, names, fit_intercept)
    try:
        profiles, interval, statistic = _fit_profiles(likelihood, level, intervals)
    except NoMaximumError as failure:
        raise ValueError(f"The penalised likelihood was not maximised: {failure}") from failure
    return FirthFit(
        names=names,
        coef=np.array([profile.estimate for profile in profiles]),
        standard_error=np.array([profile.error for profile in profiles]),
        interval=interval,
        statistic=statistic,
        p_value=stats.chi2.sf(statistic, 1),
        log_likelihood=profiles[0].value - float(np.linalg.slogdet(likelihood.to_coef)[1]),
        classes=classes,
        level=level,
    )
