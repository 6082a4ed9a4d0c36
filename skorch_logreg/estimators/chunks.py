"""Rows that a caller hands over in chunks."""

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.utils import check_array
from sklearn.utils.validation import _check_y, _get_feature_names
from torch import Tensor

from skorch_logreg.estimators.options import Options
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.solvers import MiniBatch

__all__ = ["ChunkedRows", "adopt", "check_features", "is_chunked"]


def is_chunked(X: Any) -> bool:
    """Whether X has ``len(X)`` chunks of rows, which ``X.chunk(i)`` reads."""
    if isinstance(X, (np.ndarray, Tensor)) or sp.issparse(X):
        return False
    return callable(getattr(X, "chunk", None)) and hasattr(X, "__len__")


class ChunkedRows:
    """Validated chunks: all have as many columns, of one float type, and are finite.

    Parameters
    ----------
    source : object with ``__len__`` and ``chunk(i)``
        A chunk is an array-like or sparse matrix (rows, n_features), perhaps of no row.
    n_samples : int
        Rows of all chunks, as they are said to be.

    Attributes
    ----------
    shape : tuple of int
    dtype : dtype
    feature_names : ndarray of str or None

    Raises
    ------
    ValueError
        If there is no chunk, or the first is none.
    """

    def __init__(self, source: Any, n_samples: int) -> None:
        if not len(source):
            raise ValueError(f"Found array with 0 sample(s): {source!r} has no chunk.")
        self._source = source
        self._seen: set[int] = set()
        first = self._read(0)
        self._is_sparse = sp.issparse(first)
        self.shape, self.dtype = (n_samples, int(first.shape[1])), first.dtype
        names = getattr(source, "feature_names", None)
        if names is None:
            names = _get_feature_names(source.chunk(0))
        self.feature_names = None if names is None else np.asarray(names, dtype=object)

    def __len__(self) -> int:
        """Count the chunks."""
        return len(self._source)

    def chunk(self, index: int) -> Any:
        """Read rows: Tensor or csr_array of the first chunk's type."""
        X = self._read(index)
        if X.shape[1] != self.shape[1]:
            raise ValueError(
                f"Chunk {index} of X has {X.shape[1]} columns, the first has {self.shape[1]}."
            )
        if sp.issparse(X) != self._is_sparse:
            kinds = ("dense", "sparse") if self._is_sparse else ("sparse", "dense")
            raise ValueError(f"Chunk {index} of X is {kinds[0]}, the first is {kinds[1]}.")
        X = X.astype(self.dtype, copy=False)
        return sp.csr_array(X) if self._is_sparse else torch.from_numpy(X)

    def _read(self, index: int) -> Any:
        try:
            raw = self._source.chunk(index)
            X = check_array(
                raw,
                accept_sparse="csr",
                dtype=[np.float64, np.float32],
                ensure_all_finite=index not in self._seen,
                ensure_min_samples=0,
                input_name=f"chunk {index} of X",
            )
        except Exception as error:
            error.add_note(f"Chunk {index} of {len(self._source)} was being read.")
            raise
        self._seen.add(index)
        if isinstance(X, np.ndarray) and not X.flags.writeable:
            X = X.copy()
        return X


def check_features(model: Any, rows: ChunkedRows) -> None:
    """Refuse other features than those of `fit`."""
    if rows.shape[1] != model.n_features_in_:
        raise ValueError(
            f"X has {rows.shape[1]} features, but {type(model).__name__} is expecting "
            f"{model.n_features_in_} features as input."
        )
    known, names = getattr(model, "feature_names_in_", None), rows.feature_names
    if known is not None and names is not None and list(names) != list(known):
        first = next(i for i, (a, b) in enumerate(zip(names, known, strict=True)) if a != b)
        raise ValueError(
            "The feature names should match those that were passed during fit: column "
            f"{first} is {names[first]!r}, and was {known[first]!r}."
        )


def adopt(
    model: Any, X: Any, y: Any, chosen: Options, device: torch.device | None
) -> tuple[ChunkedRows, Any]:
    """Validate chunks and their labels, and remember the features.

    Raises
    ------
    ParameterError
        If the solver or the device needs rows in memory.
    """
    if isinstance(chosen.solver, MiniBatch):
        raise ParameterError(
            f"solver={chosen.solver!r} takes mini-batches, which chunks of rows do not give; pass "
            "a DataLoader of torch, or choose another solver."
        )
    if chosen.is_liblinear:
        raise ParameterError("solver='liblinear' needs rows in memory; choose another solver.")
    if device is not None and device.type != "cpu":
        raise ParameterError(f"device={str(device)!r} takes rows in memory; leave device=None.")
    if y is None:
        raise ValueError("y is None; pass the labels of all rows beside the chunks of X.")
    y = _check_y(y, multi_output=model.soft_labels)
    rows = ChunkedRows(X, len(y))
    model.n_features_in_ = rows.shape[1]
    model.__dict__.pop("feature_names_in_", None)
    if rows.feature_names is not None:
        model.feature_names_in_ = rows.feature_names
    return rows, y
