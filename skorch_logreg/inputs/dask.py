"""Dask collections as input of `fit`, and lazy predictions for them."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from operator import attrgetter
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skorch_logreg.data import DaskParts
from skorch_logreg.inputs.chunks import PartitionedRows, check_features

_COMPUTES: ContextVar[bool] = ContextVar("computes", default=False)


def is_dask(X: Any) -> bool:
    """Return True if X is a Dask array, data frame or series."""
    return hasattr(X, "__dask_graph__") and hasattr(X, "to_delayed")


def collect(array: Any) -> Any:
    """Compute a Dask collection as a NumPy array; return anything else unchanged."""
    return np.asarray(array.compute()) if is_dask(array) else array


def partitioned_rows(X: Any) -> PartitionedRows:
    """Return the blocks of a Dask collection as partitioned rows; compute unknown lengths."""
    n_features, dtype, names = _columns(X)
    X = _merge_column_chunks(X)
    blocks, lengths = _blocks(X), _lengths(X)
    kept = [i for i, length in enumerate(lengths) if length]
    if not kept:
        raise ValueError(
            f"Found array with 0 sample(s) (shape=(0, {n_features})) while a minimum of 1 is "
            "required."
        )
    parts = DaskParts([blocks[i] for i in kept], [lengths[i] for i in kept])
    return PartitionedRows(parts, (sum(lengths), n_features), dtype, names)


def lazy_for_dask(method: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Make a prediction method return a Dask array, block by block, for Dask input.

    It is lazy unless `computed_predictions` is in effect.
    """

    @wraps(method)
    def predict(self: Any, X: Any) -> Any:
        if not is_dask(X):
            return method(self, X)
        found = _predict_lazily(self, method.__name__, X)
        return found.compute() if _COMPUTES.get() else found

    return predict


@contextmanager
def computed_predictions() -> Iterator[None]:
    """Compute the predictions for Dask input inside this context, for scorers."""
    token = _COMPUTES.set(True)
    try:
        yield
    finally:
        _COMPUTES.reset(token)


def _predict_lazily(model: Any, name: str, X: Any) -> Any:
    import dask.array as da
    from dask import delayed

    check_is_fitted(model)
    n_features, dtype, names = _columns(X)
    check_features(model, n_features, names)
    model = copy.deepcopy(model)  # later fits and thresholds are of later predictions
    like = _predict_block(np.zeros((1, n_features), dtype), model, name)[:0]
    X = _merge_column_chunks(X)
    lengths = X.chunks[0] if hasattr(X, "chunks") else [np.nan] * X.npartitions
    blocks = [
        da.from_delayed(
            delayed(_predict_block, pure=True)(block, model, name),
            (length, *like.shape[1:]),
            meta=like,
        )
        for block, length in zip(_blocks(X), lengths, strict=True)
    ]
    return da.concatenate(blocks, allow_unknown_chunksizes=True)


def _predict_block(block: Any, model: Any, name: str) -> Any:
    if not block.shape[0]:
        return _predict_block(np.zeros((1, model.n_features_in_)), model, name)[:0]
    if isinstance(block, np.ndarray) and hasattr(model, "feature_names_in_"):
        import pandas as pd

        block = pd.DataFrame(block, columns=model.feature_names_in_)
    return getattr(model, name)(block)


def _columns(X: Any) -> tuple[int, Any, np.ndarray | None]:
    """Return the number of features, their float dtype, and their names or None."""
    names = None
    if hasattr(X, "columns"):
        kinds, n_features = list(X.dtypes), len(X.columns)
        if all(isinstance(name, str) for name in X.columns):
            names = np.asarray(X.columns, dtype=object)
    elif X.ndim != 2:
        raise ValueError(f"Expected 2D array, got a Dask array of {X.ndim} axes instead.")
    else:
        kinds, n_features = [X.dtype], X.shape[1]
    single = all(kind == np.float32 for kind in kinds)
    return int(n_features), np.dtype(np.float32 if single else np.float64), names


def _merge_column_chunks(X: Any) -> Any:
    """Rechunk an array so that every block has all columns."""
    return X.rechunk({1: -1}) if hasattr(X, "chunks") and len(X.chunks[1]) > 1 else X


def _blocks(X: Any) -> list[Any]:
    return list(np.ravel(X.to_delayed()))


def _lengths(X: Any) -> list[int]:
    """Return the number of rows of every block; compute it where it is not known."""
    from dask import compute, delayed

    known = X.chunks[0] if hasattr(X, "chunks") else (np.nan,)
    if not np.isnan(known).any():
        return [int(length) for length in known]
    shapes = compute(*(delayed(attrgetter("shape"))(block) for block in _blocks(X)))
    return [int(shape[0]) for shape in shapes]
