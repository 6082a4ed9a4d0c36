"""Logistic regression: scikit-learn outside, PyTorch inside."""

from skorch_logreg.estimators import TorchLogisticClassifier
from skorch_logreg.exceptions import DeviceError, ParameterError, VersionMismatchWarning

__all__ = [
    "DeviceError",
    "ParameterError",
    "TorchLogisticClassifier",
    "VersionMismatchWarning",
]

__version__ = "0.1.0"
