"""Validation of an estimator's rows and labels."""

from functools import partial
from typing import Any

import numpy as np
from sklearn.utils.validation import validate_data
from torch import Tensor

from skorch_logreg.estimators.arrays import ArrayNamespace, is_integer_labels
from skorch_logreg.inputs import check_keeping_dtype, is_finite_array

__all__ = ["validate_rows"]

_NO_LABELS = "no_validation"  # value of scikit-learn's `validate_data` for no labels


def validate_rows(
    model: Any, X: Any, y: Any = _NO_LABELS, *, reset: bool = True, dtype: Any = None, **how: Any
) -> Any:
    """Validate rows and labels as scikit-learn's `validate_data`, with its messages.

    Parameters
    ----------
    model : estimator
        Estimator whose ``n_features_in_`` and ``feature_names_in_`` are set or checked.
    X : array-like, sparse matrix or Tensor of shape (n_samples, n_features)
        Rows, not modified; a dense array or tensor of numbers is returned in its own type without
        a copy.
    y : array-like, optional
        Labels; None raises an error for an estimator that requires them.
    reset : bool, default=True
        Whether to set the model's feature attributes; False: check them.
    dtype : dtype or None, default=None
        Dtype of rows that are converted; None: float32 is kept, others become float64.
    **how
        ``multi_output`` and ``allow_nd`` of `sklearn.utils.validation.validate_data`.

    Returns
    -------
    X : ndarray, csr matrix or array, Tensor, or array of another library
        Validated rows. Tensors on the CPU are viewed as NumPy arrays and sparse ones become
        SciPy's; those on another device, of bfloat16, or with array API dispatch stay tensors
        without gradients. If X is one array, floats, integers and booleans keep their type.
    y : array
        Validated labels, if y is given; a tensor becomes a NumPy array, unless array API dispatch
        keeps X and y tensors.

    Raises
    ------
    ValueError
        If scikit-learn would raise it for X or y.
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
    """Return True if a model has as many features without names; if ``reset``, set them."""
    if reset:
        model.n_features_in_ = X.shape[1]
        vars(model).pop("feature_names_in_", None)
        return True
    known = getattr(model, "n_features_in_", None)
    return X.shape[1] == known and not hasattr(model, "feature_names_in_")
