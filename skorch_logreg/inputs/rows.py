"""Validation of rows and labels by scikit-learn, without conversion of the rows' dtype."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from sklearn import get_config
from sklearn.utils import check_array, check_X_y
from sklearn.utils.validation import validate_data
from torch import Tensor

from skorch_logreg.data.tensors import BLOCK_ELEMENTS, CACHED_ENTRIES, float_dtype
from skorch_logreg.data.threads import map_blocks, thread_count
from skorch_logreg.inputs.arrays import FLOATS, NUMPY, ArrayNamespace, to_numpy

_HALF = np.dtype(np.float16)


def check_keeping_dtype(
    X: Any,
    validator: Callable[..., Any],
    dtype: Any = (np.float64, np.float32),
    plain: bool | None = None,
) -> Any:
    """Validate rows with scikit-learn, but keep the dtype of numeric arrays.

    ``validator`` is `sklearn.utils.check_array`, or the like, which converts other rows to
    ``dtype``; X is a result of `view_as_numpy`, or an array of another library. Sparse rows become
    CSR. For a tensor, which scikit-learn cannot validate, the result is that of an array in its
    place. ``plain`` is the result of `is_finite_array`, if it is known.
    """
    if isinstance(X, Tensor):
        stand_in, is_finite = _stand_in(X)
        return validator(stand_in, dtype=None, ensure_all_finite=not is_finite)
    plain = is_finite_array(X) if plain is None else plain
    check_indices(X)
    is_native = isinstance(X, np.ndarray) and X.dtype.isnative
    stored = is_native and (plain or X.dtype.kind in "biu")
    how = None if stored else list(dtype) if isinstance(dtype, tuple) else dtype
    return validator(X, accept_sparse="csr", dtype=how, ensure_all_finite=not plain)


def is_finite_array(X: Any) -> bool:
    """Return True if X is a 2d array of finite numbers, which needs no further validation.

    It computes a sum, or nothing for integers; scikit-learn's validation takes longer than the
    fit of a few rows.
    """
    if type(X) is not np.ndarray or X.ndim != 2 or not X.size or not X.dtype.isnative:
        return False
    if X.dtype.kind in "biu":
        return True
    if X.dtype not in FLOATS and X.dtype != _HALF:
        return False
    if X.size < BLOCK_ELEMENTS:
        return _has_finite_sum(X)
    lines = X if X.flags.c_contiguous else X.T
    return all(map_blocks(_has_finite_sum, np.array_split(lines, thread_count())))


def is_large(X: Any) -> bool:
    """Return True if X is a 2d array of floats whose first pass may tell whether all are finite."""
    is_array = type(X) is np.ndarray and X.ndim == 2 and X.size >= CACHED_ENTRIES
    return is_array and X.dtype.isnative and X.dtype in FLOATS


def torch_dtype(X: Any) -> torch.dtype:
    """Return the type of a model of validated rows of any library: float32 or float64."""
    if isinstance(X, Tensor):
        return float_dtype(X.dtype)
    if isinstance(X.dtype, np.dtype):  # its name is slow to compute
        return torch.float32 if X.dtype == np.float32 else torch.float64
    return torch.float32 if str(X.dtype).endswith("float32") else torch.float64


def _has_finite_sum(X: np.ndarray) -> bool:
    with np.errstate(all="ignore"):
        return bool(np.isfinite(X.sum(dtype=np.float64 if X.dtype == _HALF else None)))


def _stand_in(X: Tensor) -> tuple[np.ndarray, bool]:
    """Make an array for which scikit-learn raises the same errors as for a tensor.

    It takes no memory, or is the first row that is not finite; also return whether all are.
    """
    if X.ndim < 2:
        return to_numpy(X), False  # scikit-learn's message shows the entries
    if X.is_floating_point() and not get_config()["assume_finite"]:
        for rows in X.split(max(BLOCK_ELEMENTS // max(math.prod(X.shape[1:]), 1), 1)):
            if bool(rows.sum().isfinite()):
                continue
            wrong = (~rows.isfinite()).flatten(1).any(dim=1)
            if bool(wrong.any()):  # the sum of finite entries may overflow, too
                row = rows[int(wrong.nonzero()[0, 0])]
                return to_numpy(row[None].to(float_dtype(X.dtype))), False
    dtype = np.complex64 if X.is_complex() else np.float64
    return np.broadcast_to(np.zeros((), dtype), tuple(X.shape)), True


_NO_LABELS = "no_validation"  # value of scikit-learn's `validate_data` for no labels


def validate_rows(
    model: Any,
    X: Any,
    y: Any = _NO_LABELS,
    *,
    reset: bool = True,
    dtype: Any = None,
    defers: bool = False,
    **how: Any,
) -> Any:
    """Validate rows, and labels if they are given, as scikit-learn's `validate_data` does.

    The model's feature attributes are set if ``reset``, or else checked. An array of numbers keeps
    its type and is not copied; other rows become ``dtype``, None: float32 is kept, others become
    float64. ``how`` are ``multi_output`` and ``allow_nd`` of `validate_data`. If ``defers``, the
    caller finds out whether the entries of large arrays are finite (`is_large`).

    Tensors on the CPU are viewed as NumPy arrays and sparse ones become SciPy's; those on another
    device, of bfloat16, or with array API dispatch stay tensors without gradients.
    """
    namespace = NUMPY if model is None else ArrayNamespace.of(X)
    X, y = namespace.view(X), namespace.detach(y)
    without_labels = isinstance(y, str) and y == _NO_LABELS
    plain = (defers and is_large(X)) or is_finite_array(X)
    if plain:
        counted = type(y) is np.ndarray and y.dtype.kind in "biu" and y.shape == X.shape[:1]
        if (without_labels or counted) and _has_known_features(model, X, reset):
            return X if without_labels else (X, y)
    validator = partial(validate_data, model, y=y, reset=reset, **how)
    if model is None:
        validator = check_array if without_labels else partial(check_X_y, y=y, **how)
    dtypes = tuple(namespace.float_dtypes) if dtype is None else dtype
    found = check_keeping_dtype(X, validator, dtypes, plain)
    if not isinstance(X, Tensor):
        return found
    return X if without_labels or y is None else (X, found[1])


def _has_known_features(model: Any, X: np.ndarray, reset: bool) -> bool:
    """Return True if a model has as many features without names; if ``reset``, set them."""
    if model is None:
        return True
    if reset:
        model.n_features_in_ = X.shape[1]
        vars(model).pop("feature_names_in_", None)
        return True
    known = getattr(model, "n_features_in_", None)
    return X.shape[1] == known and not hasattr(model, "feature_names_in_")


def check_indices(X: Any, name: str = "X") -> None:
    """Raise a ValueError if an index of a sparse array is out of its shape.

    CSR, CSC, BSR and COO arrays are checked, which takes less time than a product; conversions from
    other formats check indices themselves.
    """
    if not sp.issparse(X) or X.ndim != 2:
        return
    n_rows, n_columns = X.shape
    if X.format == "coo":
        sound = _within(X.row, n_rows) and _within(X.col, n_columns)
    elif X.format in ("csr", "csc", "bsr"):
        block = X.blocksize if X.format == "bsr" else (1, 1)
        outer, inner = n_rows // block[0], n_columns // block[1]
        if X.format == "csc":
            outer, inner = inner, outer
        sound = (
            len(X.indptr) == outer + 1
            and X.indptr[0] == 0
            and X.indptr[-1] <= len(X.indices)
            and bool((X.indptr[1:] >= X.indptr[:-1]).all())
            and _within(X.indices[: X.indptr[-1]], inner)
        )
    else:
        return
    if not sound:
        raise ValueError(
            f"{name} is a {X.format} array of shape {X.shape} whose indices do not fit that shape; "
            "its check_format() says which."
        )


def _within(index: np.ndarray, bound: int) -> bool:
    return index.size == 0 or (int(index.min()) >= 0 and int(index.max()) < bound)
