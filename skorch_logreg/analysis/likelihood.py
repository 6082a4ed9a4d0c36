"""Log-likelihood of a binary logistic regression and its constrained maximum."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from scipy import linalg
from torch import Tensor

from skorch_logreg.analysis.covariance import dependent_names
from skorch_logreg.losses import Binomial
from skorch_logreg.objective import SUM_RTOL

_LOSS = Binomial()
ESTIMATE_RTOL = 1e-9  # accuracy of estimates and of limits, in standard errors
# logits; up to this change the decrement is accurate to a few per cent (self-concordance)
_MAX_LOGIT_CHANGE = 0.05
# share of a column's norm: its rounding error if its mean is 1e8 times its deviation
_COLLINEAR_RTOL = 1e-7


class NoMaximumError(ValueError):
    """The maximum of a likelihood was not reached or does not exist."""


class HigherMaximumError(ValueError):
    """The point ``theta`` has a higher likelihood than the maximum that was found."""

    def __init__(self, theta: np.ndarray) -> None:
        super().__init__("The likelihood has a second maximum, above the first.")
        self.theta = theta


@dataclass(frozen=True)
class Likelihood:
    """Log-likelihood in parameters ``theta`` of an orthonormal basis Z of the columns of X.

    The conditioning of the maximisation depends only on the weights of the rows, not on the
    scales, means or correlations of the columns of X. Rows of weight 0 are removed, ``target`` is
    the class as the loss encodes it, and ``to_coef`` the matrix from theta to the coefficients
    and, in the last row, to the intercept.
    """

    Z: np.ndarray
    target: Tensor
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
        """Orthogonalise the columns of X and, with an intercept, the column of ones."""
        has_weight = weight > 0
        X, is_second, weight = X[has_weight], is_second[has_weight], weight[has_weight]
        # the median is robust to outliers, and entries equal to it become exact zeros
        center = np.median(X, axis=0) * fit_intercept
        columns = X - center
        scale = np.ldexp(1.0, np.frexp(np.abs(columns).max(axis=0))[1])  # a power of 2 is exact
        columns /= scale
        matrix = np.diag(1 / scale)
        if fit_intercept:
            columns = np.column_stack([columns, np.ones(len(columns))])
            matrix = np.block([[matrix, np.zeros((len(scale), 1))], [-center / scale, 1.0]])
        factor = np.linalg.qr(columns, mode="r")
        norm = np.linalg.norm(columns, axis=0)
        diagonal = np.abs(np.diag(factor))
        diagonal = np.pad(diagonal, (0, len(norm) - len(diagonal)))  # more columns than rows
        if (diagonal <= _COLLINEAR_RTOL * norm).any():
            if fit_intercept:  # of centred columns, no combination needs the column of ones
                columns[:, :-1] -= columns[:, :-1].mean(axis=0)
            dependent = dependent_names(names[: len(norm)], columns.T @ columns)
            raise ValueError(
                f"The columns of X are collinear or constant: {dependent}. Leave one out."
            )
        Z = linalg.solve_triangular(factor, columns.T, trans="T").T
        to_coef = linalg.solve_triangular(factor, matrix.T, trans="T").T
        return cls(Z, _LOSS.encode(torch.from_numpy(is_second)[:, None]), weight, to_coef)

    def _logits(self, theta: np.ndarray) -> Tensor:
        return torch.from_numpy(self.Z @ theta)[:, None, None]

    def value(self, theta: np.ndarray) -> float:
        """Compute the log-likelihood."""
        return -float(self.weight @ _LOSS.value(self._logits(theta), self.target)[:, 0].numpy())

    def score(self, theta: np.ndarray) -> np.ndarray:
        """Compute the gradient, accurate also where the probability of a class rounds to 1."""
        residual = _LOSS.value_residual(self._logits(theta), self.target)[1][:, 0, 0].numpy()
        return self.Z.T @ (-self.weight * residual)

    def curvature(self, theta: np.ndarray) -> np.ndarray:
        """Compute the row weights ``c = s p (1 - p)`` of the information ``Z' diag(c) Z``."""
        return self.weight * _LOSS.curvature(self._logits(theta))[0][:, 0, 0].numpy()

    def information_root(self, theta: np.ndarray) -> np.ndarray:
        """Compute a square root R of the information ``R' R``, of shape (n_samples, n_params)."""
        return np.sqrt(self.curvature(theta))[:, None] * self.Z

    def hessian_cholesky(self, theta: np.ndarray, basis: np.ndarray) -> np.ndarray:
        """Compute the Cholesky factor R of the damped negative Hessian ``R' R`` in a basis."""
        return damped_cholesky(self.information_root(theta) @ basis)

    def covariance(self, theta: np.ndarray) -> np.ndarray:
        """Invert the information; raise NoMaximumError if it is singular."""
        rows = self.information_root(theta)
        factor = np.linalg.qr(rows, mode="r")
        # a direction without a maximum has a curvature of the order of the damping
        if not (np.diag(factor) ** 2 > 10 * SUM_RTOL * (rows**2).sum(axis=0)).all():
            raise NoMaximumError("the information is singular.")
        half = linalg.solve_triangular(factor, np.eye(len(factor)))
        return half @ half.T


