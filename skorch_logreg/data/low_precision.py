"""Gram matrices in low precision, for curvature that exact gradients correct."""

from collections.abc import Callable
from functools import cache
from timeit import repeat

import torch
from torch import Tensor

from skorch_logreg.data.tensors import CACHED_ENTRIES, pieces

Fill = Callable[[slice, Tensor], object]  # writes a slice of rows of ``z`` into an array (r, c)

_STRIP_COLUMNS = 512  # columns of a strip of a symmetric product
_FACTOR_ENTRIES = 1 << 20  # entries of a factor of a product, to hide the cost of function calls
_DESIGN_ENTRIES = 1 << 22  # entries of rows that are formed at a time for several sums
FACTOR_ROWS = 2048  # rows of a factor; with fewer, adding the products takes some per cent
_MIN_SPEEDUP = 1.5  # speed relative to float32 from which bfloat16 is used


def low_precision_dtype(device: torch.device, side: int) -> torch.dtype:
    """Return the type of the factors of a product with ``side`` columns.

    bfloat16 if the device multiplies it faster and forming the factors takes less time.
    """
    return torch.bfloat16 if side > _STRIP_COLUMNS and has_fast_bfloat16(device) else torch.float32


@cache
def has_fast_bfloat16(device: torch.device) -> bool:
    """Return True if the device multiplies bfloat16 matrices faster than float32 ones.

    Measured once, as the best of three products of some milliseconds.
    """

    def seconds(dtype: torch.dtype) -> float:
        matrix = torch.ones(_STRIP_COLUMNS, _STRIP_COLUMNS, dtype=dtype, device=device)
        return min(repeat(lambda: float((matrix @ matrix)[0, 0]), number=1, repeat=3))

    return seconds(torch.float32) > _MIN_SPEEDUP * seconds(torch.bfloat16)


def bfloat16_gram(fill: Fill, n_columns: int, weight: Tensor, rank_one: Tensor | None) -> Tensor:
    """Sum ``[z 1]'[z 1] x (diag(weight) - rank_one rank_one')`` over rows in low precision.

    Factors have the type `low_precision_dtype`, sums are float32: the relative error of an entry
    is some thousandths. weight and rank_one have shape (rows, K). The result
    (K (n_columns + 1), K (n_columns + 1)) is float32, and only its lower triangle is valid.
    """
    n_rows, n_outputs = weight.shape
    side = n_columns + 1
    width = n_outputs * side
    # the diagonal block of an output has the weight d - q q > 0: computed as a difference of two
    # products it would be smaller than their rounding errors
    own = (weight if rank_one is None else weight - rank_one.square()).clamp(min=0.0)
    roots = own.sqrt().float()
    factors = roots if rank_one is None else rank_one.float()
    blocks = torch.zeros(n_outputs, side, side, dtype=torch.float32, device=weight.device)
    gram = blocks[0] if rank_one is None else blocks.new_zeros(width, width)
    step = min(_factor_rows(width, FACTOR_ROWS), n_rows)
    piece = max(CACHED_ENTRIES // side, 16)
    design = blocks.new_ones(piece if rank_one is None else step, side)
    lifted = blocks.new_empty(step, width, dtype=low_precision_dtype(weight.device, width))
    for rows in pieces(0, n_rows, step):
        for part in pieces(rows.start, rows.stop, piece):
            at = slice(part.start - rows.start, part.stop - rows.start)
            z = design[: part.stop - part.start] if rank_one is None else design[at]
            fill(part, z[:, :-1])
            out = lifted[at].view(-1, n_outputs, side)
            torch.mul(z[:, None, :], factors[part, :, None], out=out)
        factor = lifted[: rows.stop - rows.start]
        add_gram(gram, factor)
        if rank_one is not None:
            once = factor[:, :side]
            for k in range(n_outputs):
                torch.mul(design[: len(once)], roots[rows, k, None], out=once)
                add_gram(blocks[k], once)
    if rank_one is None:
        return gram
    gram.neg_()
    for k in range(n_outputs):
        mine = slice(k * side, (k + 1) * side)
        gram[mine, mine] = blocks[k]
    return gram


def bfloat16_grams(fill: Fill, n_columns: int, weight: Tensor) -> Tensor:
    """Sum ``weight_k [z 1]'[z 1]`` over rows for every column of weights, in low precision.

    Rows are formed once for all columns, and multiplied where their weight is not zero. weight
    has shape (rows, k), the result (k, n_columns + 1, n_columns + 1); else as in `bfloat16_gram`.
    """
    n_rows, n_grams = weight.shape
    side = n_columns + 1
    weight = weight.T.float()
    total = weight.new_zeros(n_grams, side, side)
    dtype = low_precision_dtype(weight.device, side)
    step = min(max(_DESIGN_ENTRIES // side, FACTOR_ROWS), n_rows)
    design = total.new_ones(step, side)
    for rows in pieces(0, n_rows, step):
        z = design[: rows.stop - rows.start]
        fill(rows, z[:, :-1])
        for gram, own in zip(total, weight[:, rows], strict=True):
            chosen = own.nonzero()[:, 0]
            factor = (z[chosen] * own[chosen, None].sqrt()).to(dtype)
            _add_product(gram, factor.T, factor)
    return total


def _factor_rows(width: int, rows: int) -> int:
    """Return the number of rows of a factor: fewer than ``rows`` if they are long."""
    return max(_FACTOR_ENTRIES // width, min(rows, max(4 * _FACTOR_ENTRIES // width, 16)))


class LowPrecisionGrams:
    """Low-precision Gram matrices of a block that can write rows of its design matrix."""

    def _fill(self, columns: Tensor | None) -> tuple[Fill, int]:
        """Return a function that writes float32 rows of some columns, and their number."""
        raise NotImplementedError

    def bfloat16_gram(
        self, weight: Tensor, rank_one: Tensor | None, columns: Tensor | None = None
    ) -> Tensor:
        return bfloat16_gram(*self._fill(columns), weight, rank_one)

    def bfloat16_grams(self, weight: Tensor, columns: Tensor | None = None) -> Tensor:
        return bfloat16_grams(*self._fill(columns), weight)


def add_gram(total: Tensor, rows: Tensor) -> None:
    """Add ``rows' rows`` to the lower triangle in place, one strip of columns at a time."""
    for strip in pieces(0, rows.shape[1], _STRIP_COLUMNS):
        _add_product(total[strip.start :, strip], rows[:, strip.start :].T, rows[:, strip])


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add ``left @ right`` in place; factors may have a narrower type than the sum."""
    if total.dtype == left.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right
