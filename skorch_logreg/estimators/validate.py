"""Rows of an estimator, and the labels that come with them, validated."""

from functools import partial
from typing import Any

import numpy as np
from sklearn.utils.validation import validate_data
from torch import Tensor

from skorch_logreg.estimators.arrays import ArrayNamespace, is_integer_labels
from skorch_logreg.inputs import check_keeping_dtype, is_finite_array

__all__ = ["validate_rows"]

_NO_LABELS = "no_validation"  # scikit-learn's word


def validate_rows(
    model: Any, X: Any, y: Any = _NO_LABELS, *, reset: bool = True, dtype: Any = None, **how: Any
) -> Any:
    """Validate rows, and labels that come with them, as scikit-learn does, in its words.

    Parameters
    ----------
    model : estimator
        Gets ``n_features_in_`` and ``feature_names_in_``, or is asked for them.
    X : array-like, sparse matrix or Tensor of shape (n_samples, n_features)
        Read only; a dense array or tensor of numbers is returned in its own type, uncopied.
    y : array-like, optional
        Labels; None where an estimator needs them is an error.
    reset : bool, default=True
        Whether X may have other features than before.
    dtype : dtype or None, default=None
        Of rows that are not stored as they are; None: float64, but float32 stays.
    **how
        ``multi_output`` and ``allow_nd`` of `sklearn.utils.validation.validate_data`.

    Returns
    -------
    X : ndarray, csr matrix or array, Tensor, or array of another library
        Tensors of the CPU are viewed by NumPy, and sparse ones are SciPy's; those on a device, of
        bfloat16, or under array API dispatch stay tensors, without gradients. Floating point
        numbers, integers and booleans keep their type where X is one array.
    y : array
        Only where y is given; a tensor becomes an array of NumPy, unless X and it stay tensors
        under array API dispatch.

    Raises
    ------
    ValueError
        If scikit-learn would refuse X or y.
    """
    namespace = ArrayNamespace.of(X)
    X, y = namespace.view(X), namespace.detach(y)
    without_labels = isinstance(y, str) and y == _NO_LABELS
    if (
        is_finite_array(X)
        and (without_labels or is_integer_labels(y, len(X)))
        and _has_known_features(model, X, reset)
    ):
        return X if without_labels else (X, y)
    validator = partial(validate_data, model, y=y, reset=reset, **how)
    found = check_keeping_dtype(
        X, validator, tuple(namespace.float_dtypes) if dtype is None else dtype
    )
    if not isinstance(X, Tensor):
        return found
    return X if without_labels or y is None else (X, found[1])


def _has_known_features(model: Any, X: np.ndarray, reset: bool) -> bool:
    """Whether columns without names are those of a model, or become so."""
    if reset:
        model.n_features_in_ = X.shape[1]
        vars(model).pop("feature_names_in_", None)
        return True
    known = getattr(model, "n_features_in_", None)
    return X.shape[1] == known and not hasattr(model, "feature_names_in_")