def maximise(
    likelihood: Likelihood, theta: np.ndarray, basis: np.ndarray, max_steps: int = 200
) -> np.ndarray:
    """Maximise over ``theta + basis u`` by Newton's method with backtracking.

    The iteration stops when the Newton decrement ``g' H^-1 g / 2``, the predicted increase of the
    value, is below 1e-12, and the step changes every logit by at most 0.05, so that the decrement
    is accurate (Bach, 2010, Self-concordant analysis for logistic regression, Electronic Journal
    of Statistics 4, section 3). It usually takes 5 to 20 steps, and up to 100 for Firth's
    likelihood. A NoMaximumError is raised if no finite maximum was reached.
    """
    design = likelihood.Z @ basis
    value = likelihood.value(theta)
    for _ in range(max_steps):
        factor = likelihood.hessian_cholesky(theta, basis)
        half = linalg.solve_triangular(factor, basis.T @ likelihood.score(theta), trans="T")
        step = linalg.solve_triangular(factor, half)
        decrement = float(half @ half) / 2
        is_near = np.abs(design @ step).max(initial=0.0) <= _MAX_LOGIT_CHANGE
        step = basis @ step
        if is_near and decrement <= SUM_RTOL:
            return theta + step
        # halve the step until the value increases enough (Armijo condition with constant 1e-4)
        rounding = 1e-14 * len(design) ** 0.5 * (1 + abs(value))
        length, old = 1.0, value
        value = likelihood.value(theta + step)
        while not value >= old + 1e-4 * length * 2 * decrement - rounding:
            length /= 2
            if length < np.finfo(np.float64).eps:
                raise NoMaximumError("no step along Newton's direction raises the likelihood.")
            value = likelihood.value(theta + length * step)
        theta = theta + length * step
    raise NoMaximumError(f"Newton's method has not converged after {max_steps} steps.")


def damped_cholesky(rows: np.ndarray) -> np.ndarray:
    """Compute the Cholesky factor of ``rows' rows``, with its diagonal increased by 1e-12.

    Far from the estimate the likelihood may be flat in a direction, so that its curvature is
    dominated by rounding. As the value is concave, a step d increases it by at most ``d' g``, and
    the decrement bounds the gradient g by ``(2e-12 x 1e-12)^(1/2)`` along such a direction.
    """
    gram = rows.T @ rows
    gram[np.diag_indices(len(gram))] *= 1 + SUM_RTOL
    try:
        return linalg.cholesky(gram)
    except linalg.LinAlgError as failure:
        raise NoMaximumError("the information is singular.") from failure
