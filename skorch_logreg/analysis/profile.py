"""Profile likelihood confidence intervals."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from scipy import linalg, stats

from skorch_logreg.analysis.convergence_messages import SEPARABLE_ADVICE, separating_columns
from skorch_logreg.analysis.fitted_model import FittedModel
from skorch_logreg.analysis.likelihood import (
    HigherMaximumError,
    Likelihood,
    NoMaximumError,
    maximise,
)
from skorch_logreg.exceptions import ParameterError

__all__ = ["Profile", "profile_intervals"]

_MAX_POINTS = 200  # evaluations of a profile for one limit; usually 5 to 10
_ROOT_RTOL = 1e-9  # relative error of the deviance's square root at which the search stops
_DEVIANCE_RTOL = 1e-6  # largest relative error of the deviance at a limit that is returned


@dataclass(frozen=True)
class Profile:
    """Profile log-likelihood of one coefficient.

    The profile is the largest log-likelihood for a fixed value of the coefficient. The coefficient
    is a linear function ``a' theta`` of the parameters, which for the intercept of columns that
    are not centered depends on all of them. The maximisation is over an orthonormal basis of the
    directions orthogonal to ``a``, so that its conditioning does not depend on the means of X.

    Parameters
    ----------
    likelihood : Likelihood
        Log-likelihood to profile.
    theta : ndarray of shape (n_params,)
        Maximum of the likelihood.
    value : float
        Log-likelihood at its maximum.
    estimate : float
        Value of the coefficient at the maximum.
    error : float
        Standard error of the coefficient, the unit of distances from the estimate.
    direction : ndarray of shape (n_params,)
        Change of theta per standard error of the coefficient in the direction of the least
        decrease of the likelihood.
    basis : ndarray of shape (n_params, n_params - 1)
        Directions in which the coefficient does not change.

    References
    ----------
    Venzon, Moolgavkar (1988). A method for computing profile-likelihood-based confidence
    intervals, Applied Statistics 37.
    """

    likelihood: Likelihood
    theta: np.ndarray
    value: float
    estimate: float
    error: float
    direction: np.ndarray
    basis: np.ndarray

    @classmethod
    def at_maximum(
        cls, likelihood: Likelihood, theta: np.ndarray, covariance: np.ndarray, index: int
    ) -> Self:
        """Profile one coefficient of a likelihood at its maximum.

        Parameters
        ----------
        likelihood : Likelihood
            Log-likelihood to profile.
        theta : ndarray of shape (n_params,)
            Maximum of the likelihood.
        covariance : ndarray of shape (n_params, n_params)
            Covariance matrix of theta.
        index : int
            Index of the coefficient; the intercept is the last one.
        """
        function = likelihood.to_coef[index]
        error = float(np.sqrt(function @ covariance @ function))
        orthogonal, _ = linalg.qr(function[:, None] / linalg.norm(function))
        return cls(
            likelihood,
            theta,
            likelihood.value(theta),
            float(function @ theta),
            error,
            covariance @ function / error,
            orthogonal[:, 1:],
        )

    def interval(self, quantile: float) -> tuple[float, float]:
        """Find both confidence limits, at which the deviance is ``quantile ** 2``."""
        low, high = (
            self.estimate + self.endpoint(side, quantile) * self.error for side in (-1.0, 1.0)
        )
        return low, high

    def deviance_at(self, coef: float) -> float:
        """Compute the deviance of the profile at a value of the coefficient."""
        distance = (coef - self.estimate) / self.error
        return self.deviance(distance, self.theta + distance * self.direction)[0]

    def deviance(self, distance: float, start: np.ndarray) -> tuple[float, float, np.ndarray]:
        """Compute the deviance of the profile at a distance from the estimate.

        Parameters
        ----------
        distance : float
            Signed distance of the coefficient from the estimate, in standard errors.
        start : ndarray of shape (n_params,)
            Starting point of the maximisation, at that distance.

        Returns
        -------
        deviance : float
            Twice the decrease of the log-likelihood from its maximum.
        slope : float
            Derivative of the deviance with respect to the distance.
        theta : ndarray of shape (n_params,)
            Maximum of the likelihood at that distance.

        Raises
        ------
        NoMaximumError
            If the maximum at that distance was not found.
        HigherMaximumError
            If the maximum at that distance exceeds the maximum of the likelihood.
        """
        theta = maximise(self.likelihood, start, self.basis)
        slope = -2 * float(self.likelihood.score(theta) @ self.direction)
        deviance = 2 * (self.value - self.likelihood.value(theta))
        if deviance < -_DEVIANCE_RTOL:
            raise HigherMaximumError(theta)
        return deviance, slope, theta

    def endpoint(self, side: float, quantile: float) -> float:
        """Find the distance at which the deviance is ``quantile ** 2``.

        The square root of the deviance is nearly linear in the distance, so that Newton's method
        on it takes few steps. The iterates are kept in a bracket.

        Parameters
        ----------
        side : {-1.0, 1.0}
            Side of the estimate.
        quantile : float
            Quantile of the normal distribution.

        Returns
        -------
        distance : float
            Signed distance from the estimate, in standard errors.

        Raises
        ------
        NoMaximumError
            If the relative error of the deviance exceeds 1e-6.
        """
        inner, theta, distance = 0.0, self.theta, quantile
        outer, outer_start = np.inf, 0.0  # the inner bound when `outer` was set
        deviance, failure = 0.0, ""
        for _ in range(_MAX_POINTS):
            # start from inside, so that a small step stays at the same one of several maxima
            start = theta + side * (distance - inner) * self.direction
            proposal = 0.0
            try:
                deviance, slope, reached = self.deviance(side * distance, start)
            except NoMaximumError as error:
                outer, outer_start, failure = distance, inner, str(error)
            else:
                root = np.sqrt(max(deviance, 0.0))
                if abs(root - quantile) <= _ROOT_RTOL * quantile:
                    break
                if root < quantile:
                    inner, theta, outer = distance, reached, outer if outer > distance else np.inf
                else:
                    outer, outer_start = distance, inner
                rise = side * slope / (2 * root) if root > 0 else 0.0
                proposal = distance + (quantile - root) / rise if rise > 0 else np.inf
            if not inner < proposal < min(outer, 3 * distance):
                if np.isinf(outer):
                    proposal = 3 * distance
                elif proposal >= outer and outer_start < inner:
                    proposal = outer  # a step from farther away reached another maximum there
                else:
                    proposal = (inner + outer) / 2
            if abs(proposal - distance) <= 1e-15 * distance:
                break
            distance = proposal
        if not abs(deviance - quantile**2) <= _DEVIANCE_RTOL * quantile**2:
            raise NoMaximumError(
                f"the deviance is {deviance:.6g} in place of {quantile**2:.6g} at "
                f"{side * distance:.6g} standard errors from the estimate; {failure}"
            )
        return side * distance


def profile_intervals(
    estimator: Any, X: Any, y: Any, *, sample_weight: Any = None, level: float = 0.95
) -> np.ndarray:
    """Compute profile likelihood confidence intervals, as R's ``confint`` does.

    Parameters
    ----------
    estimator, X, y, sample_weight
        Fitted model of two classes without a penalty and its training data, as in `summary`.
    level : float, default=0.95
        Confidence level of the intervals.

    Returns
    -------
    intervals : ndarray of shape (n_params, 2)
        Lower and upper confidence limits of the coefficients, with the intercept in the last row.

    Raises
    ------
    ParameterError
        If there is a penalty, the fit did not converge, or there are more than two classes; or
        if level is not between 0 and 1.
    ValueError
        If columns are collinear or separate the classes, or the deviance at a confidence limit
        differs from the quantile of chi-squared by more than 1e-6, relatively.

    Notes
    -----
    A sparse X is converted to dense. Every limit takes some Newton steps of ``O(n p^2)``
    operations.

    If the likelihood has a maximum, it decreases in every direction, so that all limits are
    finite.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from skorch_logreg import TorchLogisticClassifier
    >>> from skorch_logreg.analysis import profile_intervals
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = TorchLogisticClassifier(C=float("inf")).fit(X[:, :2], y)
    >>> profile_intervals(model, X[:, :2], y).round(2)
    array([[-1.27, -0.87],
           [-0.29, -0.15],
           [16.61, 23.59]])
    """
    if not 0 < level < 1:
        raise ParameterError(f"level={level!r}; it must lie between 0 and 1.")
    fit = FittedModel.from_estimator(estimator, X, y, sample_weight)
    if fit.n_outputs > 1:
        raise ParameterError(
            f"profile_intervals is for two classes; the model has {len(fit.classes)}."
        )
    if fit.is_penalised:
        raise ParameterError("profile_intervals needs a fit without a penalty: C=float('inf').")
    if fit.convergence_message is not None:
        raise ParameterError(
            f"profile_intervals begins at the maximum of the likelihood. {fit.convergence_message}"
        )
    rows = fit.X.toarray() if sp.issparse(fit.X) else fit.X
    target = fit.index == 1
    likelihood = Likelihood.from_data(rows, target, fit.weight, fit.names, fit.fit_intercept)
    coef = fit.params[0] if fit.fit_intercept else fit.params[0, :-1]
    quantile = float(stats.norm.ppf((1 + level) / 2))
    try:
        start = np.linalg.solve(likelihood.to_coef, coef)
        theta = maximise(likelihood, start, np.eye(len(coef)))
        covariance = likelihood.covariance(theta)
    except NoMaximumError as failure:
        raise ValueError(_failure_message(fit, failure)) from failure
    limits = []
    for index in range(len(coef)):
        try:
            limits.append(
                Profile.at_maximum(likelihood, theta, covariance, index).interval(quantile)
            )
        except (NoMaximumError, HigherMaximumError) as failure:
            name = fit.names[index]
            raise ValueError(f"The profile of {name} was not reached: {failure}") from failure
    return np.array(limits)


def _failure_message(fit: FittedModel, failure: NoMaximumError) -> str:
    """Format the error message for a likelihood whose maximum was not reached."""
    columns = separating_columns(fit)
    if columns:
        return f"{', '.join(columns[:5])} separate the classes, {SEPARABLE_ADVICE}."
    return f"The maximum of the likelihood was not reached: {failure}"
