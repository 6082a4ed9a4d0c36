"""Copies of selected columns."""

from typing import Any

import scipy.sparse as sp
import torch
from torch import Tensor

from skorch_logreg.data.tensors import gather_columns
from skorch_logreg.data.threads import map_blocks, thread_count

# wanted columns per column that the last copy lacks, from which that copy is extended
_WANTED_PER_MISSING = 2
_MIN_THREAD_SIZE = 1 << 17  # entries to copy per thread, at least


class ColumnCopy:
    """Cache of the last copied columns of an array, from which most of the next ones are taken."""

    def __init__(self) -> None:
        self._held: Tensor | None = None
        self._copy: Any = None

    def take(self, X: Any, columns: Tensor) -> tuple[Any, bool]:
        """Copy some columns of X (n, p), which must be the same array in every call.

        Returns
        -------
        copy : Tensor or csr_array of shape (n, c)
        is_read : bool
            True if X was read.
        """
        new = columns if self._held is None else columns[~torch.isin(columns, self._held)]
        if self._held is None or len(new) * _WANTED_PER_MISSING > len(columns):
            self._held, self._copy = columns, copy_columns(X, columns)
            return self._copy, True
        if len(new):
            more = copy_columns(X, new)
            self._held = torch.cat([self._held, new])
            if isinstance(X, Tensor):
                self._copy = torch.cat([self._copy, more], dim=1)
            else:
                self._copy = sp.hstack([self._copy, more], format="csr")
        place = torch.empty(X.shape[1], dtype=torch.int64, device=columns.device)
        place[self._held] = torch.arange(len(self._held), device=columns.device)
        return copy_columns(self._copy, place[columns]), len(new) > 0


def copy_columns(X: Any, columns: Tensor) -> Any:
    """Copy some columns of rows; dense rows are copied by all threads."""
    if not isinstance(X, Tensor):
        return X[:, columns.numpy()]
    out = torch.empty(len(X), len(columns), dtype=X.dtype, device=X.device)

    def part(rows: slice) -> None:
        gather_columns(X[rows], columns, out=out[rows])

    step = max(-(-len(X) // thread_count()), _MIN_THREAD_SIZE // max(X.shape[1], 1))
    map_blocks(part, [slice(start, start + step) for start in range(0, len(X), step)])
    return out
