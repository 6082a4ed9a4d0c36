"""Rows that come in chunks, from disk or wherever they live."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol, Self

import scipy.sparse as sp
import torch
from torch import Tensor

from skorch_logreg.data.memory import InMemory, from_arrays, moments
from skorch_logreg.data.protocol import Kernel

_MOMENT_ROWS = 1000  # that tell of all, where no column is constant in them
_COPIED = 1 << 28  # bytes of columns that are copied into memory


class Chunks(Protocol):
    """Consecutive rows of a design, read again in every pass."""

    def __len__(self) -> int:
        """Count the chunks."""

    def chunk(self, index: int) -> Any:
        """Read rows: Tensor or csr_array (rows, n_features), of one float type in all chunks."""


@dataclass
class Survey:
    """What the first pass finds out, for all passes to come.

    Attributes
    ----------
    lengths : list of int
        Rows of every chunk.
    moments : tuple of Tensor or None
        Weighted mean and deviation of the columns.
    step : int
        Every so many-th row is kept.
    kept : Tensor, csr_array or None
        These rows, as many as the first chunk has, or fewer.
    """

    lengths: list[int] = field(default_factory=list)
    moments: tuple[Tensor, Tensor] | None = None
    step: int = 1
    kept: Any = None


@dataclass
class Chunked:
    """Row blocks of chunks; see `Data` for the methods.

    One chunk is multiplied while a thread reads the next, so three of them are in memory at most:
    these two and a sample of the rows, on which a fit starts.

    Parameters
    ----------
    source : Chunks
    targets, weight : Tensor
        As `InMemory` has them, of all rows.
    center, scale : Tensor of shape (n_features,), float64
    dtype : torch.dtype
        Type of X's entries.
    n_logits : int
        Logits a row, of all models.
    """

    source: Chunks
    targets: Tensor
    weight: Tensor
    center: Tensor
    scale: Tensor
    dtype: torch.dtype
    n_logits: int = 1
    reads: list[int] = field(default_factory=lambda: [0], compare=False)
    survey: Survey = field(default_factory=Survey, compare=False)

    whole = None
    single_block = False
    is_split = True
    device = torch.device("cpu")

    @property
    def n_passes(self) -> int:
        """Full reads of X so far, by whatever was derived from this data."""
        return self.reads[0]

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return len(self.weight)

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return len(self.center)

    @property
    def row_size(self) -> float:
        """What reading a row costs, in numbers of a dense one."""
        return self._sampled_rows.row_size

    @property
    def n_weights(self) -> int:
        """Columns of weights: 1 for all models, or m."""
        return int(self.weight.shape[1])

    @property
    def exact(self) -> Self:
        """The same data: all products are float64."""
        return self

    def rough(self) -> Self:
        """Take the same data: to read it costs more than to multiply it."""
        return self

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

    def column_moments(self) -> tuple[Tensor, Tensor]:
        """Weighted mean and standard deviation (p,) of the columns of X.

        Of the rows that the first pass keeps, if they are many and no column is constant there.
        """
        if self.survey.moments is None:
            sample = self._sampled_rows
            if sample.n_samples >= _MOMENT_ROWS:
                self.survey.moments = sample.column_moments()
            if self.survey.moments is None or not bool((self.survey.moments[1] > 0).all()):
                self.survey.moments = self._exact_moments()
        return self.survey.moments

    def _exact_moments(self) -> tuple[Tensor, Tensor]:
        """Put the moments of all chunks together.

        References
        ----------
        Chan, Golub, LeVeque (1983). Algorithms for computing the sample variance, The American
        Statistician 37, equation 2.1.
        """
        self.reads[0] += 1
        total = 0.0
        mean, squares = torch.zeros_like(self.center), torch.zeros_like(self.center)
        for rows, X in self._chunks():
            part = self._part(rows, X)
            del X
            weight = float(part.weight.mean(dim=1).sum())
            if weight == 0:
                continue
            own, deviation = moments(part)
            del part
            total += weight
            shift = own - mean
            mean = mean + shift * (weight / total)
            squares += weight * (deviation.square() + shift.square() * (1 - weight / total))
        deviation = (squares / total).sqrt()
        return mean, deviation * (deviation > 1e-13 * mean.abs())

    def _keep(self) -> None:
        """Read all chunks once: their rows are counted, and a sample of them is kept."""
        self.reads[0] += 1
        survey, kept = self.survey, list[Any]()
        for rows, X in self._chunks():
            if not kept:
                survey.step = -(-self.n_samples // int(X.shape[0]))
            first = (survey.step // 2 - rows.start) % survey.step
            some = X[first :: survey.step]
            kept.append(some.clone() if isinstance(some, Tensor) else some)
            del X
        survey.kept = sp.vstack(kept, format="csr") if sp.issparse(kept[0]) else torch.cat(kept)

    @cached_property
    def _sampled_rows(self) -> InMemory:
        """The rows that are kept, with the weight of all."""
        if self.survey.kept is None:
            self._keep()
        rows = slice(self.survey.step // 2, None, self.survey.step)
        weight = self.weight[rows]
        factor = (self.weight.sum(dim=0) / weight.sum(dim=0)).nan_to_num(1.0, 1.0)
        part = from_arrays(self.survey.kept, self.targets[rows], weight * factor)
        return replace(part, center=self.center, scale=self.scale, n_logits=self.n_logits)

    def sampled(self, n_rows: int) -> slice:
        """Say which rows a sample has: of those that are kept."""
        among, step = self._sampled_rows.sampled(n_rows), self.survey.step
        return slice(step // 2 + step * among.start, None, step * among.step)

    def sample(self, n_rows: int, columns: Tensor | None = None) -> InMemory:
        """Evenly spaced rows, with weights scaled up to the weight of all; perhaps some columns.

        In memory, and as many as were kept at most.
        """
        return self._sampled_rows.sample(n_rows, columns)

    def select(self, models: Tensor) -> Self:
        """Keep the targets and weights of some models, where each has its own."""
        own = self._without_columns.select(models)
        return replace(self, targets=own.targets, weight=own.weight, n_logits=own.n_logits)

    def outer(self, column_weight: Tensor, rough: bool = False) -> Tensor:
        """Refuse: no block holds all rows."""
        raise ValueError("rows in chunks have no matrix of all their pairs")

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

    def standardised(
        self, center: Tensor, scale: Tensor, targets: Tensor, n_logits: int = 1
    ) -> Self:
        """Take the rows as ``(X - center) / scale``, with encoded targets."""
        return replace(self, center=center, scale=scale, targets=targets, n_logits=n_logits)


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
    source: Chunks, n_features: int, dtype: torch.dtype, y: Tensor, sample_weight: Any = None
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

    Returns
    -------
    data : Chunked
    """
    rows = from_arrays(torch.empty(len(y), 0, dtype=torch.float64), y, sample_weight)
    center = torch.zeros(n_features, dtype=torch.float64)
    return Chunked(source, rows.targets, rows.weight, center, torch.ones_like(center), dtype)
