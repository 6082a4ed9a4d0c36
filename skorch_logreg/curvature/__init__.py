"""Models of the Hessian."""

from skorch_logreg.curvature.dual import DualHessian, dual_cost
from skorch_logreg.curvature.exact import ExactHessian, exact_cost
from skorch_logreg.curvature.frequent import FrequentColumns
from skorch_logreg.curvature.multinomial import MultinomialBound
from skorch_logreg.curvature.protocol import Curvature

__all__ = [
    "Curvature",
    "DualHessian",
    "ExactHessian",
    "FrequentColumns",
    "MultinomialBound",
    "dual_cost",
    "exact_cost",
]
