"""Log-likelihood of two classes and its maximum, with or without a linear constraint."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import linalg
from scipy.special import expit, log_expit

__all__ = ["HigherMaximumError", "Likelihood", "NoMaximumError", "damped_cholesky", "maximise"]

_MAX_STEPS = 200  # Newton's method takes 5 to 20, Firth's scoring up to 100 (tests)
_MAX_HALVINGS = 60  # 2^-60 of a step is below the rounding of any parameter
_DECREMENT_TOL = 1e-12  # of the log-likelihood, whose quantiles are of the order of 1
_MAX_LOGIT_CHANGE = 0.05  # change of logits up to which the decrement is right to some per cent
_COLLINEAR_RTOL = 1e-7  # of a column's norm: rounding, where its mean is 1e8 times its deviation
_DAMPING = 1e-12  # of the information: above the rounding of sums over 1e8 rows


class NoMaximumError(ValueError):
    """The maximum of a likelihood was not reached, or does not exist."""


class HigherMaximumError(ValueError):
    """What was taken for the maximum of a likelihood is not the highest.

    Parameters
    ----------
    theta : ndarray of shape (n_params,)
        Where the likelihood is higher.
    """

    def __init__(self, theta: np.ndarray) -> None:
        super().__init__("The likelihood has a second maximum, above the first.")
        self.theta = theta


@dataclass(frozen=True)
class Likelihood:
    """Log-likelihood in parameters ``theta`` of orthonormal columns Z that span those of X.

    Neither the units, the means nor the correlations of the columns of X have a part in how well
    the maximisation is conditioned; only the weights of rows have.

    Parameters
    ----------
    Z : ndarray of shape (n_samples, n_params)
        Spans the columns of X and, with an intercept, the column of ones.
    sign : ndarray of shape (n_samples,)
        1 for the second class, -1 for the first.
    weight : ndarray of shape (n_samples,)
        Positive: rows of weight 0 are left out.
    to_coef : ndarray of shape (n_params, n_params)
        Matrix from theta to the coefficients of X and, in the last row, the intercept.
    """

    Z: np.ndarray
    sign: np.ndarray
    weight: np.ndarray
    to_coef: np.ndarray

    @classmethod
    def from_data(
        cls,
        X: np.ndarray,
        is_second: np.ndarray,
        weight: np.ndarray,
        names: Sequence[str],
        fit_intercept: bool,
    ) -> Self:
        """Center, scale and orthogonalise the columns of X; without an intercept no centering.

        Raises
        ------
        ValueError
            If a column is a linear combination of others; the text has its name.
        """
        counts = weight > 0
        X, weight = X[counts], weight[counts]
        # of the median an outlier has no part, and entries that are equal become zeros
        center = np.median(X, axis=0) * fit_intercept
        columns = X - center
        scale = np.ldexp(1.0, np.frexp(np.abs(columns).max(axis=0))[1])  # a power of 2 is exact
        columns /= scale
        matrix = np.diag(1 / scale)
        if fit_intercept:
            columns = np.column_stack([columns, np.ones(len(columns))])
            matrix = np.block([[matrix, np.zeros((len(scale), 1))], [-center / scale, 1.0]])
        factor = np.linalg.qr(columns, mode="r")
        is_dependent = np.ones(columns.shape[1], dtype=bool)
        norm = np.sqrt((columns**2).sum(axis=0))[: len(factor)]
        is_dependent[: len(factor)] = np.abs(np.diag(factor)) <= _COLLINEAR_RTOL * norm
        if is_dependent.any():
            dependent = [name for name, is_one in zip(names, is_dependent, strict=False) if is_one]
            raise ValueError(
                f"The columns of X are collinear or constant: {', '.join(dependent[:5])} are "
                "linear combinations of others. Leave them out."
            )
        Z = linalg.solve_triangular(factor, columns.T, trans="T").T
        to_coef = linalg.solve_triangular(factor, matrix.T, trans="T").T
        return cls(Z, np.where(is_second[counts], 1.0, -1.0), weight, to_coef)

    def margin(self, theta: np.ndarray) -> np.ndarray:
        """Logits with the sign of the row's class."""
        return self.sign * (self.Z @ theta)

    def value(self, theta: np.ndarray) -> float:
        """Log-likelihood."""
        return float(self.weight @ log_expit(self.margin(theta)))

    def score(self, theta: np.ndarray) -> np.ndarray:
        """Gradient, from ``1 - p`` of the row's class, which is exact where p rounds to 1."""
        return self.Z.T @ (self.weight * self.sign * expit(-self.margin(theta)))

    def curvature(self, theta: np.ndarray) -> np.ndarray:
        """Weights ``c = s p (1 - p)`` of rows in the information ``Z' diag(c) Z``."""
        margin = self.margin(theta)
        return self.weight * expit(margin) * expit(-margin)

    def hessian_cholesky(self, theta: np.ndarray, basis: np.ndarray) -> np.ndarray:
        """Upper triangle R of the negative Hessian ``R' R`` in coordinates of a basis, damped."""
        return damped_cholesky(np.sqrt(self.curvature(theta))[:, None] * (self.Z @ basis))

    def covariance(self, theta: np.ndarray) -> np.ndarray:
        """Invert the information.

        Raises
        ------
        NoMaximumError
            If it is singular: the likelihood is flat in some direction.
        """
        rows = np.sqrt(self.curvature(theta))[:, None] * self.Z
        factor = np.linalg.qr(rows, mode="r")
        # above what damping makes of a direction in which there is no maximum
        if not (np.diag(factor) ** 2 > 10 * _DAMPING * (rows**2).sum(axis=0)).all():
            raise NoMaximumError("the information is singular.")
        half = linalg.solve_triangular(factor, np.eye(len(factor)))
        return half @ half.T


