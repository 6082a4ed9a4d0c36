"""What is done with a part of the rows, where it is."""

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

_CHECKED_EVERY = (
    17  # rows, or entries of sparse ones, of which one is summed: no pattern is as long
)
_SMALL_PART_SIZE = (
    1 << 17
)  # numbers of a part that are summed in less than the calls of a pass take
_FULL_CHECK_PASSES = (
    4  # passes from one sum of a large part to the next: 3 % of them, where rows are at hand
)
_ROUNDING_ULPS = 1000.0  # units in the last place by which entries may differ that are computed


@dataclass(frozen=True)
class SumKernel:
    """Sum a kernel over the blocks of a part."""

    kernel: Kernel
    lazy_rows: LazyRows
    lengths: list[int]
    read: Callable[[Any, int, bool], Any] | None
    units: tuple[Tensor, Tensor, int]
    few: bool

    def __call__(self, X: Any, index: int, held: list[Any]) -> tuple[Any, list[Any]]:
        """Terms of all blocks together, and the arrays that are new."""
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
    """Copy the rows of a part that a function of targets, weights and other arrays chooses."""

    choose: Callable[..., Tensor]
    lazy_rows: LazyRows
    lengths: list[int]
    read: Callable[[Any, int, bool], Any]

    def __call__(self, X: Any, index: int, held: list[Any]) -> tuple[Any, list[Any]]:
        """Rows, targets and weights."""
        targets, weight, *rows = self.lazy_rows.made(held, self.lengths[index])
        chosen = self.choose(targets, weight, *rows)
        return pick_rows(self.read(X, index, False), targets, weight, chosen), []


@dataclass(frozen=True)
class Checksum:
    """Sums that tell whether rows are still those of the first pass.

    Where rows are computed, rounding may differ from pass to pass: sums differ by no more, and
    digests would differ as a whole.

    Attributes
    ----------
    total, some : float
        Sum of all entries, and one of every few rows that depends on their order and on that of
        the columns.
    columns : int or None
        Sum of the column indices of sparse rows.
    limit : float
        By how much rounding may change a sum.
    """

    total: float
    some: float
    columns: int | None
    limit: float

    @classmethod
    def of(cls, rows: Any) -> "Checksum":
        """Sum a Tensor or csr_array, in one read."""
        entries = as_tensor(rows.data) if sp.issparse(rows) else rows
        total, some, columns = _sums(rows)
        # independent errors add up like the root of their squares; sums round as well
        size = _CHECKED_EVERY**0.5 * float(torch.linalg.vector_norm(entries[::_CHECKED_EVERY]))
        limit = torch.finfo(entries.dtype).eps * (
            _ROUNDING_ULPS * size + _CHECKED_EVERY * abs(total)
        )
        return cls(total, some, columns, limit)

    def is_of(self, rows: Any, whole: bool) -> bool:
        """Whether rows are those whose sums these are: in one read, or in a bit of one."""
        total, some, columns = _sums(rows, whole)
        apart = [abs(some - self.some), abs(total - self.total) if whole else 0.0]
        # sums that overflow tell nothing
        return columns in (None, self.columns) and not any(a > self.limit for a in apart)


def _sums(rows: Any, whole: bool = True) -> tuple[float, float, int | None]:
    """Sum some of the rows, and all if that is wanted."""
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
    """Read a part, and refuse rows that are not those of the first pass.

    Large parts are summed whole by turns, and some of their rows always.

    Parameters
    ----------
    read : callable
        As `PartitionedData` has it.
    checksums : list of Checksum
        One a part.
    turn : int
        Number of the pass.
    """

    read: Callable[[Any, int, bool], Any]
    checksums: list[Checksum]
    turn: int

    def __call__(self, X: Any, index: int, check: bool) -> Any:
        """Read the rows."""
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
    """Check all rows of a part, sum them and take some."""

    read: Callable[[Any, int, bool], Any]
    lengths: list[int]
    slices: list[slice]

    def __call__(self, X: Any, index: int, held: list[Any]) -> tuple[Any, list[Any]]:
        """Rows that are kept, and the sums of all."""
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
    """Copy some columns of a part."""

    read: Callable[[Any, int, bool], Any]
    columns: Tensor

    def __call__(self, X: Any, index: int, held: list[Any]) -> tuple[Any, list[Any]]:
        """No terms, and the columns, to be held."""
        some = self.read_some(X, index, False)
        return (), [some if sp.issparse(some) else some.numpy()]

    def read_some(self, X: Any, index: int, check: bool) -> Any:
        """Read these columns alone."""
        rows = self.read(X, index, check)
        if sp.issparse(rows):
            return rows[:, self.columns.numpy()]
        return take_columns(rows, self.columns)


def as_it_is(X: Any, index: int, check: bool) -> Any:
    """Read what is a Tensor or csr_array already."""
    return X
