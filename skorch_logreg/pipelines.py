"""Final classifiers of searches and pipelines, and their attributes as NumPy arrays."""

from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs.arrays import to_numpy


def to_dense_numpy(array: Any) -> np.ndarray:
    """Convert an array of any library, dense or sparse, to a dense NumPy array."""
    array = to_numpy(array)
    return array.toarray() if sp.issparse(array) else np.asarray(array)


def last_step(estimator: Any) -> Any:
    """Return the final classifier of searches and pipelines, which may be nested."""
    return _split_pipeline(estimator)[1]


def final_step(estimator: Any) -> tuple[str, Any]:
    """Return the prefix of the parameters of a pipeline's last step, and that step."""
    prefix = ""
    while isinstance(estimator, Pipeline):
        name, estimator = estimator.steps[-1]
        prefix += f"{name}__"
    return prefix, estimator


def is_multilabel(model: Any) -> bool:
    """Return True if a fitted model predicts several labels rather than classes."""
    kind = getattr(final_step(model)[1], "target_kind_", "binary")
    return kind not in ("binary", "multiclass")


def transform_before_last(estimator: Any, X: Any) -> Any:
    """Transform X by all steps before the final classifier."""
    for steps in _split_pipeline(estimator)[0]:
        X = steps.transform(X)
    return X


def feature_names(estimator: Any, n_features: int, given: Any = None) -> np.ndarray:
    """Return the names (n_features,) of the features that the final classifier was fitted to.

    They are the given ones, else `feature_names_in_` of the classifier, else the output names of
    the steps before it, else x0, x1, ...  A ParameterError is raised if the number of given names
    is not ``n_features``.
    """
    steps_before, last = _split_pipeline(estimator)
    found = getattr(last, "feature_names_in_", None) if given is None else given
    if found is None:
        found = _names_out(steps_before)
    if given is None and (found is None or len(found) != n_features):
        found = [f"x{j}" for j in range(n_features)]
    names = np.asarray(found, dtype=object)
    if names.shape != (n_features,):
        raise ParameterError(
            f"feature_names has shape {names.shape}, expected (n_features,) = ({n_features},)."
        )
    return names


def parameter_names(estimator: Any, n_features: int, given: Any = None) -> tuple[str, ...]:
    """Return the `feature_names` as strings, and "intercept" at the end."""
    return (*map(str, feature_names(estimator, n_features, given)), "intercept")


def class_names(estimator: Any) -> np.ndarray:
    """Return the label names of a multilabel model if it has some, else the classes."""
    check_is_fitted(estimator)
    return np.asarray(getattr(estimator, "label_names_", to_dense_numpy(estimator.classes_)))


def check_classes(y: np.ndarray, classes: np.ndarray) -> None:
    """Raise a ParameterError if y has values, such as probabilities, that are not classes."""
    unknown = np.setdiff1d(y, classes)
    if len(unknown):
        raise ParameterError(
            f"y holds {unknown.tolist()[:5]}, expected classes of the model, "
            f"{np.asarray(classes).tolist()[:10]}."
        )


def decision_threshold(estimator: Any, label: int | None = None) -> float:
    """Return the decision threshold of a model or label; 0.5 if the model has none."""
    threshold = np.asarray(getattr(last_step(estimator), "threshold", 0.5), dtype=np.float64)
    return float(threshold if threshold.ndim == 0 else threshold[label or 0])


def _names_out(steps_before: list[Any]) -> Any:
    """Return the output feature names of the transformers, or None if they are unknown."""
    names = None
    for steps in steps_before:
        try:
            names = steps.get_feature_names_out(names)
        except (AttributeError, TypeError, ValueError):  # a step without output names
            return None
    return names


def _split_pipeline(estimator: Any) -> tuple[list[Any], Any]:
    """Split into pipelines of the steps before the last, outermost first, and the last step."""
    steps_before = []
    while True:
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif hasattr(estimator, "steps"):
            if len(estimator.steps) > 1:  # an empty pipeline cannot transform
                steps_before.append(estimator[:-1])
            estimator = estimator[-1]
        else:
            return steps_before, estimator
