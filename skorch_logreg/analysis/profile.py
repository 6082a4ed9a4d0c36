"""Likelihood of two classes as a function, and where its profile says that a parameter ends."""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from scipy import linalg, stats
from scipy.special import expit, log_expit

from skorch_logreg.analysis.fitted_model import Fitted
from skorch_logreg.exceptions import ParameterError

_STEPS = 100
_HALVINGS = 40
_LARGEST = 5.0  # step of a standardised parameter
_DONE = 1e-11  # step of a parameter that is none
_WIDE = 1e4  # standard errors without an end


@dataclass(frozen=True)
class Likelihood:
    """Log-likelihood of parameters of ``[Z 1]``, ``Z = (X - center) / scale``.

    Parameters
    ----------
    Z : ndarray of shape (n_samples, n_params)
    y : ndarray of shape (n_samples,), 0 or 1
    weight : ndarray of shape (n_samples,)
    center, scale : ndarray of shape (n_features,)
    fit_intercept : bool
    """

    Z: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    center: np.ndarray
    scale: np.ndarray
    fit_intercept: bool

    @classmethod
    def of(cls, X: np.ndarray, y: np.ndarray, weight: np.ndarray, fit_intercept: bool) -> Self:
        """Standardise the columns of X."""
        center = weight @ X / weight.sum() if fit_intercept else np.zeros(X.shape[1])
        scale = np.sqrt(weight @ (X - center) ** 2 / weight.sum())
        scale = np.where(scale > 0, scale, 1.0)
        Z = (X - center) / scale
        if fit_intercept:
            Z = np.column_stack([Z, np.ones(len(Z))])
        return cls(Z, y, weight, center, scale, fit_intercept)

    def around_zero(self) -> Self:
        """Take no centres: the last parameter is the intercept of X then."""
        Z = self.Z.copy()
        Z[:, : len(self.scale)] += self.center / self.scale
        return replace(self, Z=Z, center=np.zeros_like(self.center))

    def outward(self) -> np.ndarray:
        """Matrix from these parameters to those of X."""
        if not self.fit_intercept:
            return np.diag(1 / self.scale)
        matrix = np.diag(np.append(1 / self.scale, 1.0))
        matrix[-1, :-1] = -self.center / self.scale
        return matrix

    def proba(self, theta: np.ndarray) -> np.ndarray:
        """Probability of the second class."""
        return expit(self.Z @ theta)

    def value(self, theta: np.ndarray) -> float:
        """Log-likelihood."""
        return float(self.weight @ log_expit((2 * self.y - 1) * (self.Z @ theta)))

    def score(self, theta: np.ndarray) -> np.ndarray:
        """Its gradient."""
        return self.Z.T @ (self.weight * (self.y - self.proba(theta)))

    def information(self, theta: np.ndarray) -> np.ndarray:
        """Its negative Hessian."""
        p = self.proba(theta)
        return (self.Z * (self.weight * p * (1 - p))[:, None]).T @ self.Z


def maximise(likelihood: Likelihood, theta: np.ndarray, fixed: int | None = None) -> np.ndarray:
    """Climb by Newton steps, which are halved where they lead down; one parameter may stay."""
    free = np.array([j for j in range(len(theta)) if j != fixed], dtype=int)
    value = likelihood.value(theta)
    for _ in range(_STEPS):
        score = likelihood.score(theta)[free]
        information = likelihood.information(theta)[np.ix_(free, free)]
        step = linalg.solve(information, score, assume_a="pos")
        if np.abs(step).max(initial=0.0) <= _DONE * (1 + np.abs(theta).max()):
            return theta
        step *= min(1.0, _LARGEST / np.abs(step).max())
        for _ in range(_HALVINGS):
            trial = theta.copy()
            trial[free] += step
            new = likelihood.value(trial)
            if new >= value - 1e-14 * abs(value):
                break
            step /= 2
        theta, value = trial, new
    return theta


