"""Tasks that run on a partition of the rows, where it is stored."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from skorch_logreg.data.lazy_rows import LazyRows
from skorch_logreg.data.memory import from_arrays, pick_rows
from skorch_logreg.data.protocol import Kernel
from skorch_logreg.data.tensors import as_tensor, take_columns

# step between the checked rows, or sparse entries; longer than repeating patterns of rows
_CHECKED_EVERY = 17
# entries of a part up to which summing all takes less time than the calls of a pass
_SMALL_PART_SIZE = 1 << 17
# passes between two full checksums of a large part: 3 % of the time of passes in memory
_FULL_CHECK_PASSES = 4
_ROUNDING_ULPS = 1000.0  # units in the last place by which recomputed entries may differ


@dataclass(frozen=True)
class SumKernel:
    """Task that sums a kernel over the blocks of a partition."""

    kernel: Kernel
    lazy_rows: LazyRows
    lengths: list[int]
    read: Callable[[Any, int, bool], Any] | None
    units: tuple[Tensor, Tensor, int]
    few: bool

    def __call__(self, X: Any, index: int, held: list[Any]) -> tuple[Any, list[Any]]:
        """Return the sums, and the arrays that are not stored yet."""
        n_rows = self.lengths[index]
        values = self.lazy_rows.made(held, n_rows)
        targets, weight, *rows = values
        center, scale, n_logits = self.units
        if self.read is None:
            none = torch.empty(n_rows, 0, dtype=torch.float64)
            data = replace(from_arrays(none, targets, weight), n_logits=n_logits)
        else:
            data = from_arrays(self.read(X, index, False), targets, weight)
            data = replace(data.in_units(center, scale), n_logits=n_logits)
        terms = data.reduce(self.kernel, *rows, few=self.few)
        return terms, self.lazy_rows.new(values)


@dataclass(frozen=True)
class PickRows:
    """Task that copies rows chosen by a function of targets, weights and other arrays."""

    choose: Callable[..., Tensor]
    lazy_rows: LazyRows
    lengths: list[int]
    read: Callable[[Any, int, bool], Any]

    def __call__(self, X: Any, index: int, held: list[Any]) -> tuple[Any, list[Any]]:
        """Return rows, targets and weights."""
        targets, weight, *rows = self.lazy_rows.made(held, self.lengths[index])
        chosen = self.choose(targets, weight, *rows)
        return pick_rows(self.read(X, index, False), targets, weight, chosen), []


@dataclass(frozen=True)
class Checksum:
    """Sums that show if rows have changed since the first pass.

    Rows that are computed may differ in rounding from pass to pass: that changes sums by a
    bounded amount, and a digest completely.

    Attributes
    ----------
    total, some : float
        Sum of all entries, and a sum over every 17th row that depends on the order of rows and
        columns.
    columns : int or None
        Sum of the column indices of sparse rows.
    limit : float
        Largest change of a sum that rounding may cause.
    """

    total: float
    some: float
    columns: int | None
    limit: float

    @classmethod
    def of(cls, rows: Any) -> "Checksum":
        """Compute the checksum of a Tensor or csr_array in one read."""
        entries = as_tensor(rows.data) if sp.issparse(rows) else rows
        total, some, columns = _sums(rows)
        # the squares of independent errors add; the sums are rounded as well
        size = _CHECKED_EVERY**0.5 * float(torch.linalg.vector_norm(entries[::_CHECKED_EVERY]))
        limit = torch.finfo(entries.dtype).eps * (
            _ROUNDING_ULPS * size + _CHECKED_EVERY * abs(total)
        )
        return cls(total, some, columns, limit)

    def is_of(self, rows: Any, whole: bool) -> bool:
        """Return True if rows match the checksum: all entries if ``whole``, else a part."""
        total, some, columns = _sums(rows, whole)
        apart = [abs(some - self.some), abs(total - self.total) if whole else 0.0]
        # sums that overflow are not comparable, and pass
        return columns in (None, self.columns) and not any(a > self.limit for a in apart)


def _sums(rows: Any, whole: bool = True) -> tuple[float, float, int | None]:
    """Sum a part of the rows, and all of them if ``whole``."""
    if sp.issparse(rows):
        entries = as_tensor(rows.data)
        some = float(entries[::_CHECKED_EVERY].sum())
        columns = int(rows.indices.sum(dtype=np.int64)) if whole else None
    else:
        entries, columns = rows, None
        few = rows[::_CHECKED_EVERY].sum(dim=0)
        some = float(few @ torch.linspace(1.0, 2.0, len(few), dtype=few.dtype))
    return float(entries.sum()) if whole else 0.0, some, columns


@dataclass(frozen=True)
class UnchangedReader:
    """Reader of a partition that raises an error if rows differ from those of the first pass.

    Of large partitions a part of the rows is checked in every pass, and all of them every few
    passes.

    Parameters
    ----------
    read : callable
        As in `PartitionedData`.
    checksums : list of Checksum
        One per partition.
    turn : int
        Number of the pass.
    """

    read: Callable[[Any, int, bool], Any]
    checksums: list[Checksum]
    turn: int

    def __call__(self, X: Any, index: int, check: bool) -> Any:
        """Read and check the rows."""
        rows = self.read(X, index, check)
        n_numbers = rows.nnz if sp.issparse(rows) else rows.numel()
        whole = n_numbers <= _SMALL_PART_SIZE or (self.turn + index) % _FULL_CHECK_PASSES == 0
        if not self.checksums[index].is_of(rows, whole):
            raise ValueError(
                f"Part {index} of X has other numbers than when it was first read. A fit reads "
                "all rows several times, and has to find the same ones: draw at random, shuffle "
                "and augment before it."
            )
        return rows


@dataclass(frozen=True)
class InspectPart:
    """Task that validates all rows of a partition, computes a checksum and takes a sample."""

    read: Callable[[Any, int, bool], Any]
    lengths: list[int]
    slices: list[slice]

    def __call__(self, X: Any, index: int, held: list[Any]) -> tuple[Any, list[Any]]:
        """Return the sample and the checksum."""
        rows = self.read(X, index, True)
        if rows.shape[0] != self.lengths[index]:
            raise ValueError(
                f"Block {index} of X has {rows.shape[0]} rows, and should have "
                f"{self.lengths[index]}."
            )
        some = rows[self.slices[index]]
        return (some.clone() if isinstance(some, Tensor) else some, Checksum.of(rows)), []


@dataclass(frozen=True)
class CopyColumns:
    """Task that copies some columns of a partition."""

    read: Callable[[Any, int, bool], Any]
    columns: Tensor

    def __call__(self, X: Any, index: int, held: list[Any]) -> tuple[Any, list[Any]]:
        """Return no terms, and the columns as a value to store."""
        some = self.read_some(X, index, False)
        return (), [some if sp.issparse(some) else some.numpy()]

    def read_some(self, X: Any, index: int, check: bool) -> Any:
        """Read only these columns."""
        rows = self.read(X, index, check)
        if sp.issparse(rows):
            return rows[:, self.columns.numpy()]
        return take_columns(rows, self.columns)


def as_it_is(X: Any, index: int, check: bool) -> Any:
    """Return rows that are a Tensor or csr_array already."""
    return X
