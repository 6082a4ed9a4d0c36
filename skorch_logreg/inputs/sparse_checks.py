"""Check of the index arrays of sparse input, without which products may read out of bounds."""

from typing import Any

import numpy as np
import scipy.sparse as sp

__all__ = ["check_indices"]


def check_indices(X: Any) -> None:
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
        sound = _is_pointer(X.indptr, outer, len(X.indices)) and _within(
            X.indices[: X.indptr[-1]], inner
        )
    else:
        return
    if not sound:
        raise ValueError(
            f"X is a {X.format} array of shape {X.shape} whose indices do not fit that shape; "
            "its check_format() says which."
        )


def _within(index: np.ndarray, bound: int) -> bool:
    return index.size == 0 or (int(index.min()) >= 0 and int(index.max()) < bound)


def _is_pointer(indptr: np.ndarray, n_outer: int, n_entries: int) -> bool:
    return (
        len(indptr) == n_outer + 1
        and indptr[0] == 0
        and indptr[-1] <= n_entries
        and bool((indptr[1:] >= indptr[:-1]).all())
    )
