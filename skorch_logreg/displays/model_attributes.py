"""What displays read from a fitted model: of a pipeline its last step, of a search the best."""

from typing import Any

import numpy as np
import torch
from scipy import sparse
from sklearn.utils.validation import check_is_fitted

from skorch_logreg import pipelines
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.pipelines import last_step

__all__ = [
    "check_classes",
    "class_names",
    "decision_threshold",
    "index_of",
    "last_step",
    "resolve_feature_names",
    "to_dense_numpy",
]


def to_dense_numpy(array: Any) -> np.ndarray:
    """Make an array of any library, or a sparse one, dense and NumPy's."""
    if sparse.issparse(array):
        return np.asarray(array.toarray())
    return array.detach().cpu().numpy() if isinstance(array, torch.Tensor) else np.asarray(array)


def resolve_feature_names(estimator: Any, given: Any, n_features: int) -> np.ndarray:
    """Names that are given, or else known to the model, or else x0, x1, ...

    Parameters
    ----------
    estimator : fitted estimator, or None
    given : array-like of shape (n_features,) or None
    n_features : int

    Raises
    ------
    ParameterError
        If another number of names is given.
    """
    if given is None:
        return pipelines.feature_names(estimator, n_features)
    names = np.asarray(given, dtype=object)
    if names.shape != (n_features,):
        raise ParameterError(
            f"feature_names has shape {names.shape}, expected (n_features,) = ({n_features},)."
        )
    return names


def class_names(estimator: Any) -> np.ndarray:
    """Labels of a model of many labels, by name where they have some; else its classes."""
    check_is_fitted(estimator)
    return np.asarray(getattr(estimator, "label_names_", to_dense_numpy(estimator.classes_)))


def check_classes(y: np.ndarray, classes: np.ndarray) -> None:
    """Refuse labels that are no classes of the model, such as probabilities.

    Raises
    ------
    ParameterError
        If y holds some.
    """
    strange = np.setdiff1d(y, classes)
    if len(strange):
        raise ParameterError(
            f"y holds {strange.tolist()[:5]}, expected classes of the model, "
            f"{np.asarray(classes).tolist()[:10]}."
        )


def index_of(name: Any, names: np.ndarray, parameter: str) -> int:
    """Find a class or label.

    Raises
    ------
    ParameterError
        If it is none of them.
    """
    found = np.flatnonzero(np.asarray(names) == name)
    if not len(found):
        known = ", ".join(map(repr, names.tolist()[:10])) + (", ..." if len(names) > 10 else "")
        raise ParameterError(f"{parameter} is {name!r}; it must be one of {known}.")
    return int(found[0])


def decision_threshold(estimator: Any, label: int | None = None) -> float:
    """Probability from which on the model says yes; 0.5 where it has no threshold."""
    threshold = np.asarray(getattr(last_step(estimator), "threshold", 0.5), dtype=np.float64)
    return float(threshold if threshold.ndim == 0 else threshold[label or 0])
