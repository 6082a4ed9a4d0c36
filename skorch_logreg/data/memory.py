"""Data in memory: one dense or sparse array."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from functools import reduce as fold
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from skorch_logreg.data.dense import DenseRows
from skorch_logreg.data.moments import MOMENT_ROWS, moments
from skorch_logreg.data.protocol import Block, Data, Kernel, add_terms
from skorch_logreg.data.sparse import SparseRows
from skorch_logreg.data.tensors import CACHED_ENTRIES, as_tensor
from skorch_logreg.data.threads import map_blocks, thread_count
from skorch_logreg.kernels import passes

CONTAINERS = {
    "dense": (
        "NumPy array or torch tensor of any layout and type, on any device, each kept in that "
        "type; data frame; array API array"
    ),
    "sparse": (
        "SciPy sparse array or matrix of any format, 32 or 64 bit indices; torch's COO, CSR, CSC"
    ),
}

AnyRows = DenseRows | SparseRows  # the kinds of rows

_MIN_LOGITS_PER_ROW = 8  # logits per row from which float32 products are faster


@dataclass(kw_only=True, eq=False)
class InMemory(Data):
    """Row blocks of one array in memory; see `Data` for the methods.

    Parameters
    ----------
    rows : DenseRows or SparseRows
        X with its units.
    origin : InMemory or None
        The data with float64 products, if those of this data are float32; weight and targets
        are float32 then.
    """

    rows: AnyRows
    center: Tensor = field(init=False)
    scale: Tensor = field(init=False)
    origin: "InMemory | None" = None

    def __post_init__(self) -> None:
        self.center, self.scale = self.rows.center, self.rows.scale

    @property
    def row_size(self) -> float:
        return self.rows.row_size

    @cached_property
    def whole(self) -> Block | None:
        if self.is_split or self.origin is not None or self.rows.needs_workspace:
            return None
        return self.rows.block(slice(0, self.n_samples), self.targets, self.weight)

    @property
    def single_block(self) -> bool:
        return self.rows.max_block_rows >= self.n_samples

    @property
    def is_split(self) -> bool:
        return self.rows.rows_per_block(self.n_logits) < self.n_samples

    @cached_property
    def _samples(self) -> dict[int, "InMemory"]:
        return {}

    @cached_property
    def _workspaces(self) -> SimpleQueue[Tensor]:
        """Buffers of one block each, as many as were in use at once."""
        return SimpleQueue()

    def reduce(
        self, kernel: Kernel, *row_arrays: Tensor, reads: int = 1, few: bool = False
    ) -> tuple[Tensor, ...]:
        self.reads[0] += reads
        if self.whole is not None:
            return kernel(self.whole, *row_arrays)
        step = self.rows.rows_per_block(self.n_logits)
        if few:
            step = max(step, -(-self.n_samples // thread_count()))
        converts = reads and not few and self.rows.needs_workspace

        def part(start: int) -> tuple[Tensor, ...]:
            rows = slice(start, min(start + step, self.n_samples))
            workspace = None
            if converts:
                try:
                    workspace = self._workspaces.get_nowait()
                except Empty:
                    workspace = self.rows.workspace(min(step, self.n_samples))
            block = self.rows.block(rows, self.targets[rows], self.weight[rows], workspace)
            result = kernel(block, *(array[rows] for array in row_arrays))
            if workspace is not None:
                self._workspaces.put(workspace)
            if self.origin is not None:
                return tuple(term.to(torch.float64) for term in result)
            return result

        if step >= self.n_samples:
            return part(0)
        return fold(add_terms, map_blocks(part, range(0, self.n_samples, step)))

    def empty_rows(self, *shape: int) -> Tensor:
        return torch.empty(self.n_samples, *shape, dtype=self.rows.products, device=self.device)

    def beside(self, rows: Tensor) -> Tensor:
        return rows.to(self.device)

    @property
    def exact(self) -> "InMemory":
        return self if self.origin is None else self.origin

    def low_precision(self) -> "InMemory":
        """Return data with float32 products, if those are faster over many passes.

        Products and functions of logits take less than half the time in float32. That pays for
        the conversion if there are many logits, or dense rows are float32 already.
        Kernels compute in float64 at the speed at which they read.
        """
        rows, n_logits = self.rows, self.n_logits
        if n_logits == 1 and passes.is_supported(rows.X):
            return self
        many = n_logits >= _MIN_LOGITS_PER_ROW and self.n_samples * n_logits >= CACHED_ENTRIES
        fast = isinstance(rows, DenseRows) and rows.has_fast_float32
        if not (many or fast):
            return self
        return replace(
            self,
            rows=rows.low_precision(n_logits),
            targets=self.targets.float() if self.targets.is_floating_point() else self.targets,
            weight=self.weight.float(),
            origin=self,
        )

    def sampled(self, n_rows: int) -> slice:
        step = max(self.n_samples // n_rows, 1)
        return slice(step // 2, None, step)

    def sample(self, n_rows: int, columns: Tensor | None = None) -> "InMemory":
        """Return evenly spaced rows, optionally of some columns; short rows are copied.

        The last sample of all columns is cached.
        """
        if columns is not None:
            return self._sample(n_rows, columns)
        if n_rows not in self._samples:
            self._samples.clear()
            self._samples[n_rows] = self._sample(n_rows)
        return self._samples[n_rows]

    def _sample(self, n_rows: int, columns: Tensor | None = None) -> "InMemory":
        rows = self.sampled(n_rows)
        weight = self.weight[rows]
        factor = self.weight.sum(dim=0) / weight.sum(dim=0)
        return InMemory(
            rows=self.rows.sample(rows, columns),
            targets=self.targets[rows],
            weight=weight * factor.nan_to_num(1.0, 1.0),
            n_logits=self.n_logits,
            origin=None if self.origin is None else self.origin.sample(n_rows, columns),
        )

    def pick(
        self, choose: Callable[..., Tensor], *row_arrays: Tensor
    ) -> tuple[Any, Tensor, Tensor]:
        rows = choose(self.targets, self.weight, *row_arrays)
        return self.rows.pick(rows), self.targets[rows].cpu(), self.weight[rows].cpu()

    def column_moments(self) -> tuple[Tensor, Tensor]:
        # rare columns of sparse rows are constant in any sample
        if self.n_samples >= 2 * MOMENT_ROWS and not self.rows.is_sparse:
            mean, deviation = self._sample(MOMENT_ROWS).column_moments()
            if bool((deviation > 0).all()):
                return mean, deviation
        # a column that is constant in a sample may vary in the data
        if self.rows.is_sparse:
            return moments(self, torch.zeros_like(self.center), is_sparse=True)
        return moments(self, self.rows.X[0].to(torch.float64), is_sparse=False)

    def select(self, models: Tensor) -> "InMemory":
        part = super().select(models)
        part.origin = None if self.origin is None else self.origin.select(models)
        return part

    def outer(self, column_weight: Tensor, low_precision: bool = False) -> Tensor:
        """Compute ``Z diag(column_weight) Z'`` (n, n); the last product is cached."""
        rows, last = self.rows, self.rows.last_outer
        if last is not None and last[1] == low_precision and torch.equal(last[0], column_weight):
            return last[2]
        self.reads[0] += 1
        # rows far from zero are centred by the product itself
        workspace = None if rows.multiplies else rows.workspace(self.n_samples)
        block = rows.block(slice(0, self.n_samples), self.targets, self.weight, workspace)
        product = block.outer(column_weight, low_precision)
        rows.last_outer = column_weight, low_precision, product
        return product

    def take_columns(self, columns: Tensor) -> "InMemory":
        rows, is_read = self.rows.take_columns(columns)
        self.reads[0] += is_read
        rows = rows.standardised(rows.center, rows.scale)
        return replace(self, rows=rows, origin=None, reads=[0])

    def recast(self, X: Tensor) -> "InMemory":
        rows = DenseRows.of(X, self.device)
        rows = rows.standardised(rows.center, rows.scale)
        return replace(self, rows=rows, origin=None, reads=[0])

    def standardised(
        self, center: Tensor, scale: Tensor, targets: Tensor, n_logits: int = 1
    ) -> "InMemory":
        """Return the data as ``(X - center) / scale`` with encoded targets; X is not copied.

        Two exceptions: dense rows of less than a megabyte, and the entries of sparse columns far
        from zero, are copied.
        """
        rows = self.rows.standardised(center, scale)
        return replace(self, rows=rows, targets=targets, n_logits=n_logits)

    def centred(self, center: Tensor) -> "InMemory":
        rows = replace(self.rows, center=center, scale=torch.ones_like(center))
        return replace(self, rows=rows)