def maximise(likelihood: Likelihood, theta: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Maximise over ``theta + basis u`` by Newton's method with backtracking.

    It ends where the decrement ``g' H^-1 g / 2``, which is what the value can still gain, is
    negligible and changes the logits so little that the decrement can be trusted (the logistic
    loss is self-concordant in that sense).

    Parameters
    ----------
    likelihood : Likelihood
    theta : ndarray of shape (n_params,)
        Where to start.
    basis : ndarray of shape (n_params, n_free)
        Directions in which theta may move.

    Returns
    -------
    theta : ndarray of shape (n_params,)

    Raises
    ------
    NoMaximumError
        If that is not reached: there is no finite maximum, or the information is singular.

    References
    ----------
    Bach (2010). Self-concordant analysis for logistic regression, Electronic Journal of
    Statistics 4, section 3.
    """
    design = likelihood.Z @ basis
    value = likelihood.value(theta)
    for _ in range(_MAX_STEPS):
        factor = likelihood.hessian_cholesky(theta, basis)
        half = linalg.solve_triangular(factor, basis.T @ likelihood.score(theta), trans="T")
        step = linalg.solve_triangular(factor, half)
        decrement = float(half @ half) / 2
        is_near = np.abs(design @ step).max(initial=0.0) <= _MAX_LOGIT_CHANGE
        if is_near and decrement <= _DECREMENT_TOL:
            return theta + basis @ step
        theta, value = _backtrack(likelihood, (theta, value), basis @ step, decrement)
    raise NoMaximumError(f"Newton's method has not converged after {_MAX_STEPS} steps.")


def _backtrack(
    likelihood: Likelihood, here: tuple[np.ndarray, float], step: np.ndarray, decrement: float
) -> tuple[np.ndarray, float]:
    """Halve a step until the value rises by a share of what its slope says (Armijo)."""
    theta, value = here
    rounding = 1e-14 * len(likelihood.Z) ** 0.5 * (1 + abs(value))
    length = 1.0
    for _ in range(_MAX_HALVINGS):
        trial = theta + length * step
        new = likelihood.value(trial)
        if new >= value + 1e-4 * length * 2 * decrement - rounding:
            return trial, new
        length /= 2
    raise NoMaximumError("no step along Newton's direction raises the likelihood.")


def damped_cholesky(rows: np.ndarray) -> np.ndarray:
    """Factor ``rows' rows``, with its diagonal raised by 1e-12 of itself, into ``R' R``.

    Far from the estimate the likelihood may be flat in a direction, where rounding is all that
    is known of the curvature.  As the value is concave, a step d adds at most ``d' g`` to it, and
    the decrement bounds the gradient g by ``(2e-12 x 1e-12)^(1/2)`` along such a direction.
    """
    gram = rows.T @ rows
    gram[np.diag_indices(len(gram))] *= 1 + _DAMPING
    try:
        return linalg.cholesky(gram)
    except linalg.LinAlgError as failure:
        raise NoMaximumError("the information is singular.") from failure
