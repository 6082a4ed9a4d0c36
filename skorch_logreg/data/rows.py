"""Rows in memory, whatever their kind: an array, its units, and copies of its columns."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import torch
from torch import Tensor


@dataclass(eq=False)
class Rows:
    """All rows of X, which are never written to and never copied as a whole.

    A kind of rows declares the class variables below, and defines `row_size`, `dtype`,
    `is_small`, `max_block_rows`, `rows_per_block`, `block`, `standardised`, `sample` and `pick`,
    as `DenseRows` does.

    Parameters
    ----------
    X : Tensor or csr_array of shape (n_samples, n_features)
    center, scale : Tensor of shape (n_features,), float64
        The design matrix is ``[Z 1]``, ``Z = (X - center) / scale``.
    products : torch.dtype
        Type of the products: float64, or float32 for low-precision products.
    design : Tensor or None
        The whole design matrix, if it is stored.
    block_rows : int or None
        Number of rows of a block, at most; None: chosen by the size of X.
    """

    is_sparse: ClassVar[bool]  # whether only non-zero entries are stored
    some_columns: ClassVar[Any]  # function that copies columns of an array

    X: Any
    center: Tensor
    scale: Tensor
    products: torch.dtype = torch.float64
    design: Tensor | None = None
    block_rows: int | None = None
    # indices and copy of the columns that were copied last
    copied: tuple[Tensor, Any] | None = field(default=None, init=False)
    # arguments and result of the last product of all pairs of rows
    last_outer: tuple[Tensor, bool, Tensor] | None = field(default=None, init=False)

    @classmethod
    def of(cls, X: Any, device: torch.device) -> Self:
        """Make rows of an array, in its own units."""
        center = torch.zeros(X.shape[1], dtype=torch.float64, device=device)
        return cls(X, center, torch.ones_like(center))

    def workspace(self, n_rows: int) -> Tensor:
        """Return a buffer for the rows of a block, where they are converted."""
        raise NotImplementedError

    def take_columns(self, columns: Tensor) -> tuple[Self, bool]:
        """Copy some columns, from the last copy if it has all; return True with them if not."""
        held, copy = self.copied or (columns[:0], None)
        is_read = copy is None or not bool(torch.isin(columns, held).all())
        if is_read:
            part = self.some_columns(self.X, columns)
        else:
            place = torch.empty(self.X.shape[1], dtype=torch.int64, device=columns.device)
            place[held] = torch.arange(len(held), device=columns.device)
            part = self.some_columns(copy, place[columns])
        self.copied = columns, part
        return type(self)(part, self.center[columns], self.scale[columns]), is_read
