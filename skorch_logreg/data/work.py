"""What is done with a part of the rows, where it is."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import scipy.sparse as sp
import torch
from torch import Tensor

from skorch_logreg.data.memory import from_arrays, picked
from skorch_logreg.data.protocol import Kernel
from skorch_logreg.data.recipes import Recipes
from skorch_logreg.data.tensors import take_columns


@dataclass(frozen=True)
class Sum:
    """Sum a kernel over the blocks of a part."""

    kernel: Kernel
    recipes: Recipes
    lengths: list[int]
    read: Callable[[Any, int, bool], Any] | None
    units: tuple[Tensor, Tensor, int]
    few: bool

    def __call__(self, X: Any, index: int, held: list[Any]) -> tuple[Any, list[Any]]:
        """Terms of all blocks together, and the arrays that are new."""
        n_rows = self.lengths[index]
        values = self.recipes.made(held, n_rows)
        targets, weight, *rows = values
        center, scale, n_logits = self.units
        if self.read is None:
            none = torch.empty(n_rows, 0, dtype=torch.float64)
            data = replace(from_arrays(none, targets, weight), n_logits=n_logits)
        else:
            data = from_arrays(self.read(X, index, False), targets, weight)
            data = replace(data.in_units(center, scale), n_logits=n_logits)
        terms = data.reduce(self.kernel, *rows, few=self.few)
        return terms, self.recipes.new(values)


@dataclass(frozen=True)
class Pick:
    """Copy the rows of a part that a function of targets, weights and other arrays chooses."""

    choose: Callable[..., Tensor]
    recipes: Recipes
    lengths: list[int]
    read: Callable[[Any, int, bool], Any]

    def __call__(self, X: Any, index: int, held: list[Any]) -> tuple[Any, list[Any]]:
        """Rows, targets and weights."""
        targets, weight, *rows = self.recipes.made(held, self.lengths[index])
        chosen = self.choose(targets, weight, *rows)
        return picked(self.read(X, index, False), targets, weight, chosen), []


@dataclass(frozen=True)
class Look:
    """Check all rows of a part and take some."""

    read: Callable[[Any, int, bool], Any]
    lengths: list[int]
    slices: list[slice]

    def __call__(self, X: Any, index: int, held: list[Any]) -> tuple[Any, list[Any]]:
        """Rows that are kept."""
        rows = self.read(X, index, True)
        if rows.shape[0] != self.lengths[index]:
            raise ValueError(
                f"Block {index} of X has {rows.shape[0]} rows, and should have "
                f"{self.lengths[index]}."
            )
        some = rows[self.slices[index]]
        return (some.clone() if isinstance(some, Tensor) else some), []


@dataclass(frozen=True)
class Columns:
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
