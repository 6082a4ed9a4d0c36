"""Rows that live in several processes, or machines: work goes to them, and sums come back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import scipy.sparse as sp
import torch
from torch import Tensor

from skorch_logreg.data.memory import InMemory, columns, from_arrays
from skorch_logreg.data.partitioned import Partitioned, Survey
from skorch_logreg.data.protocol import Kernel
from skorch_logreg.data.recipes import Node, Recipes
from skorch_logreg.data.remote import Parts, RemoteRows, collected
from skorch_logreg.data.tensors import take_columns

_KEPT = 64 << 20  # bytes of the rows on which a fit starts


@dataclass(kw_only=True)
class Distributed(Partitioned):
    """Row blocks of parts that live elsewhere; see `Data` for the methods.

    A sum is one piece of work for every part, so what travels is the kernel with its
    parameters, to the parts, and the sums back.  Targets, weights and logits lie beside their
    rows (`RemoteRows`).  A sample of the rows comes here once, to start on.

    Parameters
    ----------
    parts : Parts
    read : callable
        ``read(X of a part, index, check) -> Tensor or csr_array``; with ``check`` it looks at
        every entry.
    """

    parts: Parts
    read: Callable[[Any, int, bool], Any]

    def __reduce__(self) -> tuple[Any, ...]:
        """Stay here: work that travels may mention it, and has rows of its own."""
        return _NoData, ()

    def reduce(
        self, kernel: Kernel, *row_arrays: Any, reads: int = 1, few: bool = False
    ) -> tuple[Tensor, ...]:
        """Sum ``kernel(block, *rows of row_arrays)`` over all blocks."""
        self.reads[0] += reads
        recipes = Recipes([rows.node for rows in (self.targets, self.weight, *row_arrays)])
        work = _Sum(
            kernel,
            recipes,
            self.parts.lengths,
            self.read if reads else None,
            (self.center, self.scale, self.n_logits),
            few,
        )
        terms, handles = self.parts.run(work, recipes.held, recipes.n_new, reads > 0)
        recipes.keep(handles)
        return terms

    def empty_rows(self, *shape: int) -> Any:
        """Make an array as long as the data, of the products' type."""
        return RemoteRows(self.parts, Node(torch.empty(0, *shape, dtype=torch.float64)))

    def beside(self, rows: Tensor) -> Any:
        """Hand every part its rows of an array."""
        return scattered(self.parts, rows)

    def _keep(self) -> None:
        """Look at all entries, and bring a sample of the rows here."""
        self.reads[0] += 1
        survey, begin, slices = self.survey, 0, []
        kept = max(_KEPT // (8 * max(self.n_features, 1)), 1)
        survey.step = -(-self.n_samples // kept)
        for length in self.parts.lengths:
            slices.append(slice(survey.of_part(begin), None, survey.step))
            begin += length
        work = _Look(self.read, self.parts.lengths, slices)
        survey.keep(self.parts.collect(work, [], reads=True))

    def _beside_kept(self, rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Targets and weights of the rows that are kept, and the weight of all: in one go."""
        found = collected([self.targets, self.weight], rows, _beside)
        targets, weight, total = zip(*found, strict=True)
        return torch.cat(targets), torch.cat(weight), torch.stack(total).sum(dim=0)

    def select(self, models: Tensor) -> Self:
        """Keep the targets and weights of some models, where each has its own."""
        own = [
            take_columns(rows, models) if rows.shape[1] > 1 else rows
            for rows in (self.targets, self.weight)
        ]
        columns = max(self.targets.shape[1], self.weight.shape[1])
        n_logits = max(self.n_logits * min(len(models), columns) // columns, 1)
        return replace(self, targets=own[0], weight=own[1], n_logits=n_logits)

    def take_columns(self, columns: Tensor) -> "Distributed":
        """Copy some columns, beside their rows."""
        self.reads[0] += 1
        work = _Columns(self.read, columns)
        _, (handle,) = self.parts.run(work, [], 1, reads=True)
        return replace(
            self,
            parts=self.parts.holding(handle),
            read=as_it_is,
            center=self.center[columns],
            scale=self.scale[columns],
            survey=Survey(),
            reads=[0],
        )

    def recast(self, X: Tensor) -> InMemory:
        """Refuse: rows of another kind would have to be here."""
        raise ValueError("rows that live elsewhere have no other columns")


class _NoData:
    """What is left of data where it is not."""


@dataclass(frozen=True)
class _Sum:
    """Sum a kernel over the blocks of a part."""

    kernel: Kernel
    recipes: Recipes
    lengths: list[int]
    read: Callable[[Any, int, bool], Any] | None
    units: tuple[Tensor, Tensor, int]
    few: bool

    def __call__(self, X: Any, index: int, held: list[Any]) -> tuple[Any, list[Any]]:
        n_rows = self.lengths[index]
        values = self.recipes.made(held, n_rows)
        targets, weight, *rows = values
        center, scale, n_logits = self.units
        if self.read is None:
            none = torch.empty(n_rows, 0, dtype=torch.float64)
            data = replace(from_arrays(none, targets, weight), n_logits=n_logits)
        else:
            data = from_arrays(self.read(X, index, False), targets, weight)
            data = replace(data, center=center, scale=scale, n_logits=n_logits)
        terms = data.reduce(self.kernel, *rows, few=self.few)
        return terms, self.recipes.new(values)


@dataclass(frozen=True)
class _Look:
    """Check all rows of a part and take some."""

    read: Callable[[Any, int, bool], Any]
    lengths: list[int]
    slices: list[slice]

    def __call__(self, X: Any, index: int, held: list[Any]) -> tuple[Any, list[Any]]:
        rows = self.read(X, index, True)
        if rows.shape[0] != self.lengths[index]:
            raise ValueError(
                f"Block {index} of X has {rows.shape[0]} rows, and should have "
                f"{self.lengths[index]}."
            )
        some = rows[self.slices[index]]
        return (some.clone() if isinstance(some, Tensor) else some), []


@dataclass(frozen=True)
class _Columns:
    """Copy some columns of a part."""

    read: Callable[[Any, int, bool], Any]
    columns: Tensor

    def __call__(self, X: Any, index: int, held: list[Any]) -> tuple[Any, list[Any]]:
        rows = self.read(X, index, False)
        if sp.issparse(rows):
            return (), [rows[:, self.columns.numpy()]]
        return (), [take_columns(rows, self.columns).numpy()]


def _beside(arrays: list[Tensor], rows: slice) -> tuple[Tensor, ...]:
    targets, weight = arrays
    return targets[rows].clone(), weight[rows].clone(), weight.sum(dim=0)


def as_it_is(X: Any, index: int, check: bool) -> Any:
    """Read what is a Tensor or csr_array already."""
    return X


def from_parts(
    parts: Parts,
    read: Callable[[Any, int, bool], Any],
    n_features: int,
    dtype: torch.dtype,
    y: Tensor,
    sample_weight: Tensor | None = None,
    survey: Survey | None = None,
) -> Distributed:
    """Wrap parts of rows, and hand each its targets and weights.

    Parameters
    ----------
    parts : Parts
    read : callable
        As `Distributed` has it.
    n_features : int
    dtype : torch.dtype
        Of the entries.
    y : Tensor
    sample_weight : Tensor or None
        Of all rows, as in `from_arrays`.
    survey : Survey or None
        Of an earlier pass over the same parts, or to be filled by the first.

    Returns
    -------
    data : Distributed
    """
    center = torch.zeros(n_features, dtype=torch.float64)
    targets = scattered(parts, columns(_narrow(y)))
    if sample_weight is None:
        weight = torch.ones_like(targets[:, :1], dtype=torch.float64)
    else:
        weight = scattered(parts, columns(sample_weight.to(torch.float64)))
    return Distributed(
        parts=parts,
        read=read,
        targets=targets,
        weight=weight,
        center=center,
        scale=torch.ones_like(center),
        dtype=dtype,
        survey=Survey() if survey is None else survey,
    )


def _narrow(y: Tensor) -> Tensor:
    """Take a byte for a class index, where that will do."""
    return y.to(torch.int8) if not y.is_floating_point() and int(y.max()) < 128 else y


def scattered(parts: Parts, rows: Tensor) -> Any:
    """Hand every part its rows of an array."""
    pieces: Sequence[Tensor] = rows.split(parts.lengths)
    handle = parts.scatter([piece.numpy() for piece in pieces])
    return RemoteRows(parts, Node(rows[:0].clone(), handle))
