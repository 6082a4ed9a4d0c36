"""Logistic regression: scikit-learn outside, PyTorch inside.

Guides: `skorch_logreg.solvers` on choosing a solver, `skorch_logreg.objective.duality` on
exactness and its proof, `skorch_logreg.penalties` on adding a penalty. Here: where users of other
packages find what they have.

## From scikit-learn's LogisticRegression

| have | use |
| --- | --- |
| `LogisticRegression(C=0.5)` | `TorchLogisticClassifier(C=0.5)`, same objective |
| `solver="lbfgs"`, `"saga"`, ... | the same names, or leave them out: "auto" takes every penalty |
| `tol` of the solver's own gradient | `tol` of `optimality_`, of every solver alike |
| `LogisticRegressionCV` | `TorchLogisticClassifierCV` |
| `GridSearchCV(LogisticRegression())` | `BatchedGridSearchCV(TorchLogisticClassifier())` |
| `OneVsRestClassifier`, `MultiOutputClassifier` | `MultiLabel` |
| `FixedThresholdClassifier` | `threshold` |
| back to where it came from | `model.to_sklearn()` |

## From scikit-learn's SGDClassifier

Its objective is a mean over n rows, ours a sum.

| have | use |
| --- | --- |
| `SGDClassifier(loss="log_loss", alpha=a)` | `TorchLogisticClassifier(C=1 / (a * n))`, exactly |
| `penalty="elasticnet", l1_ratio=r` | `l1_ratio=r` |
| `learning_rate`, `eta0`, `max_iter` | `solver=SGD(learning_rate=..., schedule=..., epochs=...)` |
| `early_stopping=True` | `SGD(validation_fraction=0.1)` |
| `partial_fit` | `partial_fit` |

## From skorch

| have | use |
| --- | --- |
| `NeuralNetBinaryClassifier(nn.Linear(p, 1))` | `TorchLogisticClassifier()` |
| a module with hidden layers | `NeuralLogisticClassifier((64,))`, or `module=` all but the head |
| `optimizer=Adam, lr=0.01` | `solver=solvers.Adam(learning_rate=0.01)` |
| `max_epochs`, `batch_size` | `Adam(epochs=..., batch_size=...)` |
| `optimizer__weight_decay=d` of plain SGD | `C=1 / (d * n)`; the intercept is then free |
| `train_split`, `EarlyStopping` | `Adam(validation_fraction=0.2, patience=5, scoring=...)` |
| `LRScheduler` | `Adam(schedule=...)`: a name, or a function that makes torch's |
| `Checkpoint` | `Adam(checkpoint=Checkpoint("fit.npz"))` |
| `module_` | `module_` |

## From statsmodels

| have | use |
| --- | --- |
| `Logit(y, add_constant(X)).fit()` | `TorchLogisticClassifier(C=float("inf")).fit(X, y)` |
| `params` | `intercept_`, `coef_` |
| `fit_regularized(alpha=a)` | `C=1 / a, l1_ratio=1`; the intercept is not penalised |
| `MNLogit` | more classes in `y`; its `params` are differences from the first class |
| `GLM(..., freq_weights=w)` | `fit(X, y, sample_weight=w)` |

## From glmnet

Its objective is a mean over n rows, of columns that it scales to a deviation of 1; so does
`StandardScaler` before ours.

| have | use |
| --- | --- |
| `glmnet(x, y, "binomial", lambda = l, alpha = a)` | `C=1 / (n * l), l1_ratio=a` |
| the whole path | `regularization_path` |
| `cv.glmnet`, `lambda.min` | `TorchLogisticClassifierCV(l1_ratios=(a,))` |
| `lambda.1se` | `selection="1se"` |
| `penalty.factor`, `exclude` | `penalty_factor`, which is not rescaled; inf leaves a column out |
| `lower.limits`, `upper.limits` | `bounds=(low, high)` |
| `type.multinomial = "grouped"` | `penalty=penalties.GroupL2(range(p))` |
| `standardize = FALSE` | no scaler |
"""

from typing import TYPE_CHECKING

from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.exceptions import (
    ConstantLabelWarning,
    DeviceError,
    ParameterError,
    VersionMismatchWarning,
)
from skorch_logreg.lazy import lazy_getattr

if TYPE_CHECKING:
    from skorch_logreg.analysis import (
        RegularizationPath,
        TunedThreshold,
        bootstrap,
        correct_prior,
        expected_cost_decision,
        firth,
        influence,
        likelihood_ratio_test,
        marginal_effects,
        profile_intervals,
        regularization_path,
        separation,
        summary,
        tune_threshold,
    )
    from skorch_logreg.estimators.cv import TorchLogisticClassifierCV
    from skorch_logreg.estimators.multilabel import MultiLabel
    from skorch_logreg.estimators.neural import NeuralLogisticClassifier
    from skorch_logreg.estimators.offset import OffsetLogisticClassifier
    from skorch_logreg.estimators.search import BatchedGridSearchCV, BatchedRandomizedSearchCV

__all__ = [
    "BatchedGridSearchCV",
    "BatchedRandomizedSearchCV",
    "ConstantLabelWarning",
    "DeviceError",
    "MultiLabel",
    "NeuralLogisticClassifier",
    "OffsetLogisticClassifier",
    "ParameterError",
    "RegularizationPath",
    "TorchLogisticClassifier",
    "TorchLogisticClassifierCV",
    "TunedThreshold",
    "VersionMismatchWarning",
    "bootstrap",
    "correct_prior",
    "expected_cost_decision",
    "firth",
    "influence",
    "likelihood_ratio_test",
    "marginal_effects",
    "profile_intervals",
    "regularization_path",
    "separation",
    "summary",
    "tune_threshold",
]

__version__ = "0.1.0"

# they need much of scikit-learn, which takes long to import
__getattr__ = lazy_getattr(
    __name__,
    {
        "BatchedGridSearchCV": "estimators.search",
        "BatchedRandomizedSearchCV": "estimators.search",
        "MultiLabel": "estimators.multilabel",
        "NeuralLogisticClassifier": "estimators.neural",
        "OffsetLogisticClassifier": "estimators.offset",
        "RegularizationPath": "analysis",
        "TorchLogisticClassifierCV": "estimators.cv",
        "TunedThreshold": "analysis",
        "bootstrap": "analysis",
        "correct_prior": "analysis",
        "expected_cost_decision": "analysis",
        "firth": "analysis",
        "influence": "analysis",
        "likelihood_ratio_test": "analysis",
        "marginal_effects": "analysis",
        "profile_intervals": "analysis",
        "regularization_path": "analysis",
        "separation": "analysis",
        "summary": "analysis",
        "tune_threshold": "analysis",
    },
)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
