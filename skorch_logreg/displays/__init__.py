"""Visualizations of fitted models; matplotlib is only needed to plot them."""

from skorch_logreg.displays.boundary import DecisionBoundaryDisplay
from skorch_logreg.displays.coefficients import CoefficientDisplay
from skorch_logreg.displays.convergence import ConvergenceDisplay
from skorch_logreg.displays.cumulative import CumulativeProbabilityDisplay
from skorch_logreg.displays.cv_scores import CVScoresDisplay
from skorch_logreg.displays.path import CoefficientPathDisplay
from skorch_logreg.displays.reliability import ReliabilityDisplay
from skorch_logreg.displays.threshold import ThresholdDisplay

__all__ = [
    "CVScoresDisplay",
    "CoefficientDisplay",
    "CoefficientPathDisplay",
    "ConvergenceDisplay",
    "CumulativeProbabilityDisplay",
    "DecisionBoundaryDisplay",
    "ReliabilityDisplay",
    "ThresholdDisplay",
]
