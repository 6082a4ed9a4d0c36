"""Rows of any kind, looked at by scikit-learn, and kept in the type in which they are stored."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn import get_config
from torch import Tensor

from skorch_logreg.data.tensors import float_dtype
from skorch_logreg.data.threads import map_blocks, thread_count
from skorch_logreg.inputs.sparse_checks import check_indices
from skorch_logreg.inputs.tensors import to_numpy

__all__ = ["check_keeping_dtype", "is_finite_array", "torch_dtype"]

_BLOCK_ELEMENTS = 1 << 22  # numbers: worth a second thread, and looked at at a time in a tensor
_FLOATS = (np.dtype(np.float64), np.dtype(np.float32))
_HALF = np.dtype(np.float16)


def check_keeping_dtype(
    X: Any, validator: Callable[..., Any], dtype: Any = (np.float64, np.float32)
) -> Any:
    """Let scikit-learn look at rows, in such a way that numbers stay what they are.

    Parameters
    ----------
    X : object
        As `view_as_numpy` returns it, or an array of another library; read only.
    validator : callable
        `sklearn.utils.check_array`, or `validate_data` of an estimator: called with X and
        keywords.
    dtype : dtype or sequence of dtypes
        What scikit-learn makes of rows that are not stored as they are.

    Returns
    -------
    found : Any
        What `validator` returns for rows that are none of its business to convert: an array of
        floating point numbers, integers or booleans as it is, others as ``dtype``, sparse ones as
        CSR. For a tensor, on which scikit-learn does not look, that of an array in its place.

    Raises
    ------
    ValueError
        If scikit-learn would refuse X.
    """
    if isinstance(X, Tensor):
        stand_in, is_finite = _stand_in(X)
        return validator(stand_in, dtype=None, ensure_all_finite=not is_finite)
    plain = is_finite_array(X)
    check_indices(X)
    is_native = isinstance(X, np.ndarray) and X.dtype.isnative
    stored = is_native and (plain or X.dtype.kind in "biu")
    how = None if stored else list(dtype) if isinstance(dtype, tuple) else dtype
    return validator(X, accept_sparse="csr", dtype=how, ensure_all_finite=not plain)


def is_finite_array(X: Any) -> bool:
    """Whether X is an array of finite numbers in which scikit-learn's validation finds nothing.

    That takes longer than the fit of a few rows; this is a sum, and nothing for integers.
    """
    if type(X) is not np.ndarray or X.ndim != 2 or not X.size or not X.dtype.isnative:
        return False
    if X.dtype.kind in "biu":
        return True
    if X.dtype not in _FLOATS and X.dtype != _HALF:
        return False
    if X.size < _BLOCK_ELEMENTS:
        return _has_finite_sum(X)
    lines = X if X.flags.c_contiguous else X.T
    return all(map_blocks(_has_finite_sum, np.array_split(lines, thread_count())))


def torch_dtype(X: Any) -> torch.dtype:
    """Type of a model of checked rows of any library: float32 or float64."""
    if isinstance(X, Tensor):
        return float_dtype(X.dtype)
    if isinstance(X.dtype, np.dtype):  # whose name takes long to find
        return torch.float32 if X.dtype == np.float32 else torch.float64
    return torch.float32 if str(X.dtype).endswith("float32") else torch.float64


def _has_finite_sum(X: np.ndarray) -> bool:
    with np.errstate(all="ignore"):
        return bool(np.isfinite(X.sum(dtype=np.float64 if X.dtype == _HALF else None)))


def _stand_in(X: Tensor) -> tuple[np.ndarray, bool]:
    """Make an array of which scikit-learn says what it would say of a tensor.

    Returns
    -------
    array : ndarray
        Of the tensor's shape, which takes no memory; or a row that is not finite.
    is_finite : bool
    """
    if X.ndim < 2:
        return to_numpy(X), False  # the message has the numbers
    row = None
    if X.is_floating_point() and not get_config()["assume_finite"]:
        row = _not_finite(X)
    if row is not None:
        return to_numpy(X[row : row + 1].to(float_dtype(X.dtype))), False
    dtype = np.complex64 if X.is_complex() else np.float64
    return np.broadcast_to(np.zeros((), dtype), tuple(X.shape)), True


def _not_finite(X: Tensor) -> int | None:
    """Find the first row with a number that is not finite, a part of the rows at a time."""
    step = max(_BLOCK_ELEMENTS // max(math.prod(X.shape[1:]), 1), 1)
    for start in range(0, len(X), step):
        rows = X[start : start + step]
        if not bool(rows.sum().isfinite()):  # or the sum overflows
            wrong = (~rows.isfinite()).flatten(1).any(dim=1)
            if bool(wrong.any()):
                return start + int(wrong.nonzero()[0, 0])
    return None