def profiled(
    likelihood: Likelihood, theta: np.ndarray, place: int, at: float
) -> tuple[float, float, np.ndarray]:
    """Highest value where one parameter, in units of X, is held; its slope there, and where."""
    unit = likelihood.scale[place] if place < len(likelihood.scale) else 1.0
    theta = theta.copy()
    theta[place] = at * unit
    theta = maximise(likelihood, theta, fixed=place)
    return likelihood.value(theta), float(likelihood.score(theta)[place] * unit), theta


def profile_interval(
    likelihood: Likelihood, coef: np.ndarray, error: float, place: int, quantile: float
) -> tuple[float, float]:
    """Where twice the log-likelihood is ``quantile ** 2`` below its maximum at ``coef``.

    The root of that difference is nearly linear in the parameter, so Newton's method on it takes
    few steps; it is kept in a bracket.  An end may be infinite.

    References
    ----------
    Venzon, Moolgavkar (1988). A method for computing profile-likelihood-based confidence
    intervals, Applied Statistics 37.
    """
    if place == len(likelihood.scale):
        likelihood = likelihood.around_zero()
    best_theta = np.linalg.solve(likelihood.outward(), coef)
    best, ends = likelihood.value(best_theta), []
    for side in (-1.0, 1.0):
        theta, near, far = best_theta, 0.0, np.inf
        away = quantile * error
        while True:
            try:
                value, slope, theta = profiled(likelihood, theta, place, coef[place] + side * away)
            except linalg.LinAlgError:  # so far away that there is no information
                far = away
                away = (near + far) / 2
                if far - near <= 1e-12 * far:
                    break
                continue
            root = np.sqrt(max(2 * (best - value), 0.0))
            if abs(root - quantile) <= 1e-9 * quantile:
                break
            near, far = (away, far) if root < quantile else (near, away)
            rise = -side * slope / root if root > 0 else 0.0
            step = (quantile - root) / rise if rise > 0 else np.inf
            ahead = away + step
            if not near < ahead < min(far, 3 * away if np.isinf(far) else far):
                ahead = 3 * away if np.isinf(far) else (near + far) / 2
            if ahead > _WIDE * error:
                away = np.inf
                break
            if abs(ahead - away) <= 1e-12 * away:
                break
            away = ahead
        ends.append(coef[place] + side * away)
    return ends[0], ends[1]


def profile_intervals(
    estimator: Any, X: Any, y: Any, *, sample_weight: Any = None, level: float = 0.95
) -> np.ndarray:
    """Confidence intervals from the profile of the likelihood, as R's ``confint`` has them.

    Parameters
    ----------
    estimator, X, y, sample_weight
        As `summary` takes them; two classes, without a penalty.
    level : float, default=0.95

    Returns
    -------
    intervals : ndarray of shape (n_params, 2)
        Of the coefficients, and of the intercept at the end; an end may be infinite.

    Raises
    ------
    ParameterError
        If there is a penalty, the fit did not converge, or there are more than two classes.

    Notes
    -----
    X becomes dense; every end takes some Newton steps of ``n p^2``.

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
    fit = Fitted.of(estimator, X, y, sample_weight)
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
    target = (fit.index == 1).astype(np.float64)
    likelihood = Likelihood.of(rows, target, fit.weight, fit.fit_intercept)
    coef = fit.params[0] if fit.fit_intercept else fit.params[0, :-1]
    theta = maximise(likelihood, np.linalg.solve(likelihood.outward(), coef))
    coef = likelihood.outward() @ theta
    covariance = linalg.inv(likelihood.information(theta))
    error = np.sqrt(np.diag(likelihood.outward() @ covariance @ likelihood.outward().T))
    quantile = float(stats.norm.ppf((1 + level) / 2))
    return np.array(
        [profile_interval(likelihood, coef, error[j], j, quantile) for j in range(len(coef))]
    )
