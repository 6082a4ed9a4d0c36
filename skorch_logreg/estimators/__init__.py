"""Estimators with scikit-learn's interface: fits, fitted attributes, warnings."""

from typing import TYPE_CHECKING

from skorch_logreg.lazy import lazy_getattr

if TYPE_CHECKING:
    from skorch_logreg.estimators.classifier import TorchLogisticClassifier
    from skorch_logreg.estimators.cv import TorchLogisticClassifierCV
    from skorch_logreg.estimators.multilabel import MultiLabel
    from skorch_logreg.estimators.neural import NeuralLogisticClassifier
    from skorch_logreg.estimators.offset import OffsetLogisticClassifier
    from skorch_logreg.estimators.search import BatchedGridSearchCV, BatchedRandomizedSearchCV

__all__ = [
    "BatchedGridSearchCV",
    "BatchedRandomizedSearchCV",
    "MultiLabel",
    "NeuralLogisticClassifier",
    "OffsetLogisticClassifier",
    "TorchLogisticClassifier",
    "TorchLogisticClassifierCV",
]

__getattr__ = lazy_getattr(
    __name__,
    {
        "BatchedGridSearchCV": "search",
        "BatchedRandomizedSearchCV": "search",
        "MultiLabel": "multilabel",
        "NeuralLogisticClassifier": "neural",
        "OffsetLogisticClassifier": "offset",
        "TorchLogisticClassifier": "classifier",
        "TorchLogisticClassifierCV": "cv",
    },
)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
