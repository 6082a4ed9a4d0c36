"""Rows that are not in memory: chunks, Dask collections, and partitions of other processes."""

from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import _check_y

from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs.arrays import to_numpy
from skorch_logreg.inputs.chunks import ChunkedRows, PartitionedRows, check_features, is_chunked
from skorch_logreg.inputs.dask import is_dask, partitioned_rows
from skorch_logreg.inputs.options import Options

OutOfCoreRows = ChunkedRows | PartitionedRows


def is_out_of_core(X: Any) -> bool:
    """Return True if X holds rows that are not in memory."""
    return isinstance(X, PartitionedRows) or is_dask(X) or is_chunked(X)


def check_options(chosen: Options, device: torch.device | None) -> None:
    """Raise an error if the solver or the device needs rows in memory."""
    if chosen.trains:
        raise ParameterError(
            f"solver={chosen.solver!r} takes mini-batches, which rows elsewhere do not give; pass "
            "a DataLoader of torch, or choose another solver."
        )
    if chosen.is_liblinear:
        raise ParameterError("solver='liblinear' needs rows in memory; choose another solver.")
    if device is not None and device.type != "cpu":
        raise ParameterError(f"device={str(device)!r} takes rows in memory; leave device=None.")


def prepare(
    model: Any,
    X: Any,
    n_samples: int,
    chosen: Options,
    device: torch.device | None,
    *,
    reset: bool = True,
) -> OutOfCoreRows:
    """Prepare out-of-core rows with ``n_samples`` labels for a fit.

    The model's feature attributes are set if ``reset``, or else checked.
    """
    check_options(chosen, device)
    rows = X
    if not isinstance(X, PartitionedRows):
        rows = partitioned_rows(X) if is_dask(X) else ChunkedRows(X, n_samples)
    if rows.shape[0] != n_samples:
        raise ValueError(
            "Found input variables with inconsistent numbers of samples: "
            f"{[rows.shape[0], n_samples]}"
        )
    if not reset:
        check_features(model, rows.shape[1], rows.feature_names)
        return rows
    model.n_features_in_ = rows.shape[1]
    model.__dict__.pop("feature_names_in_", None)
    if rows.feature_names is not None:
        model.feature_names_in_ = rows.feature_names
    return rows


def check_labels(y: Any, multi_output: bool = False) -> Any:
    """Validate the labels of out-of-core rows as a NumPy array."""
    if y is None:
        raise ValueError("y is None; pass the labels of all rows as y.")
    y = _check_y(to_numpy(y), multi_output=multi_output)
    if not y.shape[0]:
        raise ValueError(
            f"Found array with 0 sample(s) (shape={y.shape}) while a minimum of 1 is required."
        )
    return y


def rows_for_splitter(X: Any) -> Any:
    """Return rows for a splitter; out-of-core rows are replaced by as many rows without columns."""
    return np.empty((X.shape[0], 0)) if isinstance(X, OutOfCoreRows) else X


def scorer_error(scoring: Any) -> ParameterError:
    """Return the error for a scorer that needs more than predictions."""
    return ParameterError(
        f"scoring={scoring!r} is called with rows, and these are elsewhere; name a metric of "
        "scikit-learn, or pass make_scorer(metric)."
    )


def require_in_memory(X: Any, what: str) -> None:
    """Raise an error for rows that are not in memory."""
    if is_out_of_core(X):
        raise ParameterError(
            f"{what} needs rows in memory, got {type(X).__name__}. TorchLogisticClassifier, "
            "TorchLogisticClassifierCV, OrdinalLogisticClassifier, MultiLabel and their searches "
            "fit rows that are elsewhere."
        )