def from_arrays(
    X: Any, y: Any, sample_weight: Any = None, *, device: str | torch.device | None = None
) -> InMemory:
    """Make a data set of arrays.

    Parameters
    ----------
    X : ndarray, Tensor or CSR array of shape (n_samples, n_features)
        Floating point numbers, integers or booleans, of any strides; read only. Sparse rows
        that are not float64 get a float64 copy of their entries (not of their structure).
    y : array of shape (n_samples,) or (n_samples, m)
        Class index of every row, or probability of the second of two classes; one column per
        model for m models solved together. Or probabilities (n_samples, 1, n_classes) for all
        models.
    sample_weight : array of shape (n_samples,) or (n_samples, m) or None
        Non-negative weights; None: 1 for all rows.
    device : str, torch.device or None
        Device to which a dense X is moved; None: X stays on its device.

    Returns
    -------
    data : InMemory
    """
    rows: AnyRows
    if sp.issparse(X):
        place = torch.device("cpu")
        entries = np.asarray(X.data, dtype=np.float64)
        X = sp.csr_array((entries, X.indices, X.indptr), shape=X.shape)
        rows = SparseRows.of(X, place)
    else:
        X = (X if isinstance(X, Tensor) else as_tensor(X)).detach()
        X = X if device is None else X.to(device)
        if X.dtype == torch.bool:  # torch subtracts bytes of zeros and ones
            X = X.view(torch.uint8)
        place = X.device
        rows = DenseRows.of(X, place)
    if not isinstance(y, Tensor):
        y = np.asarray(y)
        y = as_tensor(y if y.dtype.kind == "f" else y.astype(np.int64, copy=False))
    if sample_weight is None:
        # one number with stride 0, not n_samples of them
        weight = torch.ones(1, 1, dtype=torch.float64, device=place).expand(X.shape[0], 1)
    elif isinstance(sample_weight, Tensor):
        weight = sample_weight.detach().to(place, torch.float64)
    else:
        weight = as_tensor(np.asarray(sample_weight, dtype=np.float64)).to(place)
    return InMemory(rows=rows, targets=as_columns(y.to(place)), weight=as_columns(weight))


def as_columns(array: Tensor) -> Tensor:
    """Return a 2-d array: one column per model, or one for all models."""
    return array if array.ndim > 1 else array[:, None]
