"""What one does with a fit."""

from skorch_logreg.analysis.costs import expected_cost_decision
from skorch_logreg.analysis.path import RegularizationPath, regularization_path
from skorch_logreg.analysis.prior import correct_prior
from skorch_logreg.analysis.thresholds import TunedThreshold, tune_threshold

__all__ = [
    "RegularizationPath",
    "TunedThreshold",
    "correct_prior",
    "expected_cost_decision",
    "regularization_path",
    "tune_threshold",
]
