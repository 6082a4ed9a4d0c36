"""Sparse rows, and the products of their blocks."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from skorch_logreg.data.compiled import CompiledPasses
from skorch_logreg.data.gram import FormedRows, are_near_zero, centred_gram
from skorch_logreg.data.low_precision import Fill
from skorch_logreg.data.memory import InMemory
from skorch_logreg.data.protocol import Block
from skorch_logreg.data.tensors import CACHED_ENTRIES, PIECE_ENTRIES, SAMPLE_ROWS, pieces
from skorch_logreg.data.threads import thread_count
from skorch_logreg.kernels import passes
from skorch_logreg.kernels.quadratic import ColumnProblem, column_descent

_ENTRY_COST = 5.0  # cost of an entry of a sparse row, in numbers of a dense row
# cost of a multiply-add of a sparse product, in multiply-adds of a dense product
_MULTIPLY_ADD_COST = 40
_MIN_MODELS = 16  # of a product: an entry then takes .6 ns a model, and 1.2 ns with four


@dataclass(kw_only=True, eq=False)
class SparseRows(InMemory):
    """Rows of a CSR array, on the CPU.

    A block has all rows, or as many as leave one block for each thread; fewer where logits are not
    stored.
    Steps of a lasso over many columns keep a second copy of X, by column.
    """

    is_sparse = True
    some_columns = staticmethod(lambda X, columns: X[:, columns.numpy()])
    dtype = torch.float64

    @property
    def row_size(self) -> float:
        return _ENTRY_COST * self.X.nnz / max(self.n_samples, 1)

    @property
    def n_bytes(self) -> int:
        return int(self.X.data.nbytes + self.X.indices.nbytes)

    @property
    def max_block_rows(self) -> int:
        return max(self.n_samples, 1) if self.block_rows is None else self.block_rows

    @property
    def rows_per_block(self) -> int:
        n_threads = thread_count()
        is_long = self.X.nnz >= n_threads * CACHED_ENTRIES
        share = -(-self.n_samples // n_threads) if is_long else self.max_block_rows
        most = share if self.stores_logits else max(PIECE_ENTRIES // self.n_logits, 1)
        return min(share, most)

    @cached_property
    def _parts(self) -> dict[tuple[int, int], Any]:
        """Rows of blocks by their ends: SciPy checks all indices of an array that it makes."""
        return {}

    def block(self, rows: slice, workspace: Tensor | None = None) -> Block:
        ends = rows.start, rows.stop
        X = self._parts.get(ends)
        if X is None:
            X = self._parts[ends] = csr_rows(self.X, rows)
        return SparseBlock(X, self.targets[rows], self.weight[rows], self.center, self.scale)

    def has_entries_above(self, least: Tensor) -> bool:
        values = np.abs(self.X.data)
        stored = (least * self.scale - self.center.abs()).numpy()
        if values.max(initial=0.0) < stored.min(initial=np.inf):
            return False
        return bool((values >= stored[self.X.indices]).any())

    def reads_columns(self, n_columns: int) -> bool:
        many = n_columns**2 > self.X.nnz  # an epoch over either takes about as long
        return many and passes.is_supported(self.X) and self.products is torch.float64

    @cached_property
    def _by_column(self) -> Any:
        X = sp.csc_array(self.X)
        X.sum_duplicates()
        return X

    def column_step(self, problem: ColumnProblem) -> Tensor | None:
        units = self.center[problem.columns], self.scale[problem.columns]
        if not problem.fit_intercept and bool(units[0].any()):
            return None
        return column_descent(self._by_column, units, problem)

    def standardised(
        self, center: Tensor, scale: Tensor, targets: Tensor, n_logits: int = 1
    ) -> "SparseRows":
        """Return the data as ``(X - center) / scale`` with encoded targets.

        Columns far from zero are centred in a copy of the entries, because centring their products
        would cancel.
        """
        X, center = center_far_columns(self.X, center, scale)
        return replace(super().standardised(center, scale, targets, n_logits), X=X)

    def _in_float32(self) -> dict[str, Any]:
        X = self.X
        return {"X": sp.csr_array((X.data.astype(np.float32), X.indices, X.indptr), shape=X.shape)}

    def _picked(self, rows: Tensor) -> Any:
        return self.X[rows.numpy()].astype(np.float64)


class SparseBlock(CompiledPasses, FormedRows):
    """Rows of a CSR array; see `Block` for the methods.

    Kernels compute the products, or SciPy: on two cores torch's sparse products are not faster, and
    they warn that they are in beta. Columns are centred after their products, so that no zero is
    stored. For columns far from zero that would cancel all digits, so they have been centred
    before (`center_far_columns`). X is float64, or float32 for low-precision products.
    """

    def __init__(
        self, X: Any, targets: Tensor, weight: Tensor, center: Tensor, scale: Tensor
    ) -> None:
        self._X, self.targets, self.weight = X, targets, weight
        self._center, self._scale = center, scale
        self._stored, self._units = X, (center, scale)

    def matmul(self, params: Tensor, out: Tensor | None = None) -> Tensor:
        coef = params[..., :-1].flatten(0, 1)
        shift = params[..., -1].flatten() - coef @ (self._center / self._scale)
        if out is None:
            dtype = torch.float32 if self._X.dtype == np.float32 else torch.float64
            out = coef.new_empty(self._X.shape[0], *params.shape[:2], dtype=dtype)
        logits = out.view(len(out), len(coef))
        for some in self._groups(len(coef)):
            slope = coef.new_empty(coef[some].shape[::-1])
            torch.div(coef[some].T, self._scale[:, None], out=slope)
            torch.add(passes.sparse_product(self._X, slope), shift[some], out=logits[:, some])
        return out

    def rmatmul(self, residual: Tensor) -> Tensor:
        flat = residual.flatten(1)
        total = flat.sum(dim=0, dtype=self._scale.dtype)[:, None]
        sums = total.new_empty(len(total), self._X.shape[1] + 1)
        sums[:, -1:] = total
        for some in self._groups(len(total)):
            raw = passes.sparse_transposed_product(self._X, flat[:, some])
            torch.mul(total[some], -self._center, out=sums[some, :-1])
            sums[some, :-1].add_(raw.T).div_(self._scale)
        return sums.view(*residual.shape[1:], -1)

    def _groups(self, n_models: int) -> Iterator[slice]:
        """Divide models into groups with 4 MiB of coefficients, or of `_MIN_MODELS` with more.

        Larger arrays take as long to convert as to multiply (44 models of 45,000 columns: .6 of
        the time).
        """
        return pieces(0, n_models, max(PIECE_ENTRIES // max(self._X.shape[1], 1), _MIN_MODELS))

    def gram(
        self, weight: Tensor, rank_one: Tensor | None, columns: Tensor | None = None
    ) -> Tensor:
        weight = weight.to(self._scale.dtype)
        if weight.shape[2] == 1 and rank_one is None and self._has_short_rows(columns):
            grams = [self._sparse_gram(own, columns) for own in weight[..., 0].unbind(dim=1)]
            # without a copy of a single one
            joined = torch.stack(grams) if len(grams) > 1 else grams[0][None]
            return joined[:, None, :, None]
        return super().gram(weight, rank_one, columns)

    def bfloat16_grams(self, weight: Tensor) -> Tensor:
        if self._has_short_rows(None):
            own = [self._sparse_gram(own, None) for own in weight.unbind(dim=1)]
            return torch.stack(own).float()
        return super().bfloat16_grams(weight)

    def _columns(self, columns: Tensor | None) -> "SparseBlock":
        """Return a block of some columns."""
        if columns is None:
            return self
        X, center, scale = self._X[:, columns.numpy()], self._center[columns], self._scale[columns]
        return SparseBlock(X, self.targets, self.weight, center, scale)

    def _has_short_rows(self, columns: Tensor | None) -> bool:
        """Estimate from some rows whether a Gram matrix costs less without dense rows."""
        some = self._X[:: max(self._X.shape[0] // SAMPLE_ROWS, 1)]
        some = some if columns is None else some[:, columns.numpy()]
        counts = np.diff(some.indptr).astype(np.float64)
        n_rows, n_columns = some.shape
        return _MULTIPLY_ADD_COST * float(counts @ counts) < n_rows * float(n_columns) ** 2

    def _sparse_gram(self, weight: Tensor, columns: Tensor | None) -> Tensor:
        """Compute a Gram matrix (c + 1, c + 1) without dense rows."""
        weight = weight.to(self._scale.dtype)
        raw = passes.sparse_gram(self._X, weight, columns)
        center, scale = self._center, self._scale
        if columns is not None:
            center, scale = center[columns], scale[columns]
        if raw is None:
            raw = _raw_gram(self._columns(columns)._X, weight)
        return centred_gram(raw, center, scale)

    def _fill(self, columns: Tensor | None) -> tuple[Fill, int]:
        some = self._columns(columns)

        def fill(piece: slice | Tensor, out: Tensor) -> None:
            torch.mul(some._dense(piece).sub_(some._center), 1 / some._scale, out=out)

        return fill, len(some._scale)

    def _dense(self, rows: slice | Tensor) -> Tensor:
        X = csr_rows(self._X, rows) if isinstance(rows, slice) else self._X[rows.numpy()]
        return torch.from_numpy(X.toarray())

    def cross(self, weight: Tensor, columns: Tensor, others: Tensor) -> Tensor:
        n_known = len(others) - len(columns)
        if torch.equal(others[n_known:], columns):
            raw = passes.sparse_gram(self._X, weight, others, n_known)
            if raw is not None:
                return self._standardised_rows(raw, columns, others)
        X, center = self._X, self._center[others]
        if not torch.equal(others, torch.arange(X.shape[1])):
            X = X[:, others.numpy()]
        some = _scale_rows(self._X[:, columns.numpy()], weight.numpy())
        raw = torch.from_numpy((some.T @ X).toarray())
        own, scale = self._center[columns, None], self._scale[columns, None]
        border = torch.from_numpy(some.sum(axis=0))[:, None] - weight.sum() * own
        raw.sub_(own * torch.from_numpy(X.T @ weight.numpy())).sub_(border * center)
        return torch.cat([raw.div_(self._scale[others]), border], dim=1).div_(scale)

    def _standardised_rows(self, raw: Tensor, columns: Tensor, others: Tensor) -> Tensor:
        """Convert rows of sums over the entries of columns, and those of the intercept's."""
        sums, total = raw[-1, :-1], raw[-1, -1]
        center, scale, own = self._center[others], self._scale[others], self._center[columns, None]
        border = raw[:-1, -1:] - total * own
        rows = (raw[:-1, :-1] - own * sums).addr_(border[:, 0], center, alpha=-1)
        return torch.cat([rows.mul_(1 / scale), border], dim=1).div_(self._scale[columns, None])

    def deviations(self, weight: Tensor, columns: Tensor | None = None) -> Tensor:
        if columns is not None or bool(self._center.any()):
            return super().deviations(weight, columns)
        own = weight[:, None]
        sums = [passes.sparse_transposed_product(self._X, own, power) for power in (1, 2)]
        return torch.cat(sums, dim=1).T / torch.stack([self._scale, self._scale.square()])

    def outer(self, column_weight: Tensor, low_precision: bool = False) -> Tensor:
        root = column_weight.sqrt() / self._scale
        X = self._X
        entries = X.data * root.numpy()[X.indices]
        scaled = sp.csr_array((entries, X.indices, X.indptr), shape=X.shape)
        cross = passes.sparse_product(scaled, (self._center * root)[:, None])
        shift = (self._center * root).square().sum()
        return torch.from_numpy((scaled @ scaled.T).toarray()) - cross - cross.T + shift


