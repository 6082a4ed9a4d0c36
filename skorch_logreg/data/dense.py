"""Dense rows, and the products of their blocks."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

import torch
from torch import Tensor

from skorch_logreg.data.compiled import CompiledPasses
from skorch_logreg.data.gram import (
    FAR_DEVIATIONS,
    FormedRows,
    are_near_zero,
    finished_grams,
    weighted_outer,
)
from skorch_logreg.data.low_precision import Fill
from skorch_logreg.data.memory import InMemory
from skorch_logreg.data.protocol import Block
from skorch_logreg.data.tensors import (
    BLOCK_ELEMENTS,
    CACHED_ENTRIES,
    PIECE_ENTRIES,
    float_dtype,
    gather_columns,
    gather_in_threads,
    multiply_rows,
    pieces,
)
from skorch_logreg.data.threads import map_blocks, thread_count
from skorch_logreg.kernels import passes, products

# bytes of a block of unconverted rows: large enough to hide the cost of function calls
BLOCK_BYTES = BLOCK_ELEMENTS * torch.float64.itemsize
_FULL_PRODUCT_RATIO = 4  # with more than 1/4 of all columns, multiply all and select after


@dataclass(kw_only=True, eq=False)
class DenseRows(InMemory):
    """Rows of a tensor of any type and strides, on any device.

    Parameters
    ----------
    is_checked : bool
        Whether all entries are known to be finite.
    """

    is_checked: bool = True

    is_sparse = False
    some_columns = staticmethod(gather_in_threads)

    @property
    def row_size(self) -> float:
        return float(self.n_features)

    @property
    def dtype(self) -> torch.dtype:
        return float_dtype(self.X.dtype)

    @property
    def n_bytes(self) -> int:
        return int(self.X.nbytes)

    @property
    def is_small(self) -> bool:
        return self.X.numel() < CACHED_ENTRIES  # a float64 copy of less than 1 MiB saves time

    @property
    def has_fast_float32(self) -> bool:
        large = self.X.dtype == torch.float32 and self.X.numel() >= CACHED_ENTRIES
        return large and self._is_near_zero

    @property
    def max_block_rows(self) -> int:
        fitting = max(BLOCK_BYTES // (8 * max(self.n_features, 1)), 1024)
        return fitting if self.block_rows is None else self.block_rows

    @property
    def rows_per_block(self) -> int:
        width = max(self.n_features, 1)
        share = max(-(-self.n_samples // thread_count()), CACHED_ENTRIES // width)
        most = min(self.max_block_rows, max(CACHED_ENTRIES // self.n_logits, 1))
        # kernels read rows as they are, unless they have to be centred
        is_read = self.products is torch.float64 and passes.is_supported(self.X)
        if self.needs_workspace and (self.centres or not is_read):
            most = min(most, self._piece_rows)
        if most < share:  # as many blocks for every thread; they may have half as many rows more
            return -(-share // round(share / most))
        return share

    @property
    def _piece_rows(self) -> int:
        """Number of rows that are converted at a time."""
        return max(PIECE_ENTRIES // max(self.n_features, 1), 1)

    def workspace(self, n_rows: int) -> Tensor:
        return super().workspace(min(n_rows, self._piece_rows))

    @cached_property
    def _is_near_zero(self) -> bool:
        """Return True if float32 may store the columns without centring."""
        return bool(are_near_zero(self.center, self.scale).all())

    @cached_property
    def centres(self) -> bool:
        """Return True if rows are centred in a buffer before they are multiplied.

        float32 products round what is not near zero; of float64 sums, a gradient would lose three
        of its sixteen digits where the mean is a thousand deviations.
        """
        if self.products is torch.float32:
            return not self._is_near_zero
        return bool((self.center.abs() > FAR_DEVIATIONS * self.scale).any())

    @property
    def needs_conversion(self) -> bool:
        """Return True if rows have another type than the products, or no unit stride."""
        return self.X.dtype != self.products or 1 not in self.X.stride()

    @property
    def needs_workspace(self) -> bool:
        return self.design is None and (self.centres or self.needs_conversion)

    def block(self, rows: slice, workspace: Tensor | None = None) -> Block:
        targets, weight = self.targets[rows], self.weight[rows]
        if self.design is not None:
            return DenseBlock(self.design[rows], None, targets, weight)
        return DenseBlock(
            *(self.X[rows], (self.center, self.scale), targets, weight, workspace),
            is_centred=workspace is not None and self.centres,
            is_float32=self.products is torch.float32,
            largest=None if self.is_checked else self._largest_of(rows),
        )

    def _largest_of(self, rows: slice) -> Tensor:
        """Return where the first pass stores the largest distances of a block from the center."""
        parts = self._last.setdefault("parts", {})
        return parts.setdefault((rows.start, rows.stop), torch.full_like(self.center, -1.0))

    def _found_largest(self) -> Tensor | None:
        """Return the largest distances from the center, (p,), if the first pass found them."""
        parts = self._last.get("parts", {})
        found = {rows: part for rows, part in parts.items() if bool((part >= 0).all())}
        if sum(stop - start for start, stop in found) != self.n_samples:
            return None
        return torch.stack([*found.values()]).amax(dim=0)

    def standardised(
        self, center: Tensor, scale: Tensor, targets: Tensor, n_logits: int = 1
    ) -> "DenseRows":
        """Return the data as ``(X - center) / scale`` with encoded targets.

        X is not copied, unless it takes less than a megabyte.
        """
        data = super().standardised(center, scale, targets, n_logits)
        if self.is_small:
            data.design = center.new_empty(self.X.shape)
            data.fill(slice(None), data.design)
        return data

    def confirm_finite(self, *sums: Tensor) -> None:
        if self.is_checked:
            return
        if not all(bool(each.isfinite().all()) for each in sums):  # some sums overflow
            X, parts = self.exact.X, pieces(0, self.n_samples, self._piece_rows)
            if not all(map_blocks(lambda rows: bool(X[rows].isfinite().all()), [*parts])):
                raise ValueError("X contains NaN or infinity.")
        self.is_checked = True

    def largest_entries(self, *, reads: bool = True) -> Tensor | None:
        if "largest" not in self._last:
            found = self._found_largest()
            if found is None and not reads:
                return None
            self._last["largest"] = self._read_largest() if found is None else found / self.scale
        return self._last["largest"]

    def _read_largest(self) -> Tensor:
        X, center, scale = self.X, self.center, self.scale
        if self.design is not None:
            X, center, scale = self.design, 0 * center, torch.ones_like(scale)
        share = max(-(-self.n_samples // thread_count()), self._piece_rows)
        parts = [*pieces(0, self.n_samples, share)]
        found = map_blocks(lambda rows: passes.largest_distances(X[rows], center), parts)
        self.reads[0] += 1
        return torch.stack(found).amax(dim=0) / scale

    def _in_float32(self) -> dict[str, Any]:
        """Store rows in their units, if they take at most the memory of a point's logits."""
        if self.n_features >= 2 * self.n_logits or not self.stores_logits:
            return {}
        X = torch.empty(self.X.shape, dtype=torch.float32, device=self.device)
        for rows in pieces(0, self.n_samples, self.rows_per_block):
            self.fill(rows, X[rows])
        return {
            "X": X,
            "center": torch.zeros_like(self.center),
            "scale": torch.ones_like(self.scale),
        }

    def fill(self, rows: slice | Tensor, out: Tensor) -> None:
        """Write rows in their units into an array."""
        passes.write_rows(self.X[rows], self.center, 1 / self.scale, out)

    def _sample(self, n_rows: int) -> "DenseRows":
        part = super()._sample(n_rows)
        if part.design is None and not part.X.is_contiguous():
            part.X = gather_in_threads(part.X)
        return part

    def _picked(self, rows: Tensor) -> Any:
        return self.X[rows].to("cpu", torch.float64).numpy()


