"""Solver without steps, which estimates the suboptimality of a given point."""

from dataclasses import dataclass

from torch import Tensor

from skorch_logreg.objective import Objective
from skorch_logreg.solvers.choose import subsampled_curvature
from skorch_logreg.solvers.lbfgs import LBFGS
from skorch_logreg.solvers.smooth import SmoothState, start


@dataclass(frozen=True)
class EvaluateOnly(LBFGS):
    """Evaluate a point with the curvature of a sample; all rows only near the optimum."""

    def init(self, objective: Objective, params: Tensor, tol: float) -> SmoothState:
        """Return the state at given parameters."""
        return start(objective, params, tol, subsampled_curvature(objective))
