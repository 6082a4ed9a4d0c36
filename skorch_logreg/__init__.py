"""Logistic regression: scikit-learn outside, PyTorch inside."""

from skorch_logreg.estimators import (
    BatchedGridSearchCV,
    BatchedRandomizedSearchCV,
    MultiLabel,
    TorchLogisticClassifier,
    TorchLogisticClassifierCV,
)
from skorch_logreg.exceptions import (
    ConstantLabelWarning,
    DeviceError,
    ParameterError,
    VersionMismatchWarning,
)

__all__ = [
    "BatchedGridSearchCV",
    "BatchedRandomizedSearchCV",
    "ConstantLabelWarning",
    "DeviceError",
    "MultiLabel",
    "ParameterError",
    "TorchLogisticClassifier",
    "TorchLogisticClassifierCV",
    "VersionMismatchWarning",
]

__version__ = "0.1.0"
