"""Attributes of fitted models that displays need, also from pipelines and searches."""

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
    """Convert an array or tensor, dense or sparse, to a dense NumPy array."""
    if sparse.issparse(array):
        return np.asarray(array.toarray())
    return array.detach().cpu().numpy() if isinstance(array, torch.Tensor) else np.asarray(array)


def resolve_feature_names(estimator: Any, given: Any, n_features: int) -> np.ndarray:
    """Return the given feature names, else those of the model, else x0, x1, ...

    Parameters
    ----------
    estimator : fitted estimator, or None
        Model, pipeline or search.
    given : array-like of shape (n_features,) or None
        Names that override those of the model.
    n_features : int
        Number of features.

    Returns
    -------
    names : ndarray of shape (n_features,), object
        Names of the features.

    Raises
    ------
    ParameterError
        If the number of given names is not `n_features`.
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
    """Return the label names of a multilabel model if it has some, else the classes."""
    check_is_fitted(estimator)
    return np.asarray(getattr(estimator, "label_names_", to_dense_numpy(estimator.classes_)))


def check_classes(y: np.ndarray, classes: np.ndarray) -> None:
    """Check that all values of y are classes of the model.

    Raises
    ------
    ParameterError
        If y has other values, such as probabilities.
    """
    unknown = np.setdiff1d(y, classes)
    if len(unknown):
        raise ParameterError(
            f"y holds {unknown.tolist()[:5]}, expected classes of the model, "
            f"{np.asarray(classes).tolist()[:10]}."
        )


def index_of(name: Any, names: np.ndarray, parameter: str) -> int:
    """Return the index of a class or label among the names.

    Raises
    ------
    ParameterError
        If it is not one of the names.
    """
    found = np.flatnonzero(np.asarray(names) == name)
    if not len(found):
        known = ", ".join(map(repr, names.tolist()[:10])) + (", ..." if len(names) > 10 else "")
        raise ParameterError(f"{parameter} is {name!r}; it must be one of {known}.")
    return int(found[0])


def decision_threshold(estimator: Any, label: int | None = None) -> float:
    """Return the decision threshold of a model or label; 0.5 if the model has none."""
    threshold = np.asarray(getattr(last_step(estimator), "threshold", 0.5), dtype=np.float64)
    return float(threshold if threshold.ndim == 0 else threshold[label or 0])
