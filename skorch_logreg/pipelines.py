"""Access to the final classifier of searches and pipelines, its rows and feature names."""

from typing import Any

import numpy as np

__all__ = ["feature_names", "last_step", "transform_before_last"]


def last_step(estimator: Any) -> Any:
    """Return the final classifier of searches and pipelines, which may be nested."""
    return _split_pipeline(estimator)[1]


def transform_before_last(estimator: Any, X: Any) -> Any:
    """Transform X by all steps before the final classifier."""
    for steps in _split_pipeline(estimator)[0]:
        X = steps.transform(X)
    return X


def feature_names(estimator: Any, n_features: int) -> np.ndarray:
    """Return the names of the features that the final classifier was fitted to.

    Parameters
    ----------
    estimator : fitted estimator, search or pipeline
        Model whose final classifier is used.
    n_features : int
        Number of features of the final classifier.

    Returns
    -------
    names : ndarray of shape (n_features,), object
        `feature_names_in_` of the classifier, else the output names of the steps before it, else
        x0, x1, ...
    """
    steps_before, last = _split_pipeline(estimator)
    names = getattr(last, "feature_names_in_", None)
    if names is None:
        names = _names_out(steps_before)
    if names is None or len(names) != n_features:
        names = [f"x{j}" for j in range(n_features)]
    return np.asarray(names, dtype=object)


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
