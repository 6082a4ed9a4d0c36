"""Models of the Hessian."""

from skorch_logreg.curvature.dual import DualHessian, dual_cost
from skorch_logreg.curvature.exact import ExactHessian, exact_cost
from skorch_logreg.curvature.frequent import FrequentColumns
from skorch_logreg.curvature.mixed import MixedCurvature, join
from skorch_logreg.curvature.multinomial import MultinomialBound
from skorch_logreg.curvature.protocol import Curvature
from skorch_logreg.curvature.shared import SharedHessian

__all__ = [
    "Curvature",
    "DualHessian",
    "ExactHessian",
    "FrequentColumns",
    "MixedCurvature",
    "MultinomialBound",
    "SharedHessian",
    "dual_cost",
    "exact_cost",
    "join",
]
