"""Estimates that are nearly normal: what follows from their standard errors."""

import numpy as np
from scipy import stats


class NormalEstimates:
    """Tests and intervals of estimates.

    Attributes
    ----------
    level : float
        Of the intervals.
    """

    level: float

    @property
    def estimate(self) -> np.ndarray:
        """What was estimated, (n,)."""
        raise NotImplementedError

    @property
    def standard_error(self) -> np.ndarray:
        """Its standard errors, (n,)."""
        raise NotImplementedError

    @property
    def z(self) -> np.ndarray:
        """Estimates over their standard errors."""
        return self.estimate / self.standard_error

    @property
    def p_value(self) -> np.ndarray:
        """Probability of a larger ``|z|`` where the estimated is zero."""
        return 2 * stats.norm.sf(np.abs(self.z))

    @property
    def interval(self) -> np.ndarray:
        """Lower and upper end, (n, 2)."""
        half = stats.norm.ppf((1 + self.level) / 2) * self.standard_error
        return np.column_stack([self.estimate - half, self.estimate + half])
