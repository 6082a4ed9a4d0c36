"""Log-likelihood of a binary logistic regression with Jeffreys' prior."""

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from skorch_logreg.analysis.likelihood import Likelihood, damped_cholesky


@dataclass(frozen=True)
class JeffreysLikelihood(Likelihood):
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
