"""Every container that the estimator takes, made from one dense float array.

`CONTAINERS[name](X)` holds the same numbers as X (n_samples, n_features); none of them shares
memory with it. `DENSE`, `SPARSE`, `FRAMES` and `TENSORS` are the names of each kind; of the last
are those of torch that NumPy or SciPy read in no way of their own.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable

import numpy as np
import scipy.sparse as sp

CONTAINERS: dict[str, Callable[[np.ndarray], object]] = {}
DENSE: list[str] = []
SPARSE: list[str] = []
FRAMES: list[str] = []
TENSORS: list[str] = []


def _enter(kind):
    def enter(maker):
        CONTAINERS[maker.__name__] = maker
        kind.append(maker.__name__)
        return maker

    return enter


dense, sparse, frame = _enter(DENSE), _enter(SPARSE), _enter(FRAMES)
tensor = _enter(TENSORS)


# ---------------------------------------------------------------- dense


@dense
def c_order(X):
    return np.array(X, order="C")


@dense
def f_order(X):
    return np.array(X, order="F")


@dense
def strided(X):
    """Every other row and column of a larger array whose rest is NaN."""
    wide = np.full((2 * X.shape[0], 2 * X.shape[1]), np.nan, dtype=X.dtype)
    wide[::2, 1::2] = X
    return wide[::2, 1::2]


@dense
def reversed_rows_and_columns(X):
    """Negative strides."""
    return np.array(X[::-1, ::-1])[::-1, ::-1]


@dense
def read_only(X):
    made = np.array(X)
    made.setflags(write=False)
    return made


@dense
def memmap(X):
    """A read-only map of a file that the system removes with the last handle."""
    with tempfile.TemporaryFile() as file:
        file.write(np.ascontiguousarray(X).tobytes())
        file.flush()
        return np.memmap(file, dtype=X.dtype, mode="r", shape=X.shape)


@dense
def big_endian(X):
    return X.astype(X.dtype.newbyteorder(">"))


@dense
def unaligned(X):
    raw = np.zeros(X.nbytes + 1, dtype=np.uint8)
    made = raw[1:].view(X.dtype).reshape(X.shape)
    made[...] = X
    return made


@dense
def objects(X):
    return X.astype(object)


@dense
def nested_list(X):
    return X.tolist()


@dense
def torch_tensor(X):
    import torch

    return torch.from_numpy(np.array(X))


# ---------------------------------------------------------------- sparse


@sparse
def csr_array(X):
    return sp.csr_array(X)


@sparse
def csr_matrix(X):
    return sp.csr_matrix(X)


@sparse
def csc_array(X):
    return sp.csc_array(X)


@sparse
def csc_matrix(X):
    return sp.csc_matrix(X)


@sparse
def coo_array(X):
    return sp.coo_array(X)


@sparse
def coo_matrix(X):
    return sp.coo_matrix(X)


@sparse
def lil_array(X):
    return sp.lil_array(X)


@sparse
def dok_array(X):
    return sp.dok_array(X)


@sparse
def bsr_array(X):
    return sp.bsr_array(X)


@sparse
def csr_int64(X):
    return _wide_indices(sp.csr_array(X))


@sparse
def csc_int64(X):
    return _wide_indices(sp.csc_array(X))


@sparse
def csr_explicit_zeros(X):
    """Every fifth of the zeros is stored."""
    stored = X != 0
    stored.ravel()[::5] = True
    rows, columns = np.nonzero(stored)
    indptr = np.r_[0, np.cumsum(stored.sum(axis=1))].astype(np.int32)
    return sp.csr_array((X[rows, columns], columns.astype(np.int32), indptr), shape=X.shape)


@sparse
def csr_unsorted(X):
    made = sp.csr_array(X)
    for start, stop in zip(made.indptr[:-1], made.indptr[1:], strict=True):
        made.indices[start:stop] = made.indices[start:stop][::-1].copy()
        made.data[start:stop] = made.data[start:stop][::-1].copy()
    made.has_sorted_indices = False
    return made


@sparse
def csr_duplicates(X):
    """Every entry twice at half its value, which floating point halves exactly."""
    made = sp.csr_array(X)
    twice = sp.csr_array(
        (np.repeat(made.data / 2, 2), np.repeat(made.indices, 2), made.indptr * 2), shape=X.shape
    )
    twice.has_canonical_format = False
    return twice


@sparse
def csc_duplicates(X):
    made = sp.csc_array(X)
    twice = sp.csc_array(
        (np.repeat(made.data / 2, 2), np.repeat(made.indices, 2), made.indptr * 2), shape=X.shape
    )
    twice.has_canonical_format = False
    return twice


@sparse
def coo_duplicates(X):
    made = sp.coo_array(X)
    rows, columns = made.coords
    return sp.coo_array(
        (np.r_[made.data / 2, made.data / 2], (np.r_[rows, rows], np.r_[columns, columns])),
        shape=X.shape,
    )


@sparse
def csr_read_only(X):
    made = sp.csr_array(X)
    for array in (made.data, made.indices, made.indptr):
        array.setflags(write=False)
    return made


def _wide_indices(X):
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    return X


# ---------------------------------------------------------------- data frames


def feature_names(X) -> list[str]:
    return [f"feature {j}" for j in range(X.shape[1])]


@frame
def pandas_frame(X):
    import pandas as pd

    return pd.DataFrame(np.array(X), columns=feature_names(X), index=range(7, 7 + len(X)))


@frame
def pandas_sparse_frame(X):
    import pandas as pd

    return pd.DataFrame.sparse.from_spmatrix(sp.csc_array(X), columns=feature_names(X))


@frame
def polars_frame(X):
    import polars as pl

    return pl.DataFrame(np.array(X), schema=feature_names(X))


@frame
def pyarrow_table(X):
    import pyarrow as pa

    return pa.table(dict(zip(feature_names(X), np.ascontiguousarray(X.T), strict=True)))


# ---------------------------------------------------------------- tensors


@tensor
def torch_strided(X):
    """Every other row and column of a larger tensor whose rest is NaN."""
    import torch

    return torch.from_numpy(strided(X))


@tensor
def torch_requires_grad(X):
    return torch_tensor(X).requires_grad_()


@tensor
def torch_not_a_leaf(X):
    """What a layer gives."""
    return torch_requires_grad(X) * 1.0


@tensor
def torch_csr(X):
    return _sparse_tensor(X, "to_sparse_csr")


@tensor
def torch_csc(X):
    return _sparse_tensor(X, "to_sparse_csc")


@tensor
def torch_coo(X):
    return _sparse_tensor(X, "to_sparse_coo")


@tensor
def torch_bsr(X):
    return _sparse_tensor(X, "to_sparse_bsr", (2, 2))


@tensor
def torch_coo_requires_grad(X):
    return torch_coo(X).requires_grad_()


@tensor
def torch_coo_duplicates(X):
    """Every entry twice at half its value."""
    import torch

    made = torch_coo(X).coalesce()
    indices, values = made.indices(), made.values() / 2
    return torch.sparse_coo_tensor(
        torch.cat([indices, indices], dim=1),
        torch.cat([values, values]),
        made.shape,
        check_invariants=True,
    )


def _sparse_tensor(X, method, *arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says once that its sparse rows are in beta state
        return getattr(torch_tensor(X), method)(*arguments)
