"""Logistic regression: scikit-learn outside, PyTorch inside.

Guides are Markdown files and notebooks in `notebooks`: `notebooks/install.md` is the first.

Examples
--------
>>> from sklearn.datasets import load_breast_cancer
>>> from sklearn.preprocessing import scale
>>> from skorch_logreg import TorchLogisticClassifier
>>> X, y = load_breast_cancer(return_X_y=True)
>>> model = TorchLogisticClassifier(C=1.0).fit(scale(X), y)
>>> bool(model.converged_ and model.score(scale(X), y) > 0.98)
True
"""

from typing import TYPE_CHECKING

from skorch_logreg import estimators
from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.estimators.persistence import TRUSTED_TYPES
from skorch_logreg.exceptions import (
    ConstantLabelWarning,
    DeviceError,
    ParameterError,
    VersionMismatchWarning,
)
from skorch_logreg.lazy import lazy_names

if TYPE_CHECKING:
    from skorch_logreg.analysis import (
        RegularizationPath,
        TunedThreshold,
        analysis_of_deviance,
        bootstrap,
        correct_prior,
        expected_cost_decision,
        firth,
        influence,
        likelihood_ratio_test,
        marginal_effects,
        prediction_intervals,
        profile_intervals,
        regularization_path,
        separation,
        summary,
        tune_threshold,
        variance_inflation,
        wald_test,
    )
    from skorch_logreg.estimators.cv.classifier import TorchLogisticClassifierCV
    from skorch_logreg.estimators.formula import FormulaFeatures, logit
    from skorch_logreg.estimators.multilabel.classifier import MultiLabel
    from skorch_logreg.estimators.neural.classifier import NeuralLogisticClassifier
    from skorch_logreg.estimators.offset import OffsetLogisticClassifier
    from skorch_logreg.estimators.ordinal import OrdinalLogisticClassifier
    from skorch_logreg.estimators.search.searches import (
        BatchedGridSearchCV,
        BatchedRandomizedSearchCV,
    )
    from skorch_logreg.versions import show_versions

__all__ = [
    "TRUSTED_TYPES",
    "BatchedGridSearchCV",
    "BatchedRandomizedSearchCV",
    "ConstantLabelWarning",
    "DeviceError",
    "FormulaFeatures",
    "MultiLabel",
    "NeuralLogisticClassifier",
    "OffsetLogisticClassifier",
    "OrdinalLogisticClassifier",
    "ParameterError",
    "RegularizationPath",
    "TorchLogisticClassifier",
    "TorchLogisticClassifierCV",
    "TunedThreshold",
    "VersionMismatchWarning",
    "analysis_of_deviance",
    "bootstrap",
    "correct_prior",
    "expected_cost_decision",
    "firth",
    "influence",
    "likelihood_ratio_test",
    "logit",
    "marginal_effects",
    "prediction_intervals",
    "profile_intervals",
    "regularization_path",
    "separation",
    "show_versions",
    "summary",
    "tune_threshold",
    "variance_inflation",
    "wald_test",
]

__version__ = "0.1.0"

# they need much of scikit-learn, which takes long to import
__getattr__, __dir__ = lazy_names(
    __name__,
    dict.fromkeys(__all__, "analysis")
    | dict.fromkeys(estimators.__all__, "estimators")
    | {"show_versions": "versions"},
)
