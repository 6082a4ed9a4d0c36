"""Gram matrices in low precision, for curvature that exact gradients correct."""

from collections.abc import Callable
from functools import cache
from timeit import repeat

import torch
from torch import Tensor

Fill = Callable[[slice, Tensor], object]  # writes a slice of rows of ``z`` into an array (r, c)

_STRIP_COLUMNS = 512  # columns of a strip of a symmetric product
_FILL_ENTRIES = 1 << 16  # entries written at a time, which fit into a core's cache
_MAX_FACTOR_ENTRIES = 1 << 22  # entries of a product's factor, at most
_MIN_FACTOR_ENTRIES = 1 << 20  # entries of a factor, at least, to hide the cost of function calls
_FACTOR_ROWS = 2048  # rows of a factor; with fewer, adding the products takes some per cent
_LIFTED_ENTRIES = 1 << 19  # entries of weighted rows that are multiplied at a time
_TRIAL_COLUMNS = 384  # side of the matrices whose product measures the speed of bfloat16
_MIN_SPEEDUP = 1.5  # speed relative to float32 from which bfloat16 is used


def low_precision_dtype(device: torch.device, side: int) -> torch.dtype:
    """Return the type of the factors of a product with ``side`` columns.

    bfloat16 if the device multiplies it faster and forming the factors takes less time.
    """
    return torch.bfloat16 if side > _STRIP_COLUMNS and has_fast_bfloat16(device) else torch.float32


@cache
def has_fast_bfloat16(device: torch.device) -> bool:
    """Return True if the device multiplies bfloat16 matrices faster than float32 ones.

    Measured once, as the best of some products of less than a millisecond.
    """

    def seconds(dtype: torch.dtype) -> float:
        matrix = torch.ones(_TRIAL_COLUMNS, _TRIAL_COLUMNS, dtype=dtype, device=device)
        return min(repeat(lambda: float((matrix @ matrix)[0, 0]), number=1, repeat=6))

    return seconds(torch.float32) > _MIN_SPEEDUP * seconds(torch.bfloat16)


