"""Approximate and exact Hessians, and their costs."""

from skorch_logreg.curvature.classes import ClassBlocks
from skorch_logreg.curvature.cost import (
    blocks_seconds,
    dual_cost,
    exact_seconds,
    pass_seconds,
    rough_seconds,
)
from skorch_logreg.curvature.dual import DualHessian
from skorch_logreg.curvature.exact import ExactHessian
from skorch_logreg.curvature.mixed import MixedCurvature, join
from skorch_logreg.curvature.protocol import Curvature
from skorch_logreg.curvature.rough import RoughHessian
from skorch_logreg.curvature.shared import SharedHessian
from skorch_logreg.curvature.uncorrelated import UncorrelatedColumns

__all__ = [
    "ClassBlocks",
    "Curvature",
    "DualHessian",
    "ExactHessian",
    "MixedCurvature",
    "RoughHessian",
    "SharedHessian",
    "UncorrelatedColumns",
    "blocks_seconds",
    "dual_cost",
    "exact_seconds",
    "join",
    "pass_seconds",
    "rough_seconds",
]
