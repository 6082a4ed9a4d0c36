"""Data in memory: one array, whatever the kind of its rows."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from queue import Empty, SimpleQueue
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from skorch_logreg.data.computed_rows import ComputedRows, keep_writes, rows_of_block
from skorch_logreg.data.lazy_rows import Node
from skorch_logreg.data.moments import moments
from skorch_logreg.data.protocol import Block, Data, Kernel, add_terms
from skorch_logreg.data.tensors import BLOCK_ELEMENTS, CACHED_ENTRIES, SAMPLE_ROWS
from skorch_logreg.data.threads import sum_blocks, thread_count
from skorch_logreg.kernels import passes


@dataclass(kw_only=True, eq=False)
class InMemory(Data):
    """Row blocks of one array, which is never written to and never copied as a whole.

    A kind of rows declares the class variables and defines the abstract methods, as `DenseRows`
    does.

    Parameters
    ----------
    X : Tensor or csr_array of shape (n_samples, n_features)
    products : torch.dtype
        Type of the products: float64, or float32 for low-precision products.
    origin : InMemory or None
        The data with float64 products, if those of this data are float32; weight and targets
        are float32 then.
    block_rows : int or None
        Number of rows of a block, which those of dense rows may exceed by half; None: chosen by
        the size of X.
    stores_logits : bool
        Whether logits are stored, or computed again in every pass (`ComputedRows`).

    Attributes
    ----------
    design : Tensor or None
        X in the solver's units, if it is stored: for small arrays calls cost more than a copy.
    """

    is_sparse: ClassVar[bool]  # whether only non-zero entries are stored
    some_columns: ClassVar[Any]  # function that copies columns of an array
    is_small: ClassVar[Any] = False  # whether calls cost more than a copy
    has_fast_float32: ClassVar[Any] = False  # whether float32 products need no conversion
    needs_conversion: ClassVar[Any] = False  # whether X has no layout of the products
    needs_workspace: ClassVar[Any] = False  # whether blocks are copied to a `workspace`

    X: Any
    products: torch.dtype = torch.float64
    origin: Self | None = None
    block_rows: int | None = None
    stores_logits: bool = True
    design: Tensor | None = field(default=None, init=False)
    # arguments and results of the last calls of `take_columns`, `outer` and `largest_entries`, and
    # what the first pass finds for the last one
    _last: dict[str, Any] = field(default_factory=dict, init=False)

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Type of a model's coefficients."""

    @property
    @abstractmethod
    def n_bytes(self) -> int:
        """Memory of X."""

    @property
    @abstractmethod
    def max_block_rows(self) -> int:
        """Largest number of rows of a block."""

    @property
    @abstractmethod
    def rows_per_block(self) -> int:
        """Number of rows of a block of a pass."""

    @abstractmethod
    def block(self, rows: slice, workspace: Tensor | None = None) -> Block:
        """Return a block of rows, which are converted in the workspace if there is one."""

    def workspace(self, n_rows: int) -> Tensor:
        """Return a buffer for the rows of a block."""
        shape = n_rows, self.n_features
        return torch.empty(shape, dtype=self.products, device=self.device)

    @abstractmethod
    def _in_float32(self) -> dict[str, Any]:
        """Return the fields of rows for float32 products."""

    @abstractmethod
    def _picked(self, rows: Tensor) -> Any:
        """Copy some rows of X in float64, as ndarray or csr_array."""

    @cached_property
    def whole(self) -> Block | None:
        return None if self.is_split or not self.stores_logits else self.one_block

    @property
    def one_block(self) -> Block | None:
        if self.origin is not None or self.needs_workspace:
            return None
        return self.block(slice(0, self.n_samples))

    @property
    def single_block(self) -> bool:
        return self.max_block_rows >= self.n_samples

    @property
    def is_split(self) -> bool:
        return self.rows_per_block < self.n_samples

    @cached_property
    def _samples(self) -> dict[int, Self]:
        return {}

    @cached_property
    def _workspaces(self) -> SimpleQueue[Tensor]:
        """Buffers of one block each, as many as were in use at once."""
        return SimpleQueue()

    def reduce(
        self, kernel: Kernel, *row_arrays: Tensor, reads: int = 1, few: bool = False
    ) -> tuple[Tensor, ...]:
        computes = any(isinstance(array, ComputedRows) for array in row_arrays)
        if computes:
            reads = max(reads, 1)
        self.reads[0] += reads
        if self.whole is not None:
            return kernel(self.whole, *row_arrays)
        step = self.rows_per_block
        if not reads:  # the width of X does not matter
            step = max(step, CACHED_ENTRIES // self.n_logits)
        if few:
            step = max(step, -(-self.n_samples // thread_count()))
        converts = reads and not few and self.needs_workspace

        def part(start: int) -> tuple[Tensor, ...]:
            rows = slice(start, min(start + step, self.n_samples))
            workspace = None
            if converts:
                try:
                    workspace = self._workspaces.get_nowait()
                except Empty:
                    workspace = self.workspace(min(step, self.n_samples))
            block = self.block(rows, workspace)
            if computes:  # it leaves a cycle that refers to the block
                result = kernel(block, *rows_of_block(row_arrays, block, rows))
            else:
                result = kernel(block, *(array[rows] for array in row_arrays))
            if workspace is not None:
                self._workspaces.put(workspace)
            if self.origin is not None:
                return tuple(term.to(torch.float64) for term in result)
            return result

        total = sum_blocks(add_terms, part, range(0, max(self.n_samples, 1), step))
        keep_writes(row_arrays, kernel)
        return total

    def empty_rows(self, *shape: int) -> Any:
        if len(shape) > 1 and not self.stores_logits:
            like = torch.empty(0, *shape, dtype=self.products, device=self.device)
            return ComputedRows(self, Node(like))
        return torch.empty(self.n_samples, *shape, dtype=self.products, device=self.device)

    def for_outputs(self, n_outputs: int) -> Self:
        """Return the data that store logits up to 32 MiB a model, or an eighth of X's memory."""
        most = max(BLOCK_ELEMENTS, self.n_bytes // (8 * torch.float64.itemsize))
        return replace(self, stores_logits=self.n_samples * n_outputs <= most)

    def beside(self, rows: Tensor) -> Tensor:
        return rows.to(self.device)

    @property
    def exact(self) -> Self:
        return self if self.origin is None else self.origin

    def low_precision(self, has_kernel: bool = False) -> Self:
        """Return data with float32 products, if those are faster over many passes.

        Products and functions of logits take less than half the time in float32. That pays for
        the conversion if rows have several logits, or dense rows are float32 already.
        Kernels in float64 are as fast with one logit or sparse rows, and with a few logits if they
        also compute the loss, as ``has_kernel`` says.
        """
        n_logits = self.n_logits
        # a pass over float64 rows of 50,000 x 100 takes .7 of the time of float32 products with 10
        # classes, .9 with 20 and as long with 40, on two cores
        most = min(16, CACHED_ENTRIES // (self.n_features + 1))
        few = has_kernel and n_logits <= most and self.dtype is torch.float64
        if (n_logits == 1 or few or self.is_sparse) and passes.is_supported(self.X):
            return self
        many = n_logits > 1 and self.n_samples * n_logits >= CACHED_ENTRIES
        if not (many or self.has_fast_float32):
            return self
        return replace(
            self,
            targets=self.targets.float() if self.targets.is_floating_point() else self.targets,
            weight=self.weight.float(),
            products=torch.float32,
            origin=self,
            **self._in_float32(),
        )

    def sampled(self, n_rows: int) -> slice:
        step = max(self.n_samples // n_rows, 1)
        return slice(step // 2, None, step)

    def sample(self, n_rows: int) -> Self:
        """Return evenly spaced rows, copied if they are short; the last sample is cached."""
        if n_rows not in self._samples:
            self._samples.clear()
            self._samples[n_rows] = self._sample(n_rows)
        return self._samples[n_rows]

    def _sample(self, n_rows: int) -> Self:
        part = self.taken(self.sampled(n_rows))
        factor = self.weight.sum(dim=0) / part.weight.sum(dim=0)
        part.weight = part.weight * factor.nan_to_num(1.0, 1.0)
        part.origin = None if self.origin is None else self.origin.sample(n_rows)
        return part

    def taken(self, rows: slice) -> Self:
        """Return some rows, copied if they are sparse."""
        part = replace(
            self,
            X=self.X[rows],
            targets=self.targets[rows],
            weight=self.weight[rows],
            origin=None,
            block_rows=None,
            reads=[0],
        )
        part.design = None if self.design is None else self.design[rows]
        return part

    def pick(
        self, choose: Callable[..., Tensor], *row_arrays: Tensor
    ) -> tuple[Any, Tensor, Tensor]:
        rows = choose(self.targets, self.weight, *(array[0:] for array in row_arrays))
        return self._picked(rows), self.targets[rows].cpu(), self.weight[rows].cpu()

    def column_moments(self) -> tuple[Tensor, Tensor]:
        if self.is_sparse:  # rare columns are constant in any sample
            return moments(self, torch.zeros_like(self.center), is_sparse=True)
        if self.n_samples >= 2 * SAMPLE_ROWS:  # they only set the solver's units
            mean, deviation = self._sample(SAMPLE_ROWS).column_moments()
            if bool((deviation > 0).all()):
                return mean, deviation
        # a column that is constant in a sample may vary in the data
        rows = self.X if self.is_small else None
        found = moments(self, self.X[0].to(torch.float64), is_sparse=False, rows=rows)
        self.confirm_finite(*found)
        return found

    def has_entries_above(self, least: Tensor) -> bool:
        """Return True if an entry is at least as large as the limit (p,) of its column.

        Entries are those of the design matrix. False where finding them takes more than a pass.
        """
        largest = self.largest_entries()
        return largest is not None and bool((largest >= least).any())

    def select(self, models: Tensor) -> Self:
        part = super().select(models)
        part.origin = None if self.origin is None else self.origin.select(models)
        part.design, part._last = self.design, self._last
        return part

    def outer(self, column_weight: Tensor, low_precision: bool = False) -> Tensor:
        """Compute ``Z diag(column_weight) Z'`` (n, n); the last product is cached."""
        weight, is_low, product = self._last.get("outer", (None, None, None))
        if weight is not None and is_low == low_precision and torch.equal(weight, column_weight):
            return product
        self.reads[0] += 1
        # rows far from zero are centred by the product itself
        workspace = self.workspace(self.n_samples) if self.needs_conversion else None
        block = self.block(slice(0, self.n_samples), workspace)
        product = block.outer(column_weight, low_precision)
        self._last["outer"] = column_weight, low_precision, product
        return product

    def take_columns(self, columns: Tensor) -> Self:
        """Copy some columns, from the last copy if it has all of them."""
        held, X = self._last.get("columns", (columns[:0], None))
        if X is None or not bool(torch.isin(columns, held).all()):
            self.reads[0] += 1
            X = self.some_columns(self.X, columns)
        else:
            place = torch.empty(self.n_features, dtype=torch.int64, device=columns.device)
            place[held] = torch.arange(len(held), device=columns.device)
            X = self.some_columns(X, place[columns])
        self._last["columns"] = columns, X
        part = replace(
            self,
            X=X,
            center=self.center[columns],
            scale=self.scale[columns],
            products=torch.float64,
            origin=None,
            block_rows=None,
            reads=[0],
        )
        return part.standardised(part.center, part.scale, part.targets, part.n_logits)

    def recast(self, X: Tensor) -> "InMemory":
        from skorch_logreg.data.arrays import from_arrays

        data = replace(from_arrays(X, self.targets), weight=self.weight)
        return data.standardised(data.center, data.scale, self.targets, self.n_logits)
