"""Logistic regression: scikit-learn outside, PyTorch inside."""

from skorch_logreg.estimators import (
    BatchedGridSearchCV,
    BatchedRandomizedSearchCV,
    MultiLabel,
    NeuralLogisticClassifier,
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
    "NeuralLogisticClassifier",
    "ParameterError",
    "TorchLogisticClassifier",
    "TorchLogisticClassifierCV",
    "VersionMismatchWarning",
]

__version__ = "0.1.0"
