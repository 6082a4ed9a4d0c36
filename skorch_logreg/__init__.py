"""Logistic regression: scikit-learn outside, PyTorch inside."""

from typing import TYPE_CHECKING

from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.exceptions import (
    ConstantLabelWarning,
    DeviceError,
    ParameterError,
    VersionMismatchWarning,
)
from skorch_logreg.lazy import lazily

if TYPE_CHECKING:
    from skorch_logreg.analysis import (
        RegularizationPath,
        TunedThreshold,
        correct_prior,
        expected_cost_decision,
        regularization_path,
        tune_threshold,
    )
    from skorch_logreg.estimators.cv import TorchLogisticClassifierCV
    from skorch_logreg.estimators.multilabel import MultiLabel
    from skorch_logreg.estimators.neural import NeuralLogisticClassifier
    from skorch_logreg.estimators.search import BatchedGridSearchCV, BatchedRandomizedSearchCV

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
    "TunedThreshold",
    "VersionMismatchWarning",
    "correct_prior",
    "expected_cost_decision",
    "regularization_path",
    "tune_threshold",
]

__version__ = "0.1.0"

# they need much of scikit-learn, which takes long to import
__getattr__ = lazily(
    __name__,
    {
        "BatchedGridSearchCV": "estimators.search",
        "BatchedRandomizedSearchCV": "estimators.search",
        "MultiLabel": "estimators.multilabel",
        "NeuralLogisticClassifier": "estimators.neural",
        "RegularizationPath": "analysis",
        "TorchLogisticClassifierCV": "estimators.cv",
        "TunedThreshold": "analysis",
        "correct_prior": "analysis",
        "expected_cost_decision": "analysis",
        "regularization_path": "analysis",
        "tune_threshold": "analysis",
    },
)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
