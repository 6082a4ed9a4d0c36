"""Rows that are read in chunks, or stored in partitions outside this process."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils import check_array
from sklearn.utils.validation import _get_feature_names
from torch import Tensor

from skorch_logreg.data import (
    ChunkParts,
    Data,
    FirstPassSample,
    Partitions,
    as_it_is,
    as_tensor,
    from_parts,
    look_through,
)
from skorch_logreg.inputs.arrays import to_numpy
from skorch_logreg.inputs.rows import check_indices


def is_chunked(X: Any) -> bool:
    """Return True if X has chunks of rows: ``len(X)`` of them, read by ``X.chunk(i)``."""
    if isinstance(X, (np.ndarray, Tensor)) or sp.issparse(X):
        return False
    return callable(getattr(X, "chunk", None)) and hasattr(X, "__len__")


class ChunkedRows:
    """Validated chunks of rows: finite, of one float type, with the same number of columns.

    ``source`` has ``__len__`` and ``chunk(i)``, which returns an array-like or sparse matrix (rows,
    n_features), perhaps without rows. With ``numeric``, numbers stored as text are refused.
    """

    def __init__(self, source: Any, n_samples: int, numeric: bool = False) -> None:
        if not len(source):
            raise ValueError(f"Found array with 0 sample(s): {source!r} has no chunk.")
        self._source, self._numeric = source, numeric
        self._seen: set[int] = set()
        self._parts: ChunkParts | None = None
        self._survey = FirstPassSample()
        names = getattr(source, "feature_names", None)
        self.feature_names = None if names is None else np.asarray(names, dtype=object)
        first = self._read(0)
        self._is_sparse = sp.issparse(first)
        self.shape, self.dtype = (n_samples, int(first.shape[1])), first.dtype

    def __len__(self) -> int:
        """Return the number of chunks."""
        return len(self._source)

    def chunk(self, index: int) -> Any:
        """Read a chunk as a Tensor or csr_array of the first chunk's type."""
        X = self._read(index)
        if X.shape[1] != self.shape[1]:
            raise ValueError(
                f"Chunk {index} of X has {X.shape[1]} columns, the first has {self.shape[1]}."
            )
        if sp.issparse(X) != self._is_sparse:
            kinds = ("dense", "sparse") if self._is_sparse else ("sparse", "dense")
            raise ValueError(f"Chunk {index} of X is {kinds[0]}, the first is {kinds[1]}.")
        if self.dtype == np.float32 and X.dtype != np.float32 and X.shape[0]:
            raise ValueError(
                f"Chunk {index} of X is read as {X.dtype}, the first as float32: give all one type."
            )
        X = X.astype(self.dtype, copy=False)
        return X if self._is_sparse else as_tensor(X)

    def _read(self, index: int) -> Any:
        try:
            raw = self._source.chunk(index)
            if index not in self._seen:
                names = _get_feature_names(raw)
                what = f"The feature names of chunk {index} of X"
                _check_names(names, self.feature_names, what, "of the first")
                if self.feature_names is None:
                    self.feature_names = names
            raw = to_numpy(raw)
            if self._numeric and not sp.issparse(raw):
                raw = check_array(raw, ensure_all_finite=False, ensure_min_samples=0)
            X = check_rows(raw, f"chunk {index} of X", None, index not in self._seen)
        except Exception as error:
            error.add_note(f"Chunk {index} of {len(self._source)} was being read.")
            raise
        self._seen.add(index)
        return X

    def data(self, targets: Tensor, weight: Tensor | None) -> Data:
        """Combine the rows with targets and weights; the first call reads and checks all rows."""
        n_passes = 0
        if self._parts is None:
            lengths, self._survey = look_through(self, self.shape[0])
            self._parts = ChunkParts.of(self, lengths, getattr(self._source, "scratch", None))
            n_passes = 1
        return from_parts(
            self._parts,
            as_it_is,
            self.shape[1],
            targets,
            sample_weight=weight,
            survey=self._survey,
            n_passes=n_passes,
        )


def check_rows(raw: Any, name: str, dtype: Any, check: bool) -> Any:
    """Validate rows, possibly none, as an array or a csr_array; ``name`` is theirs in messages.

    ``dtype`` None keeps float32, and makes everything else float64. ``check`` is whether all
    entries must be finite.
    """
    raw = to_numpy(raw)
    check_indices(raw)
    X = check_array(
        raw,
        accept_sparse="csr",
        dtype=[np.float64, np.float32] if dtype is None else dtype,
        ensure_all_finite=check,
        ensure_min_samples=0,
        input_name=name,
    )
    return sp.csr_array(X) if sp.issparse(X) else X


def iterate_chunks(model: Any, X: Any) -> Iterator[Any]:
    """Yield the validated rows of every chunk for a prediction.

    Strings are refused, as in scikit-learn: `fit` accepts numbers stored as text, predictions do
    not.
    """
    rows = ChunkedRows(X, 0, numeric=True)
    check_features(model, rows.shape[1], rows.feature_names)
    rows.feature_names = getattr(model, "feature_names_in_", rows.feature_names)
    yield from map(rows.chunk, range(len(rows)))


def check_features(model: Any, n_features: int, names: Any) -> None:
    """Raise an error if the features are not those of `fit`."""
    if n_features != model.n_features_in_:
        raise ValueError(
            f"X has {n_features} features, but {type(model).__name__} is expecting "
            f"{model.n_features_in_} features as input."
        )
    known = getattr(model, "feature_names_in_", None)
    _check_names(names, known, "The feature names", "that were passed during fit")


def _check_names(names: Any, known: Any, what: str, expected: str) -> None:
    """Raise an error if there are two lists of names that differ in a column of both."""
    if names is None or known is None:
        return
    for column, (name, before) in enumerate(zip(names, known, strict=False)):
        if name != before:
            raise ValueError(
                f"{what} should match those {expected}: column {column} is {name!r}, and was "
                f"{before!r}."
            )


@dataclass(frozen=True)
class PartitionedRows:
    """Rows in partitions, which are validated where they are stored.

    ``dtype`` is float32 or float64; ``survey`` holds the findings of the first pass, which later
    fits reuse.
    """

    parts: Partitions
    shape: tuple[int, int]
    dtype: Any
    feature_names: np.ndarray | None
    survey: FirstPassSample = field(default_factory=FirstPassSample)

    def data(self, targets: Tensor, weight: Tensor | None) -> Data:
        """Combine the partitions with their targets and weights."""
        like = {"n_features": self.shape[1], "dtype": self.dtype, "names": self.feature_names}
        read = partial(_validate_block, **like)
        return from_parts(
            self.parts, read, self.shape[1], targets, sample_weight=weight, survey=self.survey
        )


def _validate_block(
    X: Any, index: int, check: bool, *, n_features: int, dtype: Any, names: Any
) -> Any:
    """Validate a partition where it is stored."""
    if check:
        what = f"The feature names of block {index} of X"
        _check_names(_get_feature_names(X), names, what, "of the collection")
    rows = check_rows(X, f"block {index} of X", dtype, check)
    if rows.shape[1] != n_features:
        raise ValueError(
            f"Block {index} of X has {rows.shape[1]} columns, and should have {n_features}."
        )
    return rows if sp.issparse(rows) else as_tensor(rows)