class DenseBlock(CompiledPasses, FormedRows):
    """Rows of a dense array; see `Block` for the methods.

    ``units`` are center and scale of the columns, or None if the rows have them already. Rows with
    a unit stride and the type of the products are multiplied without a copy. All others, and those
    with columns far from zero, which are centred, are copied to a workspace, once per block and
    pass if it has as many rows as the block.
    """

    def __init__(
        self,
        X: Tensor,
        units: tuple[Tensor, Tensor] | None,
        targets: Tensor,
        weight: Tensor,
        workspace: Tensor | None = None,
        *,
        is_centred: bool = False,
        is_float32: bool = False,
        largest: Tensor | None = None,
    ) -> None:
        self._X, self.targets, self.weight = X, targets, weight
        self._workspace, self._is_centred = workspace, is_centred
        if units is None:
            zero = targets.new_zeros(X.shape[1], dtype=torch.float64)
            self._center, self._scale, self._units = zero, zero + 1.0, None
        else:
            self._center, self._scale = units
            self._units = self._remaining_center, self._scale
        self._stored, self._largest = None if is_centred else X, largest
        if not is_float32:
            self._several = X, self._center if is_centred else None

    @cached_property
    def _values(self) -> Tensor:
        """Rows in the type of the products: those of the workspace, or X itself without one."""
        if self._workspace is None:
            return self._X
        if len(self._X) <= len(self._workspace):
            return self._converted(self._X, self._workspace)
        return self._converted(self._X, torch.empty_like(self._X, dtype=self._workspace.dtype))

    def _converted(self, rows: Tensor, out: Tensor) -> Tensor:
        values = out[: len(rows)]
        if not self._is_centred:
            return values.copy_(rows)
        if values.dtype is torch.float32 or rows.dtype == values.dtype:
            return torch.sub(rows, self._center, out=values)
        return values.copy_(rows).sub_(self._center)  # faster than a sum of two types

    def _pieces(self) -> Iterator[tuple[slice, Tensor]]:
        """Return parts of the rows and their values, one after the other."""
        workspace, n = self._workspace, len(self._X)
        if workspace is None or n <= len(workspace):
            yield slice(0, n), self._values
            return
        for rows in pieces(0, n, len(workspace)):
            yield rows, self._converted(self._X[rows], workspace)

    @cached_property
    def _remaining_center(self) -> Tensor:
        """Center that is not yet subtracted from `_values`."""
        return torch.zeros_like(self._center) if self._is_centred else self._center

    def matmul(self, params: Tensor, out: Tensor | None = None) -> Tensor:
        slope, shift = self._raw(params)
        if out is None:
            dtype = self._X.dtype if self._workspace is None else self._workspace.dtype
            out = slope.new_empty(len(self._X), *shift.shape, dtype=dtype)
        several = self._rows_of_several(shift.numel())
        if several is not None and products.product(*several, (slope, shift), out):
            return out
        logits = out.view(len(out), -1)
        flat, constant = slope.flatten(0, 1).to(out.dtype), shift.flatten().to(out.dtype)
        for rows, values in self._pieces():
            multiply_rows(values, flat, constant, logits[rows], in_cache=values is not self._X)
        return out

    def rmatmul(self, residual: Tensor) -> Tensor:
        found, several = None, self._rows_of_several(residual[0].numel())
        if several is not None:
            found = products.transposed_product(*several, residual)
        if found is None:
            flat = residual.reshape(len(residual), -1)
            parts = (flat[rows].T @ values for rows, values in self._pieces())
            raw = reduce(torch.Tensor.add_, parts).view(*residual.shape[1:], -1)
            total = residual.sum(dim=0, dtype=self._scale.dtype)[..., None]
            found = torch.cat([raw.to(total.dtype), total], dim=-1)
        return self._standardised(found)

    def gram(
        self, weight: Tensor, rank_one: Tensor | None, columns: Tensor | None = None
    ) -> Tensor:
        found = self._compiled_gram(weight, rank_one, columns)
        return super().gram(weight, rank_one, columns) if found is None else found

    def bfloat16_gram(self, weight: Tensor, rank_one: Tensor | None) -> Tensor:
        # the kernel has half as many products to compute (race multi: .87 of the time of a fit)
        found = None
        if rank_one is not None:
            found = self._softmax_gram(rank_one[:, None], None, torch.float32)
        if found is None:
            return super().bfloat16_gram(weight, rank_one)
        return found[0].flatten(2).flatten(0, 1)

    def deviations(self, weight: Tensor, columns: Tensor | None = None) -> Tensor:
        found = None if columns is not None else passes.moments(self._X, self._center, weight)
        if found is None:
            return super().deviations(weight, columns)
        found[1] /= self._scale
        return found.div_(self._scale)

    def cross(self, weight: Tensor, columns: Tensor, others: Tensor) -> Tensor:
        z = gather_columns(self._values, columns).sub_(self._remaining_center[columns])
        z.mul_(weight[:, None]).div_(self._scale[columns])
        border = z.sum(dim=0)[:, None]
        # copying so many columns would cost more than multiplying all of them
        if len(others) * _FULL_PRODUCT_RATIO > self._values.shape[1]:
            product = (z.T @ self._values)[:, others]
        else:
            product = z.T @ gather_columns(self._values, others)
        inner = (product - border * self._remaining_center[others]) / self._scale[others]
        return torch.cat([inner, border], dim=1)

    def _compiled_gram(
        self, weight: Tensor, rank_one: Tensor | None, columns: Tensor | None
    ) -> Tensor | None:
        """Compute `gram` by a kernel, or return None."""
        if rank_one is not None:
            return self._softmax_gram(rank_one, columns, weight.dtype)
        units = None if self._units is None else (self._center, self._scale)
        found = products.grams(self._X, units, weight.flatten(1), columns)
        if found is None:
            return None
        n_models, n_outputs = weight.shape[1:]
        return finished_grams(found.view(n_models, -1, found.shape[-1]), n_outputs, False)

    def _softmax_gram(
        self, rank_one: Tensor, columns: Tensor | None, dtype: torch.dtype
    ) -> Tensor | None:
        """Compute `gram` of a softmax by a kernel, with products in ``dtype``, or return None."""
        X, units = self._X, None if self._units is None else (self._center, self._scale)
        n_models, n_outputs = rank_one.shape[1:]
        side = 1 + (X.shape[1] if columns is None else len(columns))
        total = rank_one.new_zeros(n_models, n_outputs * side, n_outputs * side, dtype=dtype)
        blocks = total.view(n_models, n_outputs, side, n_outputs, side)
        first, second = torch.tril_indices(n_outputs, n_outputs, -1, device=rank_one.device)
        is_rough = dtype == torch.float32
        for block, factor in zip(blocks, rank_one.unbind(1), strict=True):
            found = products.grams(X, units, factor, columns, are_pairs=True, is_rough=is_rough)
            if found is None:
                return None
            block[first, :, second] = block[second, :, first] = found.to(dtype)
        return finished_grams(total, n_outputs, True)

    def _fill(self, columns: Tensor | None) -> tuple[Fill, int]:
        X, center, scale = self._X, self._center, self._scale
        if columns is not None:
            center, scale = center[columns], scale[columns]
        unit = 1 / scale

        def fill(piece: slice | Tensor, out: Tensor) -> None:
            rows = X[piece] if columns is None else gather_columns(X[piece], columns)
            passes.write_rows(rows, center, unit, out)

        return fill, len(unit)

    def outer(self, column_weight: Tensor, low_precision: bool = False) -> Tensor:
        root = column_weight.sqrt() / self._scale
        return weighted_outer(self._values, self._remaining_center, root, low_precision)
