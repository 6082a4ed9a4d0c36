"""Wald tests and intervals of asymptotically normal estimates."""

from typing import Any, ClassVar

import numpy as np
from scipy import stats

from skorch_logreg.analysis.table import Table
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.names import first_names


def check_level(level: float) -> None:
    """Raise a ParameterError if a confidence level is not between 0 and 1."""
    if not 0 < level < 1:
        raise ParameterError(f"level={level!r}; it must lie between 0 and 1.")


def percentage(level: float) -> str:
    """Format a confidence level with all of its digits."""
    return f"{100 * level:.10g}%"


def normal_quantile(level: float) -> float:
    """Return the quantile of the normal distribution for a two-sided confidence level."""
    return float(stats.norm.ppf((1 + level) / 2))


def normal_interval(estimate: np.ndarray, error: np.ndarray, level: float) -> np.ndarray:
    """Return the limits of two-sided confidence intervals in a new last axis."""
    half = normal_quantile(level) * error
    return np.stack([estimate - half, estimate + half], axis=-1)


class NormalEstimates(Table):
    """Wald tests and intervals of the given confidence level from estimates and their errors."""

    level: float
    covariance: np.ndarray
    convergence_message: str | None
    names: tuple[str, ...]
    _head: ClassVar = "coef"  # attribute and column of the estimates

    @property
    def estimate(self) -> np.ndarray:
        """Estimates, of shape (n,)."""
        return np.asarray(getattr(self, self._head))

    @property
    def standard_error(self) -> np.ndarray:
        """Standard errors, of shape (n,)."""
        return np.sqrt(np.diagonal(self.covariance, axis1=-2, axis2=-1))

    @property
    def z(self) -> np.ndarray:
        """Ratios of estimates to standard errors, of shape (n,); nan where an error is zero."""
        estimate, error = self.estimate, self.standard_error
        return np.divide(estimate, error, where=error > 0, out=np.full(error.shape, np.nan))

    @property
    def p_value(self) -> np.ndarray:
        """Two-sided p-values for the hypothesis that a parameter is zero, of shape (n,)."""
        return 2 * stats.norm.sf(np.abs(self.z))

    @property
    def interval(self) -> np.ndarray:
        """Lower and upper confidence limits, of shape (n, 2)."""
        return normal_interval(self.estimate, self.standard_error, self.level)

    def _columns(self) -> dict[str, Any]:
        lower, upper = np.moveaxis(self.interval, -1, 0)
        errors = {"std err": self.standard_error, "z": self.z, "p": self.p_value}
        return {self._head: self.estimate, **errors, "lower": lower, "upper": upper}

    def _notes(self) -> list[str]:
        notes = [f"intervals of {percentage(self.level)}"]
        has_none = np.atleast_2d(self.standard_error == 0).any(axis=0)
        if has_none.any():
            names = first_names(np.array(self.names, dtype=object)[has_none])
            notes.append(f"no z and p for {names}: the variance is zero, as of a constant column")
        return notes if self.convergence_message is None else [*notes, self.convergence_message]
