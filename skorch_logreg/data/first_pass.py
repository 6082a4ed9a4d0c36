"""The first pass over partitioned rows: a sample of them, and checksums for all later passes."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from skorch_logreg.data.dense import BLOCK_BYTES
from skorch_logreg.data.protocol import Task
from skorch_logreg.data.tensors import CACHED_ENTRIES, as_tensor

Reader = Callable[[Any, int, bool], Any]  # (X of a partition, index, check) -> Tensor or csr_array

# step between the checked rows, or sparse entries; longer than repeating patterns of rows
_CHECKED_STEP = 17
# passes between two full checksums of a large part: 3 % of the time of passes in memory
_FULL_CHECK_PASSES = 4
_ROUNDING_ULPS = 1000.0  # units in the last place by which recomputed entries may differ


@dataclass
class FirstPassSample:
    """Sample and checksums that the first pass over the rows collects for all later ones.

    Attributes
    ----------
    step : int
        Step between the rows that are kept.
    kept : Tensor, csr_array or None
        Rows of the sample.
    checksums : list of Checksum or None
        One for each partition with rows.
    max_bytes : int
        Largest size of a sample whose step is not given.
    """

    step: int = 1
    kept: Any = None
    checksums: "list[Checksum] | None" = None
    max_bytes: int = BLOCK_BYTES

    def keep(self, parts: list[Any]) -> None:
        """Store the sampled rows of all partitions."""
        sparse = any(sp.issparse(part) for part in parts)
        self.kept = sp.vstack(parts, format="csr") if sparse else torch.cat(parts)

    def of_part(self, start: int) -> slice:
        """Return the slice of sampled rows in a partition that begins at row ``start``."""
        return slice((self.step // 2 - start) % self.step, None, self.step)


@dataclass(frozen=True)
class Checksum:
    """Sums that show if rows have changed since the first pass.

    Rows that are computed may differ in rounding from pass to pass: that changes sums by a
    bounded amount, and a digest completely.
    """

    total: float  # sum of all entries
    some: float  # sum over every 17th row or sparse entry, weighted by column or position
    places: tuple[int, ...]  # of sparse rows: sums of indices times positions, and of all indices
    limit: float  # largest change of a sum that rounding may cause

    @classmethod
    def of(cls, rows: Any) -> "Checksum":
        """Compute the checksum of a Tensor or csr_array in one read."""
        entries = as_tensor(rows.data) if sp.issparse(rows) else rows
        total, some, places = _sums(rows)
        # the squares of independent errors add; the sums are rounded as well
        size = _CHECKED_STEP**0.5 * float(torch.linalg.vector_norm(entries[::_CHECKED_STEP]))
        limit = torch.finfo(entries.dtype).eps * (
            _ROUNDING_ULPS * size + _CHECKED_STEP * abs(total)
        )
        return cls(total, some, places, limit)

    def is_of(self, rows: Any, whole: bool) -> bool:
        """Return True if rows match the checksum: all entries if ``whole``, else a part."""
        total, some, places = _sums(rows, whole)
        pairs = [(some, self.some), (total, self.total)][: 1 + whole]
        same_places = places == self.places[: len(places)]
        return same_places and all(self._is_near(*pair) for pair in pairs)

    def _is_near(self, found: float, first: float) -> bool:
        # a sum that overflowed in the first pass is not comparable, and the limit may be NaN then
        return not math.isfinite(first) or (
            math.isfinite(found) and not abs(found - first) > self.limit
        )


def _sums(rows: Any, whole: bool = True) -> tuple[float, float, tuple[int, ...]]:
    """Sum a part of the rows, and all of them if ``whole``."""
    entries, places = rows, tuple[int, ...]()
    if sp.issparse(rows):
        entries = as_tensor(rows.data)
        few = entries[::_CHECKED_STEP]
        # in every pass as few column indices as take hardly any time
        places = _ordered_sum(rows.indptr), _ordered_sum(rows.indices[::_CHECKED_STEP])
        if whole:
            places += _ordered_sum(rows.indices), int(rows.indices.sum(dtype=np.int64))
    else:
        few = rows[::_CHECKED_STEP].sum(dim=0)
    some = float(few @ torch.linspace(1.0, 2.0, len(few), dtype=few.dtype))
    return float(entries.sum()) if whole else 0.0, some, places


def _ordered_sum(indices: np.ndarray) -> int:
    """Sum every 17th index times its position, in integers, whose overflow wraps around."""
    few = indices[::_CHECKED_STEP].astype(np.int64)
    return int(few @ np.arange(1, len(few) + 1))


def inspection(read: Reader, lengths: list[int], slices: list[slice]) -> Task:
    """Return a task that validates all rows of a partition, and returns a sample and a checksum."""

    def task(X: Any, index: int, held: list[Any]) -> tuple[Any, list[Any]]:
        rows = read(X, index, True)
        if rows.shape[0] != lengths[index]:
            raise ValueError(
                f"Block {index} of X has {rows.shape[0]} rows, and should have {lengths[index]}."
            )
        return sample_and_checksum(rows, slices[index]), []

    return task


def sample_and_checksum(X: Any, rows: slice) -> tuple[Any, Checksum]:
    """Return a copy of some rows of a partition, and the checksum of all."""
    some = X[rows]
    return some.clone() if isinstance(some, Tensor) else some, Checksum.of(X)


def unchanged(read: Reader, checksums: list[Checksum], n_passes: int) -> Reader:
    """Return a reader that raises an error if rows differ from those of the first pass.

    Of large partitions a part of the rows is checked in every pass, and all of them every few
    passes.
    """

    def read_unchanged(X: Any, index: int, check: bool) -> Any:
        rows = read(X, index, check)
        n_numbers = rows.nnz if sp.issparse(rows) else rows.numel()
        whole = n_numbers <= CACHED_ENTRIES or (n_passes + index) % _FULL_CHECK_PASSES == 0
        if not checksums[index].is_of(rows, whole):
            raise ValueError(
                f"Part {index} of X has other numbers than when it was first read. A fit reads "
                "all rows several times, and has to find the same ones: draw at random, shuffle "
                "and augment before it."
            )
        return rows

    return read_unchanged


def as_it_is(X: Any, index: int, check: bool) -> Any:
    """Return rows that are a Tensor or csr_array already."""
    return X
