"""Data in partitions, which may be on disk or in other processes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from skorch_logreg.data.gram import are_near_zero
from skorch_logreg.data.lazy_rows import Call, LazyRows, Node
from skorch_logreg.data.memory import InMemory, as_columns, from_arrays
from skorch_logreg.data.moments import MIN_VARIANCE_SHARE, refine_moments
from skorch_logreg.data.protocol import Block, Kernel
from skorch_logreg.data.remote import Partitions, RemoteRows, collect_rows
from skorch_logreg.data.tasks import (
    Checksum,
    CopyColumns,
    InspectPart,
    PickRows,
    SumKernel,
    UnchangedReader,
    as_it_is,
)
from skorch_logreg.data.tensors import take_columns

PLACES = {
    "memory": "arrays, as above",
    "chunks": "`len(X)` and `X.chunk(i)`: `ArrayChunks`, `NpyChunks`, `ParquetChunks` or your own",
    "Dask": "`dask.array` of dense or sparse blocks, `dask.dataframe`",
    "ranks": "`RankRows` of every process of a group of `torch.distributed`",
}

_SAMPLE_BYTES = 64 << 20  # bytes of the first-pass sample
_MIN_MOMENT_ROWS = 1000  # rows of a sample that estimate moments, at least


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
    """

    step: int = 1
    kept: Any = None
    checksums: list[Checksum] | None = None

    def keep(self, parts: list[Any]) -> None:
        """Store the sampled rows of all partitions."""
        sparse = any(sp.issparse(part) for part in parts)
        self.kept = sp.vstack(parts, format="csr") if sparse else torch.cat(parts)

    def of_part(self, start: int) -> slice:
        """Return the slice of sampled rows in a partition that begins at row ``start``."""
        return slice((self.step // 2 - start) % self.step, None, self.step)


@dataclass
class PartitionedData:
    """Row blocks of partitions, in any place; see `Data` for the methods.

    A sum runs one task per partition, so that only the kernel with its parameters is sent to
    the partitions, and only sums come back. Targets, weights and logits are stored with their
    rows (`RemoteRows`). A sample of the rows is copied to this process once; solvers start on
    it, and it estimates what need not be exact.

    Parameters
    ----------
    parts : Partitions
    read : callable
        ``read(X of a partition, index, check) -> Tensor or csr_array``; with ``check`` all
        entries are validated.
    targets, weight : RemoteRows
        Targets and weights of all rows, as in `InMemory`.
    center, scale : Tensor of shape (n_features,), float64
    dtype : torch.dtype
        Type of X's entries.
    n_logits : int
        Number of logits per row, over all models.
    reads : list of int
        One number, shared with data derived from this: the full reads of X so far.
    survey : FirstPassSample
    """

    parts: Partitions
    read: Callable[[Any, int, bool], Any]
    targets: Any
    weight: Any
    center: Tensor
    scale: Tensor
    dtype: torch.dtype
    n_logits: int = 1
    reads: list[int] = field(default_factory=lambda: [0], compare=False)
    survey: FirstPassSample = field(default_factory=FirstPassSample, compare=False)

    whole = None
    single_block = False
    is_split = True
    device = torch.device("cpu")

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle a placeholder: tasks may refer to the data and have rows of their own."""
        return _UnavailableData, ()

    @property
    def n_passes(self) -> int:
        """Number of full reads of X so far, by this data and all data derived from it."""
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
        """Cost of reading one row, in numbers of a dense row."""
        return self._sampled_rows.row_size

    @property
    def n_weights(self) -> int:
        """Number of weight columns: 1 for all models, or m."""
        return int(self.weight.shape[1])

    @property
    def exact(self) -> Self:
        """The same data, whose products are always float64."""
        return self

    def low_precision(self) -> Self:
        """Return the same data: reading rows costs more than multiplying them."""
        return self

    def reduce(
        self, kernel: Kernel, *row_arrays: Any, reads: int = 1, few: bool = False
    ) -> tuple[Tensor, ...]:
        """Sum ``kernel(block, *rows of row_arrays)`` over all blocks."""
        self.reads[0] += reads
        lazy_rows = LazyRows([rows.node for rows in (self.targets, self.weight, *row_arrays)])
        task = SumKernel(
            kernel,
            lazy_rows,
            self.parts.lengths,
            self._reader if reads else None,
            (self.center, self.scale, self.n_logits),
            few,
        )
        terms, handles = self.parts.run(task, lazy_rows.held, lazy_rows.n_new, reads > 0)
        lazy_rows.keep(handles)
        return terms

    def empty_rows(self, *shape: int) -> Any:
        """Return an uninitialised array with one entry per row, of the products' type."""
        return RemoteRows(self.parts, Node(torch.empty(0, *shape, dtype=torch.float64)))

    def beside(self, rows: Tensor) -> Any:
        """Scatter an array with one entry per row to the partitions."""
        return scatter_rows(self.parts, rows)

    def pick(self, choose: Callable[..., Tensor], *row_arrays: Any) -> tuple[Any, Tensor, Tensor]:
        """Copy selected rows of X, their targets and weights to the memory of this process."""
        self.reads[0] += 1
        lazy_rows = LazyRows([rows.node for rows in (self.targets, self.weight, *row_arrays)])
        task = PickRows(choose, lazy_rows, self.parts.lengths, self._reader)
        found = self.parts.collect(task, lazy_rows.held, reads=True)
        X, targets, weight = zip(*found, strict=True)
        rows = sp.vstack(X, format="csr") if sp.issparse(X[0]) else np.concatenate(X)
        return rows, torch.cat(targets), torch.cat(weight)

    def column_moments(self) -> tuple[Tensor, Tensor]:
        """Compute the weighted mean and standard deviation (p,) of the columns of X.

        They are estimated from the first-pass sample if it has many rows and no constant column.
        """
        sample = self._sampled_rows
        found = sample.column_moments()
        if sample.n_samples < _MIN_MOMENT_ROWS or not bool((found[1] > 0).all()):
            return self._exact_moments(found[0].nan_to_num(0.0))  # nan: the sample has no weight
        return found

    def _exact_moments(self, about: Tensor) -> tuple[Tensor, Tensor]:
        """Compute moments of all rows, centred by the means of a sample, so that little cancels."""

        def kernel(block: Block) -> tuple[Tensor, ...]:
            weight = block.weight.mean(dim=1, keepdim=True)
            return block.rmatmul(weight[..., None])[0, 0], block.column_squares(weight)[0]

        shifted = replace(self, center=about, scale=torch.ones_like(about))
        first, second = shifted.reduce(kernel)
        shift, square = first[:-1] / first[-1], second[:-1] / first[-1]
        mean, variance = about + shift, square - shift.square()
        deviation = variance.clamp(min=0.0).sqrt()
        doubtful = variance < MIN_VARIANCE_SHARE * square
        if self._sampled_rows.is_sparse:  # the squares of columns far from zero cancel
            doubtful |= ~are_near_zero(mean, deviation)
        return refine_moments(self, mean, deviation, doubtful)

    @property
    def _reader(self) -> Callable[[Any, int, bool], Any]:
        """Reader of rows that checks their checksums, if the first pass has computed them."""
        checksums = self.survey.checksums
        if checksums is None:
            return self.read
        return UnchangedReader(self.read, checksums, self.n_passes)

    @cached_property
    def _sampled_rows(self) -> InMemory:
        """First-pass sample, with the total weight of all rows."""
        if self.survey.kept is None:
            self._keep()
        targets, weight, total = self._targets_of_kept(
            slice(self.survey.step // 2, None, self.survey.step)
        )
        factor = (total / weight.sum(dim=0)).nan_to_num(1.0, 1.0)
        part = from_arrays(self.survey.kept, targets, weight * factor)
        return replace(part.in_units(self.center, self.scale), n_logits=self.n_logits)

    def _keep(self) -> None:
        """Validate all entries, and copy a sample of the rows to this process."""
        self.reads[0] += 1
        survey, begin, slices = self.survey, 0, []
        kept = max(_SAMPLE_BYTES // (8 * max(self.n_features, 1)), 1)
        survey.step = -(-self.n_samples // kept)
        for length in self.parts.lengths:
            slices.append(survey.of_part(begin))
            begin += length
        task = InspectPart(self.read, self.parts.lengths, slices)
        found = self.parts.collect(task, [], reads=True)
        survey.keep([some for some, _ in found])
        survey.checksums = [c for _, c in found] if self.parts.is_read_again else None

    def _targets_of_kept(self, rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Return targets and weights of the sample, and the total weight, in one pass."""
        found = collect_rows([self.targets, self.weight], rows, _targets_and_weight)
        targets, weight, total = zip(*found, strict=True)
        return torch.cat(targets), torch.cat(weight), torch.stack(total).sum(dim=0)

    def sampled(self, n_rows: int) -> slice:
        """Return the slice of rows that `sample` takes, among those of the first-pass sample."""
        among, step = self._sampled_rows.sampled(n_rows), self.survey.step
        return slice(step // 2 + step * among.start, None, step * among.step)

    def sample(self, n_rows: int, columns: Tensor | None = None) -> InMemory:
        """Return evenly spaced rows in memory, optionally of some columns.

        Weights are scaled up to the total weight of all rows. There are at most as many rows as in
        the first-pass sample.
        """
        return self._sampled_rows.sample(n_rows, columns)

    def select(self, models: Tensor) -> Self:
        """Keep the targets and weights of some models, where models have their own."""
        own = [
            take_columns(rows, models) if rows.shape[1] > 1 else rows
            for rows in (self.targets, self.weight)
        ]
        columns = max(self.targets.shape[1], self.weight.shape[1])
        n_logits = max(self.n_logits * min(len(models), columns) // columns, 1)
        return replace(self, targets=own[0], weight=own[1], n_logits=n_logits)

    def take_columns(self, columns: Tensor) -> "PartitionedData":
        """Copy some columns to the partitions, or read them in every pass if they are too large."""
        some = CopyColumns(self._reader, columns)
        own = replace(
            self, center=self.center[columns], scale=self.scale[columns], survey=FirstPassSample()
        )
        if not self.parts.may_hold(8 * self.n_samples * len(columns)):
            return replace(own, read=some.read_some)
        self.reads[0] += 1
        _, (handle,) = self.parts.run(some, [], 1, reads=True)
        return replace(own, parts=self.parts.holding(handle), read=as_it_is, reads=[0])

    def recast(self, X: Tensor) -> InMemory:
        """Raise an error: other rows would have to be in this process."""
        raise ValueError("rows that live elsewhere have no other columns")

    def outer(self, column_weight: Tensor, low_precision: bool = False) -> Tensor:
        """Raise an error: no block holds all rows."""
        raise ValueError("rows in parts have no matrix of all their pairs")

    def standardised(self, center: Tensor, scale: Tensor, targets: Any, n_logits: int = 1) -> Self:
        """Return the data as ``(X - center) / scale``, with encoded targets."""
        return replace(self, center=center, scale=scale, targets=targets, n_logits=n_logits)


class _UnavailableData:
    """Placeholder for data in another process."""


def _targets_and_weight(arrays: list[Tensor], rows: slice) -> tuple[Tensor, ...]:
    targets, weight = arrays
    return targets[rows].clone(), weight[rows].clone(), weight.sum(dim=0)


def from_parts(
    parts: Partitions,
    read: Callable[[Any, int, bool], Any],
    n_features: int,
    dtype: torch.dtype,
    y: Tensor,
    *,
    sample_weight: Tensor | None = None,
    survey: FirstPassSample | None = None,
    n_passes: int = 0,
) -> PartitionedData:
    """Make a data set of partitions, and scatter targets and weights to them.

    Parameters
    ----------
    parts : Partitions
    read : callable
        As in `PartitionedData`.
    n_features : int
        Number of columns of X.
    dtype : torch.dtype
        Type of X's entries.
    y : Tensor
        Targets of all rows, as in `from_arrays`.
    sample_weight : Tensor or None
        Weights of all rows, as in `from_arrays`.
    survey : FirstPassSample or None
        Result of an earlier pass over the same partitions; None: the first pass collects it.
    n_passes : int
        Number of reads of X that have been made for this data.

    Returns
    -------
    data : PartitionedData
    """
    center = torch.zeros(n_features, dtype=torch.float64)
    targets = scatter_rows(parts, as_columns(_narrow(y)))
    if sample_weight is None:
        one = torch.ones(1, 1, dtype=torch.float64)
        weight = RemoteRows(parts, Node(one[:0], Call(_repeated, (one, targets.node), {})))
    else:
        weight = scatter_rows(parts, as_columns(sample_weight.to(torch.float64)))
    return PartitionedData(
        parts=parts,
        read=read,
        targets=targets,
        weight=weight,
        center=center,
        scale=torch.ones_like(center),
        dtype=dtype,
        reads=[n_passes],
        survey=FirstPassSample() if survey is None else survey,
    )


def _repeated(value: Tensor, rows: Tensor) -> Tensor:
    """Repeat a row for all rows, with stride 0."""
    return value.expand(len(rows), -1)


def _narrow(y: Tensor) -> Tensor:
    """Convert class indices to bytes if they are less than 128."""
    return y.to(torch.int8) if not y.is_floating_point() and int(y.max()) < 128 else y


def scatter_rows(parts: Partitions, rows: Tensor) -> Any:
    """Store the rows of an array with their partitions."""
    pieces: Sequence[Tensor] = rows.split(parts.lengths)
    handle = parts.scatter([piece.numpy() for piece in pieces])
    return RemoteRows(parts, Node(rows[:0].clone(), handle))
