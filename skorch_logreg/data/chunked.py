"""Rows that come in chunks, from disk or wherever they live."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, Self

import scipy.sparse as sp
import torch
from torch import Tensor

from skorch_logreg.data.memory import InMemory, from_arrays
from skorch_logreg.data.partitioned import Partitioned, Survey
from skorch_logreg.data.protocol import Kernel

_COPIED = 1 << 28  # bytes of columns that are copied into memory


class Chunks(Protocol):
    """Consecutive rows of a design, read again in every pass."""

    def __len__(self) -> int:
        """Count the chunks."""

    def chunk(self, index: int) -> Any:
        """Read rows: Tensor or csr_array (rows, n_features), of one float type in all chunks."""


@dataclass(kw_only=True)
class Chunked(Partitioned):
    """Row blocks of chunks; see `Data` for the methods.

    One chunk is multiplied while a thread reads the next, so three of them are in memory at most:
    these two and a sample of the rows, on which a fit starts.

    Parameters
    ----------
    source : Chunks
    """

    source: Chunks

    def reduce(
        self, kernel: Kernel, *row_arrays: Tensor, reads: int = 1, few: bool = False
    ) -> tuple[Tensor, ...]:
        """Sum ``kernel(block, *rows of row_arrays)`` over all blocks."""
        if not reads:
            return self._without_columns.reduce(kernel, *row_arrays, reads=0)
        self.reads[0] += reads
        totals: tuple[Tensor, ...] = ()
        for rows, X in self._chunks():
            terms = self._part(rows, X).reduce(kernel, *(a[rows] for a in row_arrays), few=few)
            del X
            if not totals:
                totals = terms
                continue
            for total, term in zip(totals, terms, strict=True):
                total.add_(term)
        return totals

    def _chunks(self) -> Iterator[tuple[slice, Any]]:
        """Chunks that have rows, and which rows these are; the next is read meanwhile."""
        lengths, start = self.survey.lengths, 0
        with ThreadPoolExecutor(1) as reader:
            coming = reader.submit(self.source.chunk, 0)
            for index in range(len(self.source)):
                X = coming.result()
                if index + 1 < len(self.source):
                    coming = reader.submit(self.source.chunk, index + 1)
                length = int(X.shape[0])
                if index == len(lengths):
                    lengths.append(length)
                if length != lengths[index]:
                    raise ValueError(
                        f"Chunk {index} of X has {length} rows, and had {lengths[index]} when it "
                        "was first read."
                    )
                rows = slice(start, start + length)
                if rows.stop > self.n_samples:
                    break
                if length:
                    yield rows, X
                del X  # before the chunk after the next is read
                start = rows.stop
        if sum(lengths) != self.n_samples:
            more = "more than" if sum(lengths) > self.n_samples else f"{sum(lengths)} and not"
            raise ValueError(f"The chunks of X have {more} {self.n_samples} rows, as y has.")

    def _part(self, rows: slice, X: Any) -> InMemory:
        part = from_arrays(X, self.targets[rows], self.weight[rows])
        return replace(part, center=self.center, scale=self.scale, n_logits=self.n_logits)

    @cached_property
    def _without_columns(self) -> InMemory:
        """All rows without what is on disk."""
        none = torch.empty(self.n_samples, 0, dtype=torch.float64)
        return replace(from_arrays(none, self.targets, self.weight), n_logits=self.n_logits)

    def empty_rows(self, *shape: int) -> Tensor:
        """Make an array as long as the data, of the products' type."""
        return torch.empty(self.n_samples, *shape, dtype=torch.float64)

    def beside(self, rows: Tensor) -> Tensor:
        """Keep an array as long as the data in memory."""
        return rows

    def _keep(self) -> None:
        """Read all chunks once: their rows are counted, and a sample of them is kept."""
        self.reads[0] += 1
        survey, kept = self.survey, list[Any]()
        for rows, X in self._chunks():
            if not kept:
                survey.step = -(-self.n_samples // int(X.shape[0]))
            some = X[survey.of_part(rows.start) :: survey.step]
            kept.append(some.clone() if isinstance(some, Tensor) else some)
            del X
        survey.keep(kept)

    def select(self, models: Tensor) -> Self:
        """Keep the targets and weights of some models, where each has its own."""
        own = self._without_columns.select(models)
        return replace(self, targets=own.targets, weight=own.weight, n_logits=own.n_logits)

    def take_columns(self, columns: Tensor) -> Any:
        """Copy some columns into memory, or where they are many, read them from every chunk."""
        source = _ColumnChunks(self.source, columns)
        center, scale = self.center[columns], self.scale[columns]
        if 8 * self.n_samples * len(columns) > _COPIED:
            return replace(
                self,
                source=source,
                center=center,
                scale=scale,
                survey=Survey(list(self.survey.lengths)),
            )
        self.reads[0] += 1
        parts = [X for _, X in replace(self, source=source)._chunks()]
        X = sp.vstack(parts, format="csr") if sp.issparse(parts[0]) else torch.cat(parts)
        own = from_arrays(X, self.targets, self.weight)
        return own.standardised(center, scale, self.targets, self.n_logits)

    def recast(self, X: Tensor) -> InMemory:
        """Put other rows (n, r) under the same targets and weights, as they are."""
        return self._without_columns.recast(X)


@dataclass(frozen=True)
class _ColumnChunks:
    """Some columns of every chunk."""

    source: Chunks
    columns: Tensor

    def __len__(self) -> int:
        return len(self.source)

    def chunk(self, index: int) -> Any:
        """Read rows of these columns."""
        X = self.source.chunk(index)
        return X[:, self.columns] if isinstance(X, Tensor) else X[:, self.columns.numpy()]


def from_chunks(
    source: Chunks,
    n_features: int,
    dtype: torch.dtype,
    y: Tensor,
    sample_weight: Any = None,
    survey: Survey | None = None,
) -> Chunked:
    """Wrap chunks of rows.

    Parameters
    ----------
    source : Chunks
    n_features : int
    dtype : torch.dtype
        Of the entries.
    y, sample_weight : array
        Of all rows, as in `from_arrays`.
    survey : Survey or None
        Of an earlier pass over the same chunks, or to be filled by the first.

    Returns
    -------
    data : Chunked
    """
    rows = from_arrays(torch.empty(len(y), 0, dtype=torch.float64), y, sample_weight)
    center = torch.zeros(n_features, dtype=torch.float64)
    return Chunked(
        source=source,
        targets=rows.targets,
        weight=rows.weight,
        center=center,
        scale=torch.ones_like(center),
        dtype=dtype,
        survey=Survey() if survey is None else survey,
    )
