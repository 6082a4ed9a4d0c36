"""Cross-validated choice of the penalty, with all folds and values of C solved together."""

from skorch_logreg.estimators.cv.classifier import TorchLogisticClassifierCV

__all__ = ["TorchLogisticClassifierCV"]
