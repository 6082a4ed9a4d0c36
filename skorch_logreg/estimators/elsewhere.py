"""Rows that are not in memory: chunks, Dask collections, parts of other processes."""

from typing import Any

import torch
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import _check_y

from skorch_logreg.estimators.chunks import ChunkedRows, is_chunked
from skorch_logreg.estimators.dask import collected, is_dask, rows_of
from skorch_logreg.estimators.options import Options
from skorch_logreg.estimators.parted import PartedRows
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.solvers import MiniBatch

__all__ = ["adopt", "is_elsewhere"]


def is_elsewhere(X: Any) -> bool:
    """Whether the rows of X are not in memory, as an array of them would be."""
    return isinstance(X, PartedRows) or is_dask(X) or is_chunked(X)


def adopt(
    model: Any, X: Any, y: Any, chosen: Options, device: torch.device | None
) -> tuple[ChunkedRows | PartedRows, Any]:
    """Validate such rows and their labels, and remember the features.

    Raises
    ------
    ParameterError
        If the solver or the device needs rows in memory.
    """
    if isinstance(chosen.solver, MiniBatch):
        raise ParameterError(
            f"solver={chosen.solver!r} takes mini-batches, which rows elsewhere do not give; pass "
            "a DataLoader of torch, or choose another solver."
        )
    if chosen.is_liblinear:
        raise ParameterError("solver='liblinear' needs rows in memory; choose another solver.")
    if device is not None and device.type != "cpu":
        raise ParameterError(f"device={str(device)!r} takes rows in memory; leave device=None.")
    if y is None:
        raise ValueError("y is None; pass the labels of all rows beside X.")
    y = _check_y(collected(y), multi_output=model.soft_labels)
    rows = _rows(X, len(y))
    check_consistent_length(rows, y)
    model.n_features_in_ = rows.shape[1]
    model.__dict__.pop("feature_names_in_", None)
    if rows.feature_names is not None:
        model.feature_names_in_ = rows.feature_names
    return rows, y


def _rows(X: Any, n_samples: int) -> ChunkedRows | PartedRows:
    if isinstance(X, PartedRows):
        return X
    return rows_of(X) if is_dask(X) else ChunkedRows(X, n_samples)
