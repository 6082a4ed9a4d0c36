"""Chunks of rows from arrays on disk, NumPy files and Parquet files."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from torch import Tensor

from skorch_logreg.data.dense import BLOCK_BYTES
from skorch_logreg.exceptions import ParameterError


class _OnDisk:
    """Base class of rows that cannot be converted to an array implicitly."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        """Raise an error that names the classes that accept chunks."""
        raise TypeError(
            f"{type(self).__name__} reads rows in chunks, which TorchLogisticClassifier, "
            "TorchLogisticClassifierCV, OrdinalLogisticClassifier, MultiLabel and their searches "
            "take; all else needs rows in memory: pass an array, or "
            "np.concatenate([X.chunk(i) for i in range(len(X))])."
        )


@dataclass(frozen=True)
class ArrayChunks(_OnDisk):
    """Chunks of an array on disk, or of any object that is sliced like an array.

    Parameters
    ----------
    array : numpy.memmap, h5py or zarr data set, or array of shape (n_samples, n_features)
        Anything with ``shape``, ``dtype`` and slices of rows.
    rows : int or None, default=None
        Number of rows of a chunk; None: as many as take 32 MiB.
    scratch : str, path or None, default=None
        Folder for temporary files of arrays with one entry per row, which are removed after a
        fit; None: these arrays are in memory.

    Raises
    ------
    ParameterError
        If the array has no shape and dtype, or `rows` is not a whole number from 1.

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

    def __post_init__(self) -> None:
        shape, dtype = (getattr(self.array, name, None) for name in ("shape", "dtype"))
        if not shape or not hasattr(dtype, "itemsize"):
            raise ParameterError(
                f"array is of type {type(self.array).__name__}, expected an array with shape, "
                "dtype and slices of rows."
            )
        rows = self.rows
        whole = isinstance(rows, Integral) and not isinstance(rows, bool)
        if rows is not None and not (whole and rows >= 1):
            raise ParameterError(f"rows is {rows!r}, expected a whole number from 1, or None.")

    @cached_property
    def _rows(self) -> int:
        if self.rows is not None:
            return self.rows
        width = int(np.prod(self.array.shape[1:])) * int(self.array.dtype.itemsize)
        return max(BLOCK_BYTES // max(width, 1), 1)

    def __len__(self) -> int:
        """Return the number of chunks."""
        return -(-self.array.shape[0] // self._rows)

    def chunk(self, index: int) -> Any:
        """Read the rows of a chunk into new memory."""
        rows = self.array[index * self._rows : (index + 1) * self._rows]
        if isinstance(rows, Tensor):  # NumPy lacks some types of torch
            return rows.clone()
        return rows if sp.issparse(rows) else np.array(rows)


@dataclass(frozen=True)
class NpyChunks(_OnDisk):
    """Chunks that are files: ``.npy`` of dense rows, ``.npz`` of `scipy.sparse.save_npz`.

    Parameters
    ----------
    files : path of a folder, or sequence of paths
        Files in this order. Of a folder all ``.npy`` and ``.npz`` files are used, sorted by name.
    scratch : str, path or None, default=None
        Folder for temporary files, as in `ArrayChunks`.

    Raises
    ------
    ValueError
        If a folder or list is empty, or a file holds anything but numbers. Pickled data are not
        loaded.
    """

    files: Any
    scratch: Any = None

    @cached_property
    def _paths(self) -> list[Path]:
        if isinstance(self.files, (str, Path)):
            folder = Path(self.files)
            if folder.is_file():
                raise ValueError(f"files={self.files!r} is a file; pass a folder, or a list of it.")
            found = sorted(f for f in folder.iterdir() if f.suffix in (".npy", ".npz"))
        else:
            found = [Path(file) for file in self.files]
        if not found:
            raise ValueError(f"files={self.files!r} has no .npy or .npz file.")
        return found

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self._paths)

    def chunk(self, index: int) -> Any:
        """Read a file."""
        path = self._paths[index]
        try:
            with path.open("rb") as file:
                if path.suffix == ".npz":
                    return sp.load_npz(file)
                return np.lib.format.read_array(file, allow_pickle=False)
        except OSError:  # the file is missing, or not readable
            raise
        except Exception as error:  # NumPy, zipfile and SciPy raise many kinds
            kind = "a sparse array" if path.suffix == ".npz" else "an array"
            raise ValueError(f"{str(path)!r} cannot be read as {kind}: {error}") from error


@dataclass(frozen=True)
class ParquetChunks(_OnDisk):
    """Chunks of a Parquet data set: some columns of every row group.

    Numeric and boolean columns become one column of X each. Dictionary columns (pandas'
    categories) become one sparse indicator column for each value that occurs. A null in a
    dictionary column is zero in all of its indicators, as in `pandas.get_dummies`; a null in a
    numeric column is NaN, which fits reject. X is float32 if all numeric columns are, else float64.
    Needs pyarrow (``pip install skorch-logreg[parquet]``).

    Parameters
    ----------
    source : str, path, list of paths or pyarrow.dataset.Dataset
        Data set, as `pyarrow.dataset.dataset` takes it.
    columns : sequence of str or None, default=None
        Columns of the data set that make X, in this order; None: all.
    scratch : str, path or None, default=None
        Folder for temporary files, as in `ArrayChunks`.
    features : sequence of str or None, default=None
        Features that make X, in this order, instead of `columns`: the ``feature_names_in_`` of a
        model that is to predict another data set, in which a value may be absent or new. A value
        that is none of the features is zero in all.

    Raises
    ------
    ValueError
        If a column does not exist or is neither numeric nor a dictionary, if a feature does not
        exist, or if two features would have the same name: a column ``c_u`` and the value ``u`` of
        a dictionary column ``c``.
    """

    source: Any
    columns: Sequence[str] | None = None
    scratch: Any = None
    features: Sequence[str] | None = None

    @cached_property
    def _dataset(self) -> Any:
        try:
            from pyarrow import dataset
        except ImportError as error:
            raise ImportError(
                'ParquetChunks needs pyarrow: pip install "skorch-logreg[parquet]".'
            ) from error
        if isinstance(self.source, dataset.Dataset):
            return self.source
        return dataset.dataset(self.source, format="parquet")

    @cached_property
    def _groups(self) -> list[Any]:
        files = list(self._dataset.get_fragments())
        if not all(hasattr(file, "split_by_row_group") for file in files):
            raise ValueError(f"source is {self._dataset!r}, expected a data set of Parquet files.")
        return [group for file in files for group in file.split_by_row_group()]

    def _read(self, group: Any, columns: list[str]) -> Any:
        """Read columns of a row group in the types of the data set, and those of its folders."""
        return group.to_table(schema=self._dataset.schema, columns=columns)

    @cached_property
    def _names(self) -> list[str]:
        known = self._dataset.schema.names
        if self.features is not None:
            return list(dict.fromkeys(name for name, _ in self._chosen))
        if self.columns is None:
            return list(known)
        if isinstance(self.columns, str) or not len(self.columns):
            raise ValueError(f"columns is {self.columns!r}, expected a sequence of names, or None.")
        missing = [name for name in self.columns if name not in known]
        if missing:
            raise ValueError(f"columns has {missing!r}; the columns of the data are {known!r}.")
        return list(self.columns)

    @cached_property
    def _chosen(self) -> list[tuple[str, str]]:
        """Column of each of `features`, and its value or, of a numeric column, ""."""
        from pyarrow import types

        if self.columns is not None:
            raise ValueError("columns and features are both given, expected one of them.")
        if isinstance(self.features, str) or not self.feature_names:
            raise ValueError(f"features is {self.features!r}, expected a sequence of names.")
        repeated = [name for name, n in Counter(self.feature_names).items() if n > 1]
        if repeated:
            raise ValueError(f"features has {repeated!r} more than once.")
        origins = dict[str, list[tuple[str, str]]]()
        for feature in self.feature_names:
            origins[feature] = []
            for column in self._dataset.schema:
                if types.is_dictionary(column.type):
                    if feature.startswith(f"{column.name}_"):
                        value = feature.removeprefix(f"{column.name}_")
                        origins[feature].append((column.name, value))
                elif feature == column.name:
                    origins[feature].append((feature, ""))
        for feature, found in origins.items():
            if len(found) != 1:
                named = (
                    f"one of the columns {[name for name, _ in found]}" if found else "no column"
                )
                raise ValueError(
                    f"features has {feature!r}, which is of {named}; the columns of the data are "
                    f"{self._dataset.schema.names!r}."
                )
        return [origins[feature][0] for feature in self.feature_names]

    @cached_property
    def _values(self) -> dict[str, list[str]]:
        """Sorted values of the dictionary columns, from one pass over these columns."""
        from pyarrow import types

        schema, found = self._dataset.schema, dict[str, list[str]]()
        for name in self._names:
            kind = schema.field(name).type
            if types.is_dictionary(kind):
                if self.features is not None:
                    found[name] = [value for column, value in self._chosen if column == name]
                    continue
                occur = set[str]()
                for group in self._groups:
                    for values, place in _encoded(self._read(group, [name]).column(name)):
                        occur.update(values[i] for i in np.unique(place[place >= 0]))
                found[name] = sorted(occur)
            elif not (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)):
                raise ValueError(
                    f"Column {name!r} is of type {kind}; expected numbers, booleans or a "
                    "dictionary (pandas: astype('category')). Leave it out of columns=."
                )
        self._require_names(found)
        return found

    def _features(self, values: dict[str, list[str]]) -> list[tuple[str, str]]:
        """Return the origin and the name of every feature, in order."""
        features = []
        for name in self._names:
            if name not in values:
                features.append((f"column {name!r}", name))
            for value in values.get(name, []):
                features.append((f"value {value!r} of column {name!r}", f"{name}_{value}"))
        return features

    def _require_names(self, values: dict[str, list[str]]) -> None:
        """Raise an error if two features would have the same name."""
        features = self._features(values)
        for feature, n in Counter(feature for _, feature in features).items():
            if n > 1:
                which = " and ".join(sorted(origin for origin, name in features if name == feature))
                raise ValueError(
                    f"{n} features would have the name {feature!r}: {which}. Rename one of the "
                    "columns, or leave it out of columns=."
                )

    @property
    def feature_names(self) -> list[str]:
        """Names of X's columns, in order."""
        if self.features is not None:
            return list(map(str, self.features))
        return [feature for _, feature in self._features(self._values)]

    def target(self, name: str) -> np.ndarray:
        """Read one column of all rows, such as the labels or weights."""
        tables = [self._read(group, [name]) for group in self._groups]
        tables = tables or [self._dataset.schema.empty_table()]
        parts = [table.column(name).to_pandas().to_numpy() for table in tables]
        return np.concatenate(parts)

    def __len__(self) -> int:
        """Return the number of row groups."""
        return len(self._groups)

    def chunk(self, index: int) -> Any:
        """Read a row group: dense, or sparse if there is a dictionary column."""
        every = self._values
        table = self._read(self._groups[index], self._names)
        parts: list[Any] = []
        for name in self._names:
            column = table.column(name)
            if name in every:
                parts.append(_indicators(column, every[name]).astype(self._dtype))
            else:
                parts.append(column.to_numpy().astype(self._dtype)[:, None])
        X = sp.hstack(parts, format="csr") if every else np.hstack(parts)
        return X if self._order is None else X[:, self._order]

    @cached_property
    def _dtype(self) -> type:
        """Type of X."""
        schema = self._dataset.schema
        kinds = {str(schema.field(name).type) for name in self._names if name not in self._values}
        return np.float32 if kinds == {"float"} else np.float64

    @cached_property
    def _order(self) -> list[int] | None:
        """Positions of `features` among those that the columns make, None if they are in order."""
        made = [feature for _, feature in self._features(self._values)]
        wanted = self.feature_names
        return None if made == wanted else [made.index(feature) for feature in wanted]


def _encoded(column: Any) -> Iterator[tuple[list[str], np.ndarray]]:
    """Yield the values of each part of a dictionary column, and their index per row (-1: null)."""
    for part in column.chunks:
        place = part.indices.cast("int64").fill_null(-1).to_numpy(zero_copy_only=False)
        yield [str(value) for value in part.dictionary.to_pylist()], place


def _indicators(column: Any, values: list[str]) -> sp.csr_array:
    """Return indicator columns of a dictionary column's values; nulls are zero in all."""
    places = {value: i for i, value in enumerate(values)}
    found = [
        np.array([places.get(value, -1) for value in known] + [-1])[place]
        for known, place in _encoded(column)
    ]
    place = np.concatenate([np.empty(0, dtype=np.int64), *found])
    known = place >= 0
    indptr = np.concatenate([[0], np.cumsum(known)])
    ones = np.ones(int(indptr[-1]))
    return sp.csr_array((ones, place[known], indptr), shape=(len(place), len(values)))