def bfloat16_gram(
    fill: Fill,
    n_columns: int,
    weight: Tensor,
    rank_one: Tensor | None,
    filled: int = _FILL_ENTRIES,
) -> Tensor:
    """Sum ``[z 1]'[z 1] x (diag(weight) - rank_one rank_one')`` over rows in low precision.

    Factors have the type `low_precision_dtype`, sums are float32: the relative error of an entry
    is some thousandths. weight and rank_one have shape (rows, K). The result
    (K (n_columns + 1), K (n_columns + 1)) is float32, and only its lower triangle is valid. One
    call of ``fill`` writes about ``filled`` entries.
    """
    n_rows, n_outputs = weight.shape
    side = n_columns + 1
    width = n_outputs * side
    dtype = low_precision_dtype(weight.device, width)
    # the diagonal block of an output has the weight d - q q > 0: computed as a difference of two
    # products it would be smaller than their rounding errors
    own = (weight if rank_one is None else weight - rank_one.square()).clamp(min=0.0)
    roots = own.sqrt().float()
    second = None if rank_one is None else rank_one.float()
    blocks = torch.zeros(n_outputs, side, side, dtype=torch.float32, device=weight.device)
    gram = blocks[0] if second is None else blocks.new_zeros(width, width)
    held = min(max(_FACTOR_ROWS * width, _MIN_FACTOR_ENTRIES), _MAX_FACTOR_ENTRIES)
    step = min(max(held // width, 256), n_rows)
    piece = max(filled // side, 16)
    design = blocks.new_ones(step, side) if second is not None else blocks.new_ones(piece, side)
    lifted = torch.empty(step, width, dtype=dtype, device=weight.device)
    for start in range(0, n_rows, step):
        stop = min(start + step, n_rows)
        for first in range(start, stop, piece):
            rows = slice(first, min(first + piece, stop))
            at = slice(rows.start - start, rows.stop - start)
            z = design[: rows.stop - rows.start] if second is None else design[at]
            fill(rows, z[:, :-1])
            if second is None:
                torch.mul(z, roots[rows], out=lifted[at])
            else:
                out = lifted[at].view(-1, n_outputs, side)
                torch.mul(z[:, None, :], second[rows, :, None], out=out)
        factor = lifted[: stop - start]
        _add_gram(gram, factor)
        if second is not None:
            once = factor[:, :side]
            for k in range(n_outputs):
                torch.mul(design[: stop - start], roots[start:stop, k, None], out=once)
                _add_gram(blocks[k], once)
    if second is None:
        return gram
    gram.neg_()
    for k in range(n_outputs):
        mine = slice(k * side, (k + 1) * side)
        gram[mine, mine] = blocks[k]
    return gram


def bfloat16_grams(
    fill: Fill,
    n_columns: int,
    weight: Tensor,
    filled: int = _FILL_ENTRIES,
) -> Tensor:
    """Sum ``weight_k [z 1]'[z 1]`` over rows for every column of weights, in low precision.

    The rows are formed once and multiplied by all weights in one product, of a size at which
    matrix products are efficient. weight has shape (rows, k), the result
    (k, n_columns + 1, n_columns + 1); else as in `bfloat16_gram`.
    """
    n_rows, n_grams = weight.shape
    side = n_columns + 1
    dtype = low_precision_dtype(weight.device, side)
    weight = weight.float()
    width = n_grams * side
    total = torch.zeros(width, side, dtype=torch.float32, device=weight.device)
    piece = min(
        max(filled // side, _LIFTED_ENTRIES // width),
        max(_MAX_FACTOR_ENTRIES // width, 16),
        n_rows,
    )
    design = total.new_ones(piece, side)
    lifted = torch.empty(piece, n_grams, side, dtype=dtype, device=weight.device)
    for start in range(0, n_rows, piece):
        rows = slice(start, min(start + piece, n_rows))
        z = design[: rows.stop - start]
        fill(rows, z[:, :-1])
        held = torch.mul(z[:, None, :], weight[rows, :, None], out=lifted[: len(z)])
        flat = held.view(len(z), -1).T
        if dtype is torch.float32:
            total.addmm_(flat, z)
        else:
            total += flat @ z.to(dtype)
    return total.view(n_grams, side, side)


def bfloat16_outer(
    fill: Callable[[slice, slice, Tensor], object],
    n_rows: int,
    columns: range,
    device: torch.device,
) -> Tensor:
    """Sum ``z_j z_j'`` (n_rows, n_rows) over some columns in low precision.

    ``fill(rows, columns, out)`` writes a part of ``z`` into out, float32. Only the lower triangle
    of the sum is valid.
    """
    total = torch.zeros(n_rows, n_rows, device=device)
    width = min(max(_MAX_FACTOR_ENTRIES // n_rows, 256), len(columns))
    dtype = low_precision_dtype(device, len(columns))
    held = torch.empty(n_rows, width, dtype=dtype, device=device)
    piece = max(_FILL_ENTRIES // width, 1)
    z = torch.empty(piece, width, device=device)
    for start in columns[::width]:
        across = slice(start, min(start + width, columns.stop))
        used = held[:, : across.stop - start]
        for first in range(0, n_rows, piece):
            rows = slice(first, min(first + piece, n_rows))
            part = z[: rows.stop - first, : across.stop - start]
            fill(rows, across, part)
            used[rows].copy_(part)
        _add_gram(total, used.T)
    return total


def bfloat16_cross(
    fill: Fill,
    fill_others: Fill,
    n_columns: int,
    n_others: int,
    weight: Tensor,
) -> Tensor:
    """Sum ``weight z'[u 1]`` (n_columns, n_others + 1) over rows in low precision.

    ``fill`` writes rows of z, and ``fill_others`` rows of u; weight has shape (rows,).
    """
    dtype = low_precision_dtype(weight.device, n_others)
    step = min(max(_MAX_FACTOR_ENTRIES // (n_columns + n_others), 256), len(weight))
    piece = max(_FILL_ENTRIES // (n_columns + n_others), 16)
    factor, total = weight.float()[:, None], weight.new_zeros(n_columns, n_others + 1).float()
    z, u = total.new_empty(piece, n_columns), total.new_empty(piece, n_others)
    left = total.new_empty(step, n_columns, dtype=dtype)
    right = total.new_ones(step, n_others + 1, dtype=dtype)
    for start in range(0, len(weight), step):
        stop = min(start + step, len(weight))
        for first in range(start, stop, piece):
            rows = slice(first, min(first + piece, stop))
            at, size = slice(rows.start - start, rows.stop - start), rows.stop - rows.start
            fill(rows, z[:size])
            fill_others(rows, u[:size])
            torch.mul(z[:size], factor[rows], out=left[at])
            right[at, :-1] = u[:size]
        total += left[: stop - start].T @ right[: stop - start]
    return total


class LowPrecisionGrams:
    """Low-precision Gram matrices of a block that can write rows of its design matrix."""

    _fill_entries = _FILL_ENTRIES

    def _fill(self, columns: Tensor | None) -> tuple[Fill, int]:
        """Return a function that writes float32 rows of some columns, and their number."""
        raise NotImplementedError

    def bfloat16_gram(
        self, weight: Tensor, rank_one: Tensor | None, columns: Tensor | None = None
    ) -> Tensor:
        return bfloat16_gram(*self._fill(columns), weight, rank_one, self._fill_entries)

    def bfloat16_grams(self, weight: Tensor, columns: Tensor | None = None) -> Tensor:
        return bfloat16_grams(*self._fill(columns), weight, self._fill_entries)


def _add_gram(total: Tensor, rows: Tensor) -> None:
    """Add ``rows' rows`` to the lower triangle in place, one strip of columns at a time."""
    side = rows.shape[1]
    for start in range(0, side, _STRIP_COLUMNS):
        strip = slice(start, min(start + _STRIP_COLUMNS, side))
        total[start:, strip] += rows[:, start:].T @ rows[:, strip]
