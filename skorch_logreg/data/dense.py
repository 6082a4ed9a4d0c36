"""Products of rows of a dense array."""

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from skorch_logreg.data.gram import (
    bordered_gram,
    centred_gram,
    deviation_sums,
    is_near_zero,
    piece_rows,
)
from skorch_logreg.data.low_precision import (
    bfloat16_cross,
    bfloat16_gram,
    bfloat16_grams,
    bfloat16_outer,
)
from skorch_logreg.data.tensors import gather_columns
from skorch_logreg.data.threads import map_blocks, thread_count

_PIECE_SIZE = 1 << 16  # entries that column_squares squares at a time
_MIN_COLUMNS = 64  # columns from which a low-precision cross product is faster
_FULL_PRODUCT_RATIO = 4  # with more than 1/4 of all columns, multiply all and select after
_OUTER_ROWS = 256  # rows of a symmetric product that are computed at a time


class DenseBlock:
    """Rows of a dense array; see `Block` for the methods.

    float64 rows with a unit stride are multiplied without a copy. All others (float32, half
    precision, integers, general strides) are copied to a float64 workspace of the block's size,
    once per block and pass, so that every product and sum is computed in float64; columns far
    from zero are centred there. Low-precision products use a float32 workspace.

    Parameters
    ----------
    X : Tensor of shape (rows, n_features)
    targets, weight : Tensor
    center, scale : Tensor of shape (n_features,)
        The design matrix is ``(X - center) / scale``.
    workspace : Tensor or None
        Buffer with at least as many rows: float64, or float32 for low-precision products.
    centred : bool, default=False
        If True, rows in the workspace are centred.
    """

    def __init__(
        self,
        X: Tensor,
        targets: Tensor,
        weight: Tensor,
        center: Tensor,
        scale: Tensor,
        *,
        workspace: Tensor | None = None,
        centred: bool = False,
    ) -> None:
        self._X, self.targets, self.weight = X, targets, weight
        self._center, self._scale, self._workspace = center, scale, workspace
        self._is_centred = centred and workspace is not None

    @cached_property
    def _values(self) -> Tensor:
        """Rows in the type of the products: those of the workspace, or X itself without one."""
        if self._workspace is None:
            return self._X
        values = self._workspace[: len(self._X)]
        if not self._is_centred:
            return values.copy_(self._X)
        if self._X.dtype == values.dtype:
            return torch.sub(self._X, self._center, out=values)
        return values.copy_(self._X).sub_(self._center)  # faster than a sum of two types

    @cached_property
    def _remaining_center(self) -> Tensor:
        """Center that is not yet subtracted from `_values`."""
        return torch.zeros_like(self._center) if self._is_centred else self._center

    def matmul(self, params: Tensor, out: Tensor | None = None) -> Tensor:
        """Compute logits (rows, m, K) of params (m, K, p + 1), into ``out`` if it is given."""
        slope = params[..., :-1] / self._scale
        shift = params[..., -1] - slope @ self._remaining_center
        values = self._values
        flat = slope.reshape(-1, slope.shape[-1]).T.to(values.dtype)
        if out is None:
            out = flat.new_empty(len(self._X), *shift.shape)
        constant = shift.reshape(-1).to(values.dtype)
        if flat.shape[1] > 1:
            torch.addmm(constant, values, flat, out=out.view(len(out), -1))
        else:
            torch.mm(values, flat, out=out.view(len(out), -1)).add_(constant)
        return out

    def rmatmul(self, residual: Tensor) -> Tensor:
        """Compute ``[Z 1]' residual`` (m, K, p + 1)."""
        flat = residual.reshape(len(residual), -1)
        raw = (flat.T @ self._values).view(*residual.shape[1:], -1)
        total = residual.sum(dim=0, dtype=self._scale.dtype)[..., None]
        return torch.cat([(raw - self._remaining_center * total) / self._scale, total], dim=-1)

    def gram(
        self, weight: Tensor, rank_one: Tensor | None, columns: Tensor | None = None
    ) -> Tensor:
        """Compute Gram matrices (m, K, c + 1, K, c + 1) of some columns and the intercept."""
        values, center, scale = self._values, self._remaining_center, self._scale
        plain = columns is None and weight.shape[1:].numel() == 1 and values.dtype == weight.dtype
        if plain and is_near_zero(center, scale):
            gram = centred_gram(values, center, scale, weight.flatten())
            return gram[None, None, :, None]
        if columns is not None:
            center, scale = center[columns], scale[columns]

        def fill(piece: slice, out: Tensor) -> None:
            rows = values[piece] if columns is None else gather_columns(values[piece], columns)
            torch.sub(rows, center, out=out)

        return bordered_gram(fill, scale, weight, rank_one)

    def bfloat16_gram(
        self, weight: Tensor, rank_one: Tensor | None, columns: Tensor | None = None
    ) -> Tensor:
        """Compute a Gram matrix (K (c + 1), K (c + 1)) of one model in low precision."""
        n_columns = len(self._remaining_center) if columns is None else len(columns)
        return bfloat16_gram(self._fill(columns), n_columns, weight, rank_one)

    def bfloat16_grams(self, weight: Tensor, columns: Tensor | None = None) -> Tensor:
        """Compute Gram matrices (k, c + 1, c + 1) in low precision, one per column of weight."""
        n_columns = len(self._center) if columns is None else len(columns)
        return bfloat16_grams(self._fill(columns), n_columns, weight)

    def cross(
        self, weight: Tensor, columns: Tensor, others: Tensor, low_precision: bool = False
    ) -> Tensor:
        """Compute ``sum_i weight_i z_ij [z_ik 1]`` (c, o + 1) of some columns j and others k."""
        # rows of another type are converted piece by piece, not as a whole
        stored = self._workspace is None and self._X.dtype not in (torch.float64, torch.float32)
        if low_precision and (len(columns) >= _MIN_COLUMNS or stored):
            sides = len(columns), len(others)
            return bfloat16_cross(self._fill(columns), self._fill(others), *sides, weight)
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

    def _fill(self, columns: Tensor | None) -> Callable[[slice, Tensor], None]:
        """Return a function that writes float32 rows of the design matrix into an array."""
        X, center, scale = self._X, self._center, self._scale
        if columns is not None:
            center, scale = center[columns], scale[columns]
        unit = (1 / scale).float()

        def fill(piece: slice, out: Tensor) -> None:
            rows = X[piece] if columns is None else gather_columns(X[piece], columns)
            torch.sub(rows, center, out=out).mul_(unit)

        return fill

    def column_squares(self, weight: Tensor) -> Tensor:
        """Compute ``sum_i weight_ik [z_i 1]_j^2``, (k, p + 1)."""
        total = torch.zeros(
            weight.shape[1], len(self._remaining_center), dtype=weight.dtype, device=weight.device
        )
        step = max(_PIECE_SIZE // max(len(self._remaining_center), 1), 8)
        held = torch.empty(
            step, len(self._remaining_center), dtype=weight.dtype, device=weight.device
        )
        for start in range(0, len(weight), step):
            rows = self._values[start : start + step]
            z = torch.sub(rows, self._remaining_center, out=held[: len(rows)])
            total.addmm_(weight[start : start + step].T, z.square_())
        total /= self._scale.square()
        return torch.cat([total, weight.sum(dim=0)[:, None]], dim=1)

    def deviations(self, weight: Tensor, columns: Tensor) -> Tensor:
        """Compute sums of ``weight_i z_ij`` and ``weight_i z_ij^2``, (2, c), of some columns j."""
        values, center, scale = self._values, self._remaining_center[columns], self._scale[columns]

        def fill(rows: slice, out: Tensor) -> None:
            torch.sub(gather_columns(values[rows], columns), center, out=out).div_(scale)

        return deviation_sums(fill, len(columns), weight)

    def column_counts(self) -> Tensor:
        """Return the number of rows, for every column."""
        return torch.full_like(self._center, len(self._X))

    def outer(self, column_weight: Tensor, low_precision: bool = False) -> Tensor:
        """Compute ``Z diag(column_weight) Z'`` (rows, rows)."""
        values, center = self._values, self._remaining_center
        root = column_weight.sqrt() / self._scale
        n_rows, step = len(values), piece_rows(len(values))

        def fill(rows: slice, columns: slice, out: Tensor) -> None:
            torch.sub(values[rows, columns], center[columns], out=out).mul_(root[columns])

        def part(columns: range) -> Tensor:
            if low_precision:
                return bfloat16_outer(fill, n_rows, columns)
            total = root.new_zeros(n_rows, n_rows)
            for start in columns[::step]:
                piece = slice(start, min(start + step, columns.stop))
                z = root.new_empty(n_rows, piece.stop - start)
                fill(slice(None), piece, z)
                for row in range(0, n_rows, _OUTER_ROWS):  # the lower triangle is enough
                    rows, end = slice(row, row + _OUTER_ROWS), row + _OUTER_ROWS
                    total[rows, :end].addmm_(z[rows], z[:end].T)
            return total

        share = -(-len(root) // thread_count())
        columns = [range(a, min(a + share, len(root))) for a in range(0, len(root), share)]
        first, *others = map_blocks(part, columns)
        for other in others:
            first += other
        lower = first.tril()
        return (lower + lower.tril(-1).T).to(root.dtype)
