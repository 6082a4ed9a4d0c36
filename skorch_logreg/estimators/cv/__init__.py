"""Choosing the penalty by cross-validation, all folds and strengths in one solve."""

from skorch_logreg.estimators.cv.classifier import TorchLogisticClassifierCV

__all__ = ["TorchLogisticClassifierCV"]
