"""Gram matrices in low precision, for curvature that exact gradients correct."""

from collections.abc import Callable
from functools import cache
from timeit import repeat

import torch
from torch import Tensor

from skorch_logreg.data.tensors import pieces

# writes rows of ``z``, a slice or their indices, into an array (r, c)
Fill = Callable[[slice | Tensor, Tensor], object]

# side of a matrix from which arithmetic takes most of the time: of a strip of a symmetric product,
# and of a factorisation that uses all threads
LARGE_SIDE = 512
FACTOR_ROWS = 2048  # rows of a factor; with fewer, adding the products takes some per cent
_MIN_SPEEDUP = 1.5  # speed relative to float32 from which bfloat16 is used


def low_precision_dtype(device: torch.device, side: int) -> torch.dtype:
    """Return the type of the factors of a product with ``side`` columns.

    bfloat16 if the device multiplies it faster and forming the factors takes less time.
    """
    return torch.bfloat16 if side > LARGE_SIDE and has_fast_bfloat16(device) else torch.float32


@cache
def has_fast_bfloat16(device: torch.device) -> bool:
    """Return True if the device multiplies bfloat16 matrices faster than float32 ones.

    Measured once, as the best of three products: without units for it bfloat16 takes a hundred
    times as long, so these are small.
    """

    def seconds(dtype: torch.dtype) -> float:
        matrix = torch.ones(LARGE_SIDE // 2, LARGE_SIDE // 2, dtype=dtype, device=device)
        return min(repeat(lambda: float((matrix @ matrix)[0, 0]), number=1, repeat=3))

    return seconds(torch.float32) > _MIN_SPEEDUP * seconds(torch.bfloat16)


def bfloat16_gram(fill: Fill, n_columns: int, weight: Tensor, rank_one: Tensor) -> Tensor:
    """Sum ``[z 1]'[z 1] x (diag(weight) - rank_one rank_one')`` over rows; see `Block`."""
    n_rows, n_outputs = weight.shape
    side = n_columns + 1
    width = n_outputs * side
    # the diagonal block of an output has the weight d - q q > 0: computed as a difference of two
    # products it would be smaller than their rounding errors
    own = (weight - rank_one.square()).clamp(min=0.0)
    blocks, rank_one = bfloat16_grams(fill, n_columns, own), rank_one.float()
    gram = blocks.new_zeros(width, width)
    step = min(FACTOR_ROWS, n_rows)
    design = blocks.new_ones(step, side)
    lifted = blocks.new_empty(step, width, dtype=low_precision_dtype(weight.device, width))
    for rows in pieces(0, n_rows, step):
        z = design[: rows.stop - rows.start]
        fill(rows, z[:, :-1])
        factor = lifted[: len(z)]
        torch.mul(z[:, None, :], rank_one[rows, :, None], out=factor.view(-1, n_outputs, side))
        add_gram(gram, factor)
    gram.neg_()
    gram.view(n_outputs, side, n_outputs, side).diagonal(dim1=0, dim2=2).copy_(
        blocks.permute(1, 2, 0)
    )
    return gram


def bfloat16_grams(fill: Fill, n_columns: int, weight: Tensor) -> Tensor:
    """Sum ``weight_k [z 1]'[z 1]`` over rows for every column of weights; see `Block`.

    Rows are multiplied where their weight is not zero: if that is a small part, those of each
    column of weights are formed apart, else all are formed once.
    """
    n_rows, n_grams = weight.shape
    side = n_columns + 1
    step = min(FACTOR_ROWS, n_rows)
    design = torch.ones(step, side, dtype=torch.float32, device=weight.device)
    factor = torch.empty_like(design, dtype=low_precision_dtype(weight.device, side))
    total = design.new_zeros(n_grams, side, side)
    weights = weight.T.contiguous()
    each = [own.nonzero()[:, 0] for own in weights]
    if 4 * sum(map(len, each)) < weight.numel():  # as formed rows are picked and copied as well
        for gram, own, chosen in zip(total, weights, each, strict=True):
            for some in chosen.split(step):
                z = design[: len(some)]
                fill(some, z[:, :-1])
                root = own[some, None].sqrt().float()
                add_gram(gram, torch.mul(z, root, out=factor[: len(some)]))
        return total
    roots = weights.sqrt().float()
    for rows in pieces(0, n_rows, step):
        z = design[: rows.stop - rows.start]
        fill(rows, z[:, :-1])
        for gram, own in zip(total, roots[:, rows], strict=True):
            chosen = own.nonzero()[:, 0]
            some, own = (z, own) if len(chosen) == len(z) else (z[chosen], own[chosen])
            used = factor[: len(some)]
            torch.mul(some, own[:, None], out=used)
            add_gram(gram, used)
    return total


def add_gram(total: Tensor, rows: Tensor) -> None:
    """Add ``rows' rows`` to the lower triangle in place, one strip of columns at a time.

    Rows may have a narrower type than the sum.
    """
    same = rows.dtype == total.dtype
    # narrower strips compute less of the upper triangle (of 500 columns a third less time), and
    # sums of another type are written once more for each
    for strip in pieces(0, rows.shape[1], LARGE_SIDE // 4 if same else LARGE_SIDE):
        out, left, right = total[strip.start :, strip], rows[:, strip.start :].T, rows[:, strip]
        if same:
            out.addmm_(left, right)
        else:
            out += left @ right
