"""Logistic regression: scikit-learn outside, PyTorch inside."""

from skorch_logreg.analysis import RegularizationPath, regularization_path
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
    "RegularizationPath",
    "TorchLogisticClassifier",
    "TorchLogisticClassifierCV",
    "VersionMismatchWarning",
    "regularization_path",
]

__version__ = "0.1.0"