def csr_rows(X: Any, rows: slice) -> Any:
    """Return consecutive rows of a CSR array without a copy.

    SciPy's slices copy, and so does its constructor where a view has less than half of its array.
    """
    if rows.stop - rows.start == X.shape[0]:
        return X
    first, last = X.indptr[rows.start], X.indptr[rows.stop]
    part = sp.csr_array((rows.stop - rows.start, X.shape[1]), dtype=X.dtype)
    part.data, part.indices = X.data[first:last], X.indices[first:last]
    part.indptr = X.indptr[rows.start : rows.stop + 1] - first
    return part


def center_far_columns(X: Any, center: Tensor, scale: Tensor) -> tuple[Any, Tensor]:
    """Subtract the centres of columns that are far from zero relative to their scale.

    ``X'WX - w c c'`` of a column with mean c and deviation s has an error of ``eps (c / s)^2``:
    from a ratio of 1e8 on none of its digits is right. Such a column has few zeros, so that it
    may be stored as if it were dense, with its zeros centred as well. X is not modified, and
    returned as it is without such columns.

    Also returns the center (n_features,) that is not yet subtracted.

    With uneven weights such a column may have many zeros, in rows of small weight. The columns
    with most zeros are skipped, so that X at most doubles its number of entries: for those
    ``(c / s)^2`` is at most the total weight divided by the weight of the rows with zeros.
    """
    far = (~are_near_zero(center, scale)).nonzero()[:, 0].numpy()
    if not len(far):
        return X, center
    if not X.has_canonical_format:  # duplicate entries get one centre
        X = X.copy()
        X.sum_duplicates()
    lacking = X.shape[0] - np.bincount(X.indices, minlength=X.shape[1])[far]
    order = lacking.argsort(kind="stable")
    moved = np.sort(far[order[lacking[order].cumsum() <= X.nnz]])
    shift = np.zeros(X.shape[1])
    shift[moved] = center[moved].numpy()
    entries = shift[X.indices]
    np.subtract(X.data, entries, out=entries)
    holed = moved[np.isin(moved, far[lacking > 0])]
    near = sp.csr_array((entries, X.indices, X.indptr), shape=X.shape)
    if len(holed):
        stored = X[:, holed].tocoo()
        empty = np.ones((X.shape[0], len(holed)), dtype=bool)
        empty[stored.row, stored.col] = False
        rows, place = empty.nonzero()
        filled = -shift[holed[place]], (rows, holed[place])
        near = sp.csr_array(near + sp.csr_array(filled, shape=X.shape))
    rest = center.clone()
    rest[moved] = 0.0
    return near, rest


def _scale_rows(X: Any, factor: np.ndarray) -> Any:
    data = X.data * np.repeat(factor, np.diff(X.indptr))
    return sp.csr_array((data, X.indices, X.indptr), shape=X.shape)


def _raw_gram(X: Any, weight: Tensor) -> Tensor:
    """Compute ``sum_i weight_i [x_i 1]'[x_i 1]`` (c + 1, c + 1) as a sparse product."""
    rooted = _scale_rows(X, weight.sqrt().numpy())
    product = rooted.T @ rooted
    # made dense with room for the border: a copy of this size would cost as much as a product
    pointers = np.append(product.indptr, product.indptr[-1])
    side = X.shape[1] + 1
    bordered = sp.csr_array((product.data, product.indices, pointers), shape=(side, side))
    gram = torch.from_numpy(bordered.toarray())
    gram[:-1, -1] = gram[-1, :-1] = torch.from_numpy(X.T @ weight.numpy())
    gram[-1, -1] = weight.sum()
    return gram
