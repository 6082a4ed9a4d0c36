"""Where chunks of rows are read from: arrays on disk, files of NumPy, Parquet."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

_BYTES = 64 << 20  # of a chunk


class _OnDisk:
    """Rows that are no array."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        """Say so to whatever would have them as one."""
        raise TypeError(
            f"{type(self).__name__} reads rows in chunks, which TorchLogisticClassifier, "
            "TorchLogisticClassifierCV and MultiLabel take; all else needs rows in memory: pass an "
            "array, or "
            "np.concatenate([X.chunk(i) for i in range(len(X))])."
        )


@dataclass(frozen=True)
class ArrayChunks(_OnDisk):
    """Chunks of an array that lives on disk, or of whatever is sliced like one.

    Parameters
    ----------
    array : numpy.memmap, h5py or zarr data set, or array of shape (n_samples, n_features)
        Anything with ``shape``, ``dtype`` and slices of rows.
    rows : int or None, default=None
        Rows of a chunk; None: 64 MiB of them.
    scratch : str, path or None, default=None
        Folder for files of what is as long as the data, while a fit lasts; None: that is in
        memory.

    Examples
    --------
    >>> import numpy as np
    >>> from skorch_logreg.data import ArrayChunks
    >>> len(ArrayChunks(np.zeros((1000, 20)), rows=300))
    4
    """

    array: Any
    rows: int | None = None
    scratch: Any = None

    @cached_property
    def _rows(self) -> int:
        if self.rows is not None:
            return self.rows
        width = int(np.prod(self.array.shape[1:])) * np.dtype(self.array.dtype).itemsize
        return max(_BYTES // max(width, 1), 1)

    def __len__(self) -> int:
        """Count the chunks."""
        return -(-self.array.shape[0] // self._rows)

    def chunk(self, index: int) -> Any:
        """Read rows, into memory of their own."""
        rows = self.array[index * self._rows : (index + 1) * self._rows]
        return rows if sp.issparse(rows) else np.array(rows)


@dataclass(frozen=True)
class NpyChunks(_OnDisk):
    """Chunks that are files: ``.npy`` for dense rows, ``.npz`` of `scipy.sparse.save_npz`.

    Parameters
    ----------
    files : path of a folder, or sequence of paths
        Of a folder its ``.npy`` and ``.npz`` files, sorted by name.
    scratch : str, path or None, default=None
        As `ArrayChunks` has it.

    Raises
    ------
    ValueError
        If there are none.
    """

    files: Any
    scratch: Any = None

    @cached_property
    def _paths(self) -> list[Path]:
        if isinstance(self.files, (str, Path)):
            found = sorted(f for f in Path(self.files).iterdir() if f.suffix in (".npy", ".npz"))
        else:
            found = [Path(file) for file in self.files]
        if not found:
            raise ValueError(f"files={self.files!r} has no .npy or .npz file.")
        return found

    def __len__(self) -> int:
        """Count the files."""
        return len(self._paths)

    def chunk(self, index: int) -> Any:
        """Read a file."""
        path = self._paths[index]
        return sp.load_npz(path) if path.suffix == ".npz" else np.load(path)


@dataclass(frozen=True)
class ParquetChunks(_OnDisk):
    """Chunks of a Parquet data set: some columns of every row group.

    Numbers and booleans are columns of X as they are; dictionary columns (pandas' categories)
    become one column for each of their values, sparse. Needs pyarrow
    (``pip install skorch-logreg[parquet]``).

    Parameters
    ----------
    source : str, path, list of paths or pyarrow.dataset.Dataset
        What `pyarrow.dataset.dataset` takes.
    columns : sequence of str or None, default=None
        Of X, in this order; None: all.
    scratch : str, path or None, default=None
        As `ArrayChunks` has it.

    Raises
    ------
    ValueError
        If a column is neither a number nor a dictionary.
    """

    source: Any
    columns: Sequence[str] | None = None
    scratch: Any = None

    @cached_property
    def _dataset(self) -> Any:
        from pyarrow import dataset

        if isinstance(self.source, dataset.Dataset):
            return self.source
        return dataset.dataset(self.source, format="parquet")

    @cached_property
    def _groups(self) -> list[Any]:
        return [
            group for file in self._dataset.get_fragments() for group in file.split_by_row_group()
        ]

    @cached_property
    def _names(self) -> list[str]:
        return list(self._dataset.schema.names if self.columns is None else self.columns)

    @cached_property
    def _values(self) -> dict[str, np.ndarray]:
        """Sorted values of the dictionary columns, from a pass over these."""
        from pyarrow import types

        schema, found = self._dataset.schema, {}
        for name in self._names:
            kind = schema.field(name).type
            if types.is_dictionary(kind):
                found[name] = np.unique(self.target(name).astype(str))
            elif not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
                raise ValueError(
                    f"Column {name!r} is of type {kind}; expected numbers, booleans or a "
                    "dictionary (pandas: astype('category')). Leave it out of columns=."
                )
        return found

    @property
    def feature_names(self) -> list[str]:
        """Names of X's columns, in their order."""
        names = []
        for name in self._names:
            values = self._values.get(name)
            names += [name] if values is None else [f"{name}_{value}" for value in values]
        return names

    def target(self, name: str) -> np.ndarray:
        """Read one column of all rows: the labels, or the weights."""
        table = [group.to_table(columns=[name]).column(name) for group in self._groups]
        parts = [part.to_pandas().to_numpy() for part in table]
        return np.concatenate(parts)

    def __len__(self) -> int:
        """Count the row groups."""
        return len(self._groups)

    def chunk(self, index: int) -> Any:
        """Read a row group: dense, or sparse where a column is one of dictionaries."""
        table = self._groups[index].to_table(columns=self._names)
        parts: list[Any] = []
        for name in self._names:
            column, values = table.column(name), self._values.get(name)
            if values is None:
                parts.append(column.to_numpy().astype(np.float64)[:, None])
                continue
            labels = column.to_pandas().to_numpy().astype(str)
            place = np.searchsorted(values, labels)
            n = len(labels)
            ones = (np.ones(n), place, np.arange(n + 1))
            parts.append(sp.csr_array(ones, shape=(n, len(values))))
        return sp.hstack(parts, format="csr") if self._values else np.hstack(parts)
