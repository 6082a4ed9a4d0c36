"""Data in partitions, which may be on disk or in other processes."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from skorch_logreg.data.arrays import as_columns, from_arrays
from skorch_logreg.data.first_pass import FirstPassSample, Reader, as_it_is, inspection, unchanged
from skorch_logreg.data.lazy_rows import Call, LazyRows, Node, RemoteRows, Unavailable, collect_rows
from skorch_logreg.data.memory import InMemory
from skorch_logreg.data.moments import moments
from skorch_logreg.data.protocol import Data, Kernel, Partitions
from skorch_logreg.data.tensors import SAMPLE_ROWS

PLACES = {
    "memory": "arrays, as above",
    "chunks": "`len(X)` and `X.chunk(i)`: `ArrayChunks`, `NpyChunks`, `ParquetChunks` or your own",
    "Dask": "`dask.array` of dense or sparse blocks, `dask.dataframe`",
    "ranks": "`RankRows` of every process of a group of `torch.distributed`",
}


@dataclass(kw_only=True, eq=False)
class PartitionedData(Data):
    """Row blocks of partitions, in any place; see `Data` for the methods.

    A sum runs one task per partition, so that only the kernel with its parameters is sent to
    the partitions, and only sums come back. Targets, weights and logits are stored with their
    rows (`RemoteRows`). A sample of the rows is copied to this process once; solvers start on
    it, and it estimates what need not be exact. Products are always float64: reading rows costs
    more than multiplying them.

    Parameters
    ----------
    parts : Partitions
    read : callable
        ``read(X of a partition, index, check) -> Tensor or csr_array``; with ``check`` all
        entries are validated.
    survey : FirstPassSample
    """

    parts: Partitions
    read: Reader
    survey: FirstPassSample = field(default_factory=FirstPassSample)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle a placeholder: tasks may refer to the data and have rows of their own."""
        return Unavailable, ()

    @property
    def row_size(self) -> float:
        return self._sampled_rows.row_size

    def reduce(
        self, kernel: Kernel, *row_arrays: Any, reads: int = 1, few: bool = False
    ) -> tuple[Tensor, ...]:
        self.reads[0] += reads
        lazy_rows, lengths = self._with_targets(row_arrays), self.parts.lengths
        read = self._reader if reads else None
        center, scale, n_logits = self.center, self.scale, self.n_logits

        def task(X: Any, index: int, held: list[Any]) -> tuple[Any, list[Any]]:
            values = lazy_rows.made(held, lengths[index])
            targets, weight, *rows = values
            if read is not None:
                data = from_arrays(read(X, index, False), targets, weight)
                data = data.standardised(center, scale, data.targets, n_logits)
            else:
                nothing = torch.empty(lengths[index], 0, dtype=torch.float64)
                data = replace(from_arrays(nothing, targets, weight), n_logits=n_logits)
            return data.reduce(kernel, *rows, few=few), lazy_rows.new(values)

        terms, handles = self.parts.run(task, lazy_rows.held, lazy_rows.n_new, reads > 0)
        lazy_rows.keep(handles)
        return terms

    def _with_targets(self, row_arrays: tuple[Any, ...]) -> LazyRows:
        return LazyRows([rows.node for rows in (self.targets, self.weight, *row_arrays)])

    def empty_rows(self, *shape: int) -> Any:
        return RemoteRows(self.parts, Node(torch.empty(0, *shape, dtype=torch.float64)))

    def beside(self, rows: Tensor) -> Any:
        return scatter_rows(self.parts, rows)

    def pick(self, choose: Callable[..., Tensor], *row_arrays: Any) -> tuple[Any, Tensor, Tensor]:
        self.reads[0] += 1
        lazy_rows, lengths, read = self._with_targets(row_arrays), self.parts.lengths, self._reader

        def task(X: Any, index: int, held: list[Any]) -> tuple[Any, list[Any]]:
            targets, weight, *rows = lazy_rows.made(held, lengths[index])
            return from_arrays(read(X, index, False), targets, weight).pick(choose, *rows), []

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
        if sample.n_samples < SAMPLE_ROWS or not bool((found[1] > 0).all()):
            is_sparse = sample.is_sparse
            about = torch.zeros_like(self.center) if is_sparse else found[0].nan_to_num(0.0)
            return moments(self, about, is_sparse=is_sparse)  # nan: the sample has no weight
        return found

    @property
    def _reader(self) -> Reader:
        """Reader of rows that checks their checksums, if the first pass has computed them."""
        checksums = self.survey.checksums
        return self.read if checksums is None else unchanged(self.read, checksums, self.n_passes)

    @cached_property
    def _sampled_rows(self) -> InMemory:
        """First-pass sample, with the total weight of all rows."""
        survey = self.survey
        if survey.kept is None:
            self._make_first_pass()
        rows = slice(survey.step // 2, None, survey.step)
        found = collect_rows([self.targets, self.weight], rows, _targets_and_weight)
        targets, weights, totals = zip(*found, strict=True)
        weight, total = torch.cat(weights), torch.stack(totals).sum(dim=0)
        factor = (total / weight.sum(dim=0)).nan_to_num(1.0, 1.0)
        part = from_arrays(survey.kept, torch.cat(targets), weight * factor)
        return part.standardised(self.center, self.scale, part.targets, self.n_logits)

    def _make_first_pass(self) -> None:
        """Validate all entries, and copy a sample of the rows to this process."""
        self.reads[0] += 1
        survey, begin, slices = self.survey, 0, []
        kept = max(survey.max_bytes // (8 * max(self.n_features, 1)), 1)
        survey.step = -(-self.n_samples // kept)
        for length in self.parts.lengths:
            slices.append(survey.of_part(begin))
            begin += length
        found = self.parts.collect(inspection(self.read, self.parts.lengths, slices), [], True)
        survey.keep([some for some, _ in found])
        survey.checksums = [c for _, c in found] if self.parts.is_read_again else None

    def sampled(self, n_rows: int) -> slice:
        """Return the slice of rows that `sample` takes, among those of the first-pass sample."""
        among, step = self._sampled_rows.sampled(n_rows), self.survey.step
        return slice(step // 2 + step * among.start, None, step * among.step)

    def sample(self, n_rows: int) -> InMemory:
        """Return evenly spaced rows in memory, at most as many as the first-pass sample has."""
        return self._sampled_rows.sample(n_rows)

    def take_columns(self, columns: Tensor) -> "PartitionedData":
        """Copy some columns to the partitions, or read them in every pass if they are too large."""
        read = self._reader

        def read_some(X: Any, index: int, check: bool) -> Any:
            rows = read(X, index, check)
            return rows[:, columns.numpy() if sp.issparse(rows) else columns]

        def copy_some(X: Any, index: int, held: list[Any]) -> tuple[Any, list[Any]]:
            some = read_some(X, index, False)
            return (), [some if sp.issparse(some) else some.numpy()]

        own = replace(
            self, center=self.center[columns], scale=self.scale[columns], survey=FirstPassSample()
        )
        if not self.parts.may_hold(8 * self.n_samples * len(columns)):
            return replace(own, read=read_some)
        self.reads[0] += 1
        _, (handle,) = self.parts.run(copy_some, [], 1, reads=True)
        return replace(own, parts=self.parts.holding(handle), read=as_it_is, reads=[0])


def _targets_and_weight(arrays: list[Tensor], rows: slice) -> tuple[Tensor, ...]:
    targets, weight = arrays
    return targets[rows].clone(), weight[rows].clone(), weight.sum(dim=0)


def from_parts(
    parts: Partitions,
    read: Reader,
    n_features: int,
    y: Tensor,
    *,
    sample_weight: Tensor | None = None,
    survey: FirstPassSample | None = None,
    n_passes: int = 0,
) -> PartitionedData:
    """Make a data set of partitions, and scatter targets and weights to them.

    ``y`` and ``sample_weight`` are as in `from_arrays`. ``survey`` is the result of the
    ``n_passes`` reads that have been made of the same partitions; None: the first pass collects it.
    """
    center = torch.zeros(n_features, dtype=torch.float64)
    if not y.is_floating_point() and int(y.max()) < 128:  # classes fit into bytes
        y = y.to(torch.int8)
    targets = scatter_rows(parts, as_columns(y))
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
        reads=[n_passes],
        survey=survey or FirstPassSample(),
    )


def _repeated(value: Tensor, rows: Tensor) -> Tensor:
    """Repeat a row for all rows, with stride 0."""
    return value.expand(len(rows), -1)


def scatter_rows(parts: Partitions, rows: Tensor) -> Any:
    """Store the rows of an array with their partitions."""
    handle = parts.scatter([piece.numpy() for piece in rows.split(parts.lengths)])
    return RemoteRows(parts, Node(rows[:0].clone(), handle))
