"""Profile likelihood confidence intervals."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg

from skorch_logreg.analysis.convergence_messages import convergence_message, separation_message
from skorch_logreg.analysis.fitted_model import FittedModel
from skorch_logreg.analysis.likelihood import (
    ESTIMATE_RTOL,
    HigherMaximumError,
    Likelihood,
    NoMaximumError,
    maximise,
)
from skorch_logreg.analysis.normal import check_level, normal_quantile, percentage
from skorch_logreg.analysis.table import Table
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs.torch_context import with_default_modes
from skorch_logreg.pipelines import to_dense_numpy

_DEVIANCE_RTOL = 1e-6  # largest relative error of the deviance at a limit that is returned


class Profile:
    """Largest log-likelihood for every value of one coefficient, the last one the intercept.

    The coefficient is a linear function ``a' theta`` of the parameters, which for the intercept
    of columns that are not centered depends on all of them. The maximisation is over an
    orthonormal basis of the directions orthogonal to ``a``, so that its conditioning does not
    depend on the means of X. ``theta`` is the maximum over all coefficients.

    References
    ----------
    Venzon, Moolgavkar (1988). A method for computing profile-likelihood-based confidence
    intervals, Applied Statistics 37.
    """

    def __init__(
        self,
        likelihood: Likelihood,
        theta: np.ndarray,
        covariance: np.ndarray,
        index: int,
        *,
        max_points: int = 200,  # evaluations of the profile for a limit, usually 5 to 10
        max_steps: int = 200,  # of Newton's method for each
    ) -> None:
        function = likelihood.to_coef[index]
        self.likelihood, self.theta, self.value = likelihood, theta, likelihood.value(theta)
        self.max_points, self.max_steps = max_points, max_steps
        self.estimate = float(function @ theta)
        self.error = float(np.sqrt(function @ covariance @ function))
        # change of theta per standard error in the direction of the least decrease
        self.direction = covariance @ function / self.error
        # directions (n_params, n_params - 1) in which the coefficient does not change
        self.basis = linalg.qr(function[:, None] / linalg.norm(function))[0][:, 1:]

    def interval(self, quantile: float) -> tuple[float, float]:
        """Find both confidence limits, at which the deviance is ``quantile ** 2``."""
        low, high = self._endpoint(-1.0, quantile), self._endpoint(1.0, quantile)
        return self.estimate + low * self.error, self.estimate + high * self.error

    def deviance_at(self, coef: float) -> float:
        """Compute the deviance of the profile at a value of the coefficient."""
        distance = (coef - self.estimate) / self.error
        return self._deviance(self.theta + distance * self.direction)[0]

    def _deviance(self, start: np.ndarray) -> tuple[float, float, np.ndarray]:
        """Maximise from ``start`` without a change of the coefficient.

        Returns the deviance, which is twice the decrease of the log-likelihood from its maximum,
        its derivative by the distance from the estimate in standard errors, and the parameters.
        """
        theta = maximise(self.likelihood, start, self.basis, self.max_steps)
        slope = -2 * float(self.likelihood.score(theta) @ self.direction)
        deviance = 2 * (self.value - self.likelihood.value(theta))
        if deviance < -_DEVIANCE_RTOL:
            raise HigherMaximumError(theta)
        return deviance, slope, theta

    def _endpoint(self, side: float, quantile: float) -> float:
        """Find the distance on one side (-1 or 1) at which the deviance is ``quantile ** 2``.

        The square root of the deviance is nearly linear in the distance, so that Newton's method
        on it takes few steps. The iterates are kept in a bracket. A NoMaximumError is raised if
        the relative error of the deviance exceeds 1e-6.
        """
        inner, theta, outer, distance = 0.0, self.theta, np.inf, quantile
        deviance, failure = 0.0, ""
        for _ in range(self.max_points):
            # start from inside, so that a small step stays at the same one of several maxima
            start = theta + side * (distance - inner) * self.direction
            old, proposal = distance, inner
            try:
                deviance, slope, reached = self._deviance(start)
            except NoMaximumError as error:
                outer, failure = distance, str(error)
            else:
                root = np.sqrt(max(deviance, 0.0))
                if abs(root - quantile) <= ESTIMATE_RTOL * quantile:
                    break
                if root < quantile:
                    inner, theta, outer = distance, reached, outer if outer > distance else np.inf
                    proposal = np.inf
                else:
                    outer = distance
                rise = side * slope / (2 * root) if root > 0 else 0.0
                if rise > 0:
                    proposal = distance + (quantile - root) / rise
            # a step from farther away may have reached another maximum at `outer`
            is_inside = proposal > inner
            distance = min(proposal, outer, 3 * distance) if is_inside else (inner + outer) / 2
            if abs(distance - old) <= 1e-15 * old:
                break
        if not abs(deviance - quantile**2) <= _DEVIANCE_RTOL * quantile**2:
            raise NoMaximumError(
                f"the deviance is {deviance:.6g} in place of {quantile**2:.6g} at "
                f"{side * distance:.6g} standard errors from the estimate; {failure}"
            )
        return side * distance


@dataclass(frozen=True, repr=False)
class ProfileIntervals(Table):
    """Result of `profile_intervals`.

    Attributes
    ----------
    names : tuple of str
        Names of the parameters; the intercept is the last one.
    coef : ndarray of shape (n_params,)
        Coefficients and intercept of the fit.
    interval : ndarray of shape (n_params, 2)
        Lower and upper confidence limits.
    level : float
        Confidence level of the intervals.
    """

    names: tuple[str, ...]
    coef: np.ndarray
    interval: np.ndarray
    level: float

    def _columns(self) -> dict[str, Any]:
        lower, upper = self.interval.T
        return {"coef": self.coef, "lower": lower, "upper": upper}

    def _notes(self) -> list[str]:
        return [f"profile likelihood intervals of {percentage(self.level)}"]


@with_default_modes
def profile_intervals(
    estimator: Any, X: Any, y: Any, *, sample_weight: Any = None, level: float = 0.95
) -> ProfileIntervals:
    """Compute profile likelihood confidence intervals, as R's ``confint`` does.

    Parameters
    ----------
    estimator, X, y, sample_weight
        Fitted model of two classes without a penalty and its training data, as in `summary`.
    level : float, default=0.95
        Confidence level of the intervals.

    Returns
    -------
    intervals : ProfileIntervals
        Lower and upper confidence limits of the coefficients and the intercept.

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
    >>> model = TorchLogisticClassifier(C=float("inf"), tol=1e-8).fit(X[:, :2], y)
    >>> profile_intervals(model, X[:, :2], y)
                     coef       lower       upper
    x0             -1.057      -1.271     -0.8724
    x1            -0.2181     -0.2931     -0.1472
    intercept       19.85       16.61       23.59
    profile likelihood intervals of 95%
    """
    check_level(level)
    fit = FittedModel.from_estimator(
        estimator, X, y, sample_weight, binary_function="profile_intervals"
    )
    if fit.is_penalised:
        raise ParameterError("profile_intervals needs a fit without a penalty: C=float('inf').")
    message = convergence_message(fit.estimator, fit)
    if message is not None:
        raise ParameterError(
            f"profile_intervals begins at the maximum of the likelihood. {message}"
        )
    rows, target = to_dense_numpy(fit.X), fit.index == 1
    likelihood = Likelihood.from_data(rows, target, fit.weight, fit.names, fit.fit_intercept)
    coef = fit.params[0] if fit.fit_intercept else fit.params[0, :-1]
    limits = intervals(fit, likelihood, np.linalg.solve(likelihood.to_coef, coef), level)
    return ProfileIntervals(fit.names[: len(coef)], coef, limits, level)


def maximum_profiles(likelihood: Likelihood, start: np.ndarray, **budgets: int) -> list[Profile]:
    """Maximise a likelihood from ``start``, and return the profiles of all coefficients there."""
    theta = maximise(likelihood, start, np.eye(len(start)))
    covariance = likelihood.covariance(theta)
    return [Profile(likelihood, theta, covariance, j, **budgets) for j in range(len(start))]


def intervals(
    fit: FittedModel, likelihood: Likelihood, start: np.ndarray, level: float, **budgets: int
) -> np.ndarray:
    """Compute the intervals of all coefficients, with the ``budgets`` of `Profile`."""
    try:
        profiles = maximum_profiles(likelihood, start, **budgets)
    except NoMaximumError as failure:
        message = separation_message(fit)
        reason = f"The maximum of the likelihood was not reached: {failure}"
        raise ValueError(reason if message is None else f"{message}.") from failure
    limits = []
    for name, profile in zip(fit.names, profiles, strict=False):
        try:
            limits.append(profile.interval(normal_quantile(level)))
        except (NoMaximumError, HigherMaximumError) as failure:
            raise ValueError(f"The profile of {name} was not reached: {failure}") from failure
    return np.array(limits)
