"""Estimators with scikit-learn's interface: fits, fitted attributes, warnings."""

from skorch_logreg.lazy import lazy_names

_MODULES = {
    "BatchedGridSearchCV": "search.searches",
    "BatchedRandomizedSearchCV": "search.searches",
    "FormulaFeatures": "formula",
    "MultiLabel": "multilabel.classifier",
    "NeuralLogisticClassifier": "neural.classifier",
    "OffsetLogisticClassifier": "offset",
    "OrdinalLogisticClassifier": "ordinal",
    "TorchLogisticClassifier": "classifier",
    "TorchLogisticClassifierCV": "cv.classifier",
    "logit": "formula",
}

__all__ = sorted(_MODULES)
__getattr__, __dir__ = lazy_names(__name__, _MODULES)
