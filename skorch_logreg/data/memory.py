"""Data in memory: one dense or sparse array."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from queue import Empty, SimpleQueue
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from skorch_logreg.data.columns import ColumnCopy, copy_columns
from skorch_logreg.data.dense import DenseBlock
from skorch_logreg.data.gram import is_far, is_near_zero
from skorch_logreg.data.moments import moments
from skorch_logreg.data.protocol import Block, Kernel
from skorch_logreg.data.small import SmallBlock
from skorch_logreg.data.sparse import SparseBlock, center_far_columns, csr_rows
from skorch_logreg.data.tensors import as_rows, as_tensor, float_dtype, take_columns
from skorch_logreg.data.threads import map_blocks, thread_count

CONTAINERS = {
    "dense": (
        "NumPy array or torch tensor of any layout and type, on any device, each kept in that "
        "type; data frame; array API array"
    ),
    "sparse": (
        "SciPy sparse array or matrix of any format, 32 or 64 bit indices; torch's COO, CSR, CSC"
    ),
}

# bytes of a block of unconverted rows: large enough to hide the cost of function calls
_BLOCK_BYTES = 64 << 20
_MAX_CONVERTED_SIZE = 1 << 19  # entries of a converted block; with half, function calls cost more
_MIN_BLOCK_SIZE = 1 << 17  # entries of a block, at least
_MAX_BLOCK_LOGITS = 1 << 17  # logits of a block, so that they stay in a cache
_MIN_BLOCK_ROWS = 256  # rows of a block, at least
_MIN_LOGITS_PER_ROW = 8  # logits per row from which float32 products are faster
_MIN_LOGITS = 1 << 17  # logits of all rows from which float32 products are faster
_MIN_FLOAT32_SIZE = 1 << 20  # entries of a float32 X from which float32 products are faster
_MIN_SPARSE_ROWS = 4096  # rows of a block of sparse rows, at least
_MIN_SPARSE_ENTRIES = 1 << 19  # stored entries from which several threads are faster
_ENTRY_COST = 5.0  # cost of an entry of a sparse row, in numbers of a dense row
_SMALL_SIZE = 1 << 16  # entries of an X of which a float64 copy (512 KiB) saves time
# rows from which column moments are computed, at most: they only set the solver's units
_MAX_MOMENT_ROWS = 2500
_MOMENT_SIZE = 1 << 20  # entries from which they are computed, if there are many columns
_MIN_MOMENT_ROWS = 1250  # rows from which they are computed, at least
_LONG_ROW_SIZE = 512  # columns from which a strided sample is as fast as a contiguous copy


@dataclass
class InMemory:
    """Row blocks of one array in memory; see `Data` for the methods.

    Parameters
    ----------
    X : Tensor or csr_array of shape (n_samples, n_features)
        Rows; never written to and never copied as a whole.
    targets : Tensor of shape (n_samples, 1) or (n_samples, m), perhaps by n_classes
        Classes, for all models or per model; once encoded, always with a third axis.
    weight : Tensor of shape (n_samples, 1) or (n_samples, m), float64
    center, scale : Tensor of shape (n_features,), float64
    block_rows : int
        Number of rows of a block, at most.
    n_logits : int
        Number of logits per row, over all models. The more there are, the fewer rows a block has.
    reads : list of int
        One number, shared with all data derived from this: the full reads of X so far.
    design : Tensor or None
        The whole matrix ``[Z 1]``, if it is small.
    origin : InMemory or None
        The data with float64 products, if those of this data are float32; weight and targets
        are float32 then.
    kernels : list of (Tensor, bool, Tensor)
        Arguments and result of the last call of `outer`.
    copy : ColumnCopy
        Cache of the columns that were copied last.
    """

    X: Any
    targets: Tensor
    weight: Tensor
    center: Tensor
    scale: Tensor
    block_rows: int
    n_logits: int = 1
    reads: list[int] = field(default_factory=lambda: [0], compare=False)
    design: Tensor | None = None
    origin: "InMemory | None" = None
    kernels: list[tuple[Tensor, bool, Tensor]] = field(default_factory=list, compare=False)
    copy: ColumnCopy = field(default_factory=ColumnCopy, compare=False)

    @property
    def n_passes(self) -> int:
        """Number of full reads of X so far, by this data and all data derived from it."""
        return self.reads[0]

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return int(self.X.shape[0])

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return int(self.X.shape[1])

    @property
    def row_size(self) -> float:
        """Cost of reading one row, in numbers of a dense row."""
        if isinstance(self.X, Tensor):
            return float(self.n_features)
        return _ENTRY_COST * self.X.nnz / max(self.n_samples, 1)

    @property
    def n_weights(self) -> int:
        """Number of weight columns: 1 for all models, or m."""
        return int(self.weight.shape[1])

    @property
    def dtype(self) -> torch.dtype:
        """Type of the coefficients of a model fitted to X."""
        return float_dtype(self.X.dtype) if isinstance(self.X, Tensor) else torch.float64

    @property
    def device(self) -> torch.device:
        """Device that holds the rows."""
        return self.weight.device

    @property
    def is_sparse(self) -> bool:
        """Return True if only non-zero entries are stored."""
        return not isinstance(self.X, Tensor)

    @property
    def is_small(self) -> bool:
        """Return True if a float64 copy costs less than the function calls it saves."""
        return not self.is_sparse and self.n_samples * self.n_features <= _SMALL_SIZE

    @property
    def single_block(self) -> bool:
        """Return True if one block holds all rows."""
        return self.block_rows >= self.n_samples

    @cached_property
    def whole(self) -> SmallBlock | None:
        """Block of all rows, if the design matrix is stored."""
        if self.design is None or self.is_split:
            return None
        return SmallBlock(self.design, self.targets, self.weight)

    @property
    def is_split(self) -> bool:
        """Return True if a pass has several blocks."""
        return self._step < self.n_samples

    @cached_property
    def _samples(self) -> dict[int, Self]:
        return {}

    @cached_property
    def _workspaces(self) -> SimpleQueue[Tensor]:
        """Buffers of one block each, as many as were in use at once."""
        return SimpleQueue()

    @property
    def _multiplies(self) -> bool:
        """Return True if rows have the type and layout of the products."""
        wanted = torch.float64 if self.origin is None else torch.float32
        return self.X.dtype == wanted and 1 in self.X.stride()

    @property
    def _converts(self) -> bool:
        """Return True if rows are copied to a buffer before they are multiplied."""
        if self.is_sparse:
            return False
        moved = self._is_far if self.origin is None else not self._centred
        return moved or not self._multiplies

    @property
    def _step(self) -> int:
        """Number of rows of a block; sparse rows have as many blocks as threads."""
        if self.is_sparse:
            split = -(-self.n_samples // thread_count())
            long = split >= _MIN_SPARSE_ROWS and self.X.nnz >= _MIN_SPARSE_ENTRIES
            return split if long else self.block_rows
        width = max(self.n_features, 1)
        share = max(-(-self.n_samples // thread_count()), _MIN_BLOCK_SIZE // width)
        rows = min(self.block_rows, share, max(_MAX_BLOCK_LOGITS // self.n_logits, _MIN_BLOCK_ROWS))
        return (
            min(rows, max(_MAX_CONVERTED_SIZE // width, _MIN_BLOCK_ROWS))
            if self._converts
            else rows
        )

    @cached_property
    def _centred(self) -> bool:
        """Return True if float32 may store the columns without centring."""
        return is_near_zero(self.center, self.scale)

    @cached_property
    def _is_far(self) -> bool:
        """Return True if float64 rows are centred before they are multiplied."""
        return self.design is None and is_far(self.center, self.scale)

    def _new_workspace(self, rows: int) -> Tensor:
        if self.origin is None:
            return torch.empty(rows, self.n_features, dtype=torch.float64, device=self.device)
        width = self.n_features + (not self._centred)
        return torch.ones(rows, width, dtype=torch.float32, device=self.device)

    def _block(self, rows: slice, workspace: Tensor | None) -> Block:
        targets, weight = self.targets[rows], self.weight[rows]
        if self.design is not None:
            return SmallBlock(self.design[rows], targets, weight)
        if self.origin is not None and workspace is not None and not self._centred:
            z = workspace[: rows.stop - rows.start]
            self._standardise(rows, out=z[:, :-1])
            return SmallBlock(z, targets, weight)
        if not self.is_sparse:
            units, far = (self.center, self.scale), self.origin is None and self._is_far
            return DenseBlock(
                self.X[rows], targets, weight, *units, workspace=workspace, centred=far
            )
        X = csr_rows(self.X, rows)
        return SparseBlock(X, targets, weight, self.center, self.scale)

    def reduce(
        self, kernel: Kernel, *row_arrays: Tensor, reads: int = 1, few: bool = False
    ) -> tuple[Tensor, ...]:
        """Sum ``kernel(block, *rows of row_arrays)`` over all blocks."""
        self.reads[0] += reads
        step = self._step
        if few:
            step = max(step, -(-self.n_samples // thread_count()))

        def part(start: int) -> tuple[Tensor, ...]:
            rows = slice(start, min(start + step, self.n_samples))
            workspace = None
            if reads and self._converts and self.design is None and not few:
                try:
                    workspace = self._workspaces.get_nowait()
                except Empty:
                    workspace = self._new_workspace(min(step, self.n_samples))
            result = kernel(self._block(rows, workspace), *(a[rows] for a in row_arrays))
            if workspace is not None:
                self._workspaces.put(workspace)
            if self.origin is not None:
                return tuple(term.to(torch.float64) for term in result)
            return result

        if self.whole is not None and self.origin is None:
            return kernel(self.whole, *row_arrays)
        if step >= self.n_samples:
            return part(0)
        first, *others = map_blocks(part, range(0, self.n_samples, step))
        for other in others:
            for total, term in zip(first, other, strict=True):
                total.add_(term)
        return first

    def empty_rows(self, *shape: int) -> Tensor:
        """Return an uninitialised array with one entry per row, of the products' type."""
        dtype = torch.float64 if self.origin is None else torch.float32
        return torch.empty(self.n_samples, *shape, dtype=dtype, device=self.device)

    def beside(self, rows: Tensor) -> Tensor:
        """Move an array with one entry per row to the device of the rows."""
        return rows.to(self.device)

    @property
    def exact(self) -> "InMemory":
        """The same data with float64 products."""
        return self if self.origin is None else self.origin

    def low_precision(self) -> "InMemory":
        """Return data with float32 products, if those are faster over many passes.

        Products and functions of logits take less than half the time in float32. That pays for
        the conversion if there are many logits, or if rows are sparse (and keep their converted
        entries) or float32 already. Dense rows with means far from zero are centred before they
        are rounded; the result is stored if it takes at most the memory of a point's logits.
        """
        many = (
            self.n_logits >= _MIN_LOGITS_PER_ROW and self.n_samples * self.n_logits >= _MIN_LOGITS
        )
        long = self.is_sparse and self.X.nnz >= _MIN_SPARSE_ENTRIES
        # float32 rows need no conversion
        as_it_is = not self.is_sparse and self.X.dtype == torch.float32
        free = as_it_is and self.n_samples * self.n_features >= _MIN_FLOAT32_SIZE
        if not (many or long or (free and self._centred)):
            return self
        X = self.X
        if self.is_sparse:
            X = sp.csr_array((X.data.astype(np.float32), X.indices, X.indptr), shape=X.shape)
        design = None if self.design is None else self.design.float()
        if design is None and not self.is_sparse and self.n_features < 2 * self.n_logits:
            shape = self.n_samples, self.n_features + 1
            design = torch.ones(shape, dtype=torch.float32, device=self.device)
            for start in range(0, self.n_samples, self._step):
                rows = slice(start, start + self._step)
                self._standardise(rows, out=design[rows, :-1])
        return replace(
            self,
            X=X,
            targets=self.targets.float() if self.targets.is_floating_point() else self.targets,
            weight=self.weight.float(),
            design=design,
            origin=self,
            kernels=[],
            copy=ColumnCopy(),
        )

    def sampled(self, n_rows: int) -> slice:
        """Return the slice of rows that `sample` takes."""
        step = max(self.n_samples // n_rows, 1)
        return slice(step // 2, None, step)

    def sample(self, n_rows: int, columns: Tensor | None = None) -> Self:
        """Return evenly spaced rows, optionally of some columns.

        Weights are scaled up to the total weight of all rows. Short rows are copied. The last
        sample of all columns is cached.
        """
        if columns is not None:
            return self._taken(n_rows, columns)
        if n_rows not in self._samples:
            self._samples.clear()
            self._samples[n_rows] = self._taken(n_rows)
        return self._samples[n_rows]

    def _taken(self, n_rows: int, columns: Tensor | None = None) -> Self:
        rows = self.sampled(n_rows)
        weight = self.weight[rows]
        factor = self.weight.sum(dim=0) / weight.sum(dim=0)
        X, center, scale = self.X[rows], self.center, self.scale
        design = None if self.design is None else self.design[rows]
        if columns is not None:
            X, design = copy_columns(X, columns), None
            center, scale = center[columns], scale[columns]
        if not self.is_sparse and design is None and X.shape[1] < _LONG_ROW_SIZE:
            X = X.contiguous()
        return replace(
            self,
            X=X,
            center=center,
            scale=scale,
            design=design,
            origin=None if self.origin is None else self.origin.sample(n_rows, columns),
            targets=self.targets[rows],
            weight=weight * factor.nan_to_num(1.0, 1.0),
            block_rows=_block_rows(X),
            reads=[0],
            kernels=[],
            copy=ColumnCopy(),
        )

    def pick(
        self, choose: Callable[..., Tensor], *row_arrays: Tensor
    ) -> tuple[Any, Tensor, Tensor]:
        """Copy selected rows of X, their targets and weights to the memory of this process."""
        rows = choose(self.targets, self.weight, *row_arrays)
        return pick_rows(self.X, self.targets, self.weight, rows)

    def column_moments(self) -> tuple[Tensor, Tensor]:
        """Compute the weighted mean and standard deviation (p,) of the columns of X.

        Large data are sampled: some thousand rows are used. Constant columns have deviation 0.
        """
        rows = min(
            max(int(_MOMENT_SIZE / max(self.row_size, 1.0)), _MIN_MOMENT_ROWS), _MAX_MOMENT_ROWS
        )
        if self.n_samples >= 2 * rows:
            mean, deviation = moments(self._taken(rows))
            if bool((deviation > 0).all()):
                return mean, deviation
        # a column that is constant in a sample may vary in the data
        return moments(self)

    def select(self, models: Tensor) -> Self:
        """Keep the targets and weights of some models, where models have their own."""
        targets, weight = (
            take_columns(array, models) if array.shape[1] > 1 else array
            for array in (self.targets, self.weight)
        )
        columns = max(self.targets.shape[1], self.weight.shape[1])
        share = min(len(models), columns)
        n_logits = max(self.n_logits * share // columns, 1)
        origin = None if self.origin is None else self.origin.select(models)
        return replace(self, targets=targets, weight=weight, n_logits=n_logits, origin=origin)

    def outer(self, column_weight: Tensor, low_precision: bool = False) -> Tensor:
        """Compute ``Z diag(column_weight) Z'`` (n, n), if one block holds all rows."""
        for known, was_low_precision, product in self.kernels:
            if was_low_precision == low_precision and torch.equal(known, column_weight):
                return product
        self.reads[0] += 1
        everything = slice(0, self.n_samples)
        casts = not self.is_sparse and not self._multiplies
        workspace = self._new_workspace(self.n_samples) if casts else None
        product = self._block(everything, workspace).outer(column_weight, low_precision)
        self.kernels[:] = [(column_weight, low_precision, product)]
        return product

    def take_columns(self, columns: Tensor) -> "InMemory":
        """Copy some columns, with the same targets, weights and units."""
        X, is_read = self.copy.take(self.X, columns)
        self.reads[0] += is_read
        plain = replace(
            self, X=X, origin=None, block_rows=_block_rows(X), reads=[0], copy=ColumnCopy()
        )
        center, scale = self.center[columns], self.scale[columns]
        return plain.standardised(center, scale, self.targets, self.n_logits)

    def recast(self, X: Tensor) -> "InMemory":
        """Replace X by other rows (n, r), unscaled, with the same targets and weights."""
        center = self.center.new_zeros(X.shape[1])
        plain = replace(
            self, X=X, origin=None, block_rows=_block_rows(X), reads=[0], copy=ColumnCopy()
        )
        return plain.standardised(center, torch.ones_like(center), self.targets, self.n_logits)

    def standardised(
        self, center: Tensor, scale: Tensor, targets: Tensor, n_logits: int = 1
    ) -> Self:
        """Return the data as ``(X - center) / scale`` with encoded targets; X is not copied.

        Two exceptions: dense rows of less than a megabyte, and the entries of sparse columns far
        from zero, are copied.
        """
        data = self.in_units(center, scale)
        data = replace(data, targets=targets, n_logits=n_logits, design=None, kernels=[])
        if not self.is_small:
            return data
        design = center.new_ones(self.n_samples, self.n_features + 1)
        data._standardise(slice(None), out=design[:, :-1])
        return replace(data, design=design)

    def in_units(self, center: Tensor, scale: Tensor) -> Self:
        """Return the data as ``(X - center) / scale``; X is not copied.

        Sparse columns far from zero are centred in a copy of the entries, because centring their
        products would cancel.
        """
        X = self.X
        if self.is_sparse:
            X, center = center_far_columns(X, center, scale)
        return replace(self, X=X, center=center, scale=scale)

    def _standardise(self, rows: slice, out: Tensor) -> None:
        """Write rows of the design matrix of dense rows into ``out``."""
        torch.mul(self.X[rows] - self.center, 1 / self.scale, out=out)


def pick_rows(X: Any, targets: Tensor, weight: Tensor, rows: Tensor) -> tuple[Any, Tensor, Tensor]:
    """Copy some rows as float64 ndarray or csr_array, with targets and weights."""
    if isinstance(X, Tensor):
        some = X[rows].to("cpu", torch.float64).numpy()
    else:
        some = X[rows.numpy()].astype(np.float64)
    return some, targets[rows].cpu(), weight[rows].cpu()


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
    if sp.issparse(X):
        entries = np.asarray(X.data, dtype=np.float64)
        X = sp.csr_array((entries, X.indices, X.indptr), shape=X.shape)
        place = torch.device("cpu")
    else:
        X = X if isinstance(X, Tensor) else as_tensor(X)
        X = as_rows(X.detach() if device is None else X.detach().to(device))
        place = X.device
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
    center = torch.zeros(X.shape[1], dtype=torch.float64, device=place)
    return InMemory(
        X=X,
        targets=as_columns(y.to(place)),
        weight=as_columns(weight),
        center=center,
        scale=torch.ones_like(center),
        block_rows=_block_rows(X),
    )


def as_columns(array: Tensor) -> Tensor:
    """Return a 2-d array: one column per model, or one for all models."""
    return array if array.ndim > 1 else array[:, None]


def _block_rows(X: Any) -> int:
    """Return the rows of a block: all rows of a sparse array, because slicing copies it."""
    if not isinstance(X, Tensor):
        return max(int(X.shape[0]), 1)
    return max(_BLOCK_BYTES // (8 * max(int(X.shape[1]), 1)), 1024)
