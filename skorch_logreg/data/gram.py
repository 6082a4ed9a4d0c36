"""Sums over dense rows that are formed in pieces: Gram matrices, and products of pairs of rows."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from skorch_logreg.data.low_precision import (
    FACTOR_ROWS,
    Fill,
    add_gram,
    bfloat16_gram,
    bfloat16_grams,
    low_precision_dtype,
)
from skorch_logreg.data.tensors import CACHED_ENTRIES, PIECE_ENTRIES, pieces
from skorch_logreg.data.threads import map_blocks, thread_count
from skorch_logreg.kernels.passes import write_rows

_NEAR_DEVIATIONS = 8  # largest |mean| / deviation of a column that counts as near zero
FAR_DEVIATIONS = 1e3  # |mean| / deviation from which columns are centred before any sum


def are_near_zero(center: Tensor, scale: Tensor) -> Tensor:
    """Return a mask of the columns that may be centred after their products.

    The products lose at most three bits of precision, or six for squares.
    """
    return center.abs() <= _NEAR_DEVIATIONS * scale


def _piece_rows(width: int) -> int:
    """Return the number of rows that a cache holds, or of long ones up to ``width`` in 4 MiB.

    Every piece is added to a matrix (width, width), which takes as long as that many rows.
    """
    width = max(width, 1)
    return max(CACHED_ENTRIES // width, min(PIECE_ENTRIES // width, width), 1)


class FormedRows:
    """Sums of a block that can form rows of its design matrix; see `Block` for the methods."""

    def _fill(self, columns: Tensor | None) -> tuple[Fill, int]:
        """Return a function that writes rows of some columns of Z, and their number."""
        raise NotImplementedError

    def _formed(
        self, columns: Tensor | None, weight: Tensor, n_outputs: int = 1
    ) -> Iterator[tuple[slice, Tensor]]:
        """Yield slices of rows with some columns of them and of the intercept, (r, c + 1).

        They are formed in pieces, for each of some outputs, in one buffer: a weighted copy of all
        rows would cost several reads.
        """
        fill, n_columns = self._fill(columns)
        step = min(_piece_rows(n_outputs * (n_columns + 1)), len(weight))
        design = weight.new_ones(step, n_columns + 1)
        for rows in pieces(0, len(weight), step):
            z = design[: rows.stop - rows.start]
            fill(rows, z[:, :-1])
            yield rows, z

    def gram(
        self, weight: Tensor, rank_one: Tensor | None, columns: Tensor | None = None
    ) -> Tensor:
        total = empty_grams(weight, 1 + self._fill(columns)[1], rank_one)
        for rows, z in self._formed(columns, weight, weight.shape[2]):
            add_grams(total, z, weight[rows], None if rank_one is None else rank_one[rows])
        return finished_grams(total, weight.shape[2], rank_one is not None)

    def bfloat16_gram(self, weight: Tensor, rank_one: Tensor | None) -> Tensor:
        if rank_one is None:
            return self.bfloat16_grams(weight)[0]
        return bfloat16_gram(*self._fill(None), weight, rank_one)

    def bfloat16_grams(self, weight: Tensor) -> Tensor:
        return bfloat16_grams(*self._fill(None), weight)

    def deviations(self, weight: Tensor, columns: Tensor | None = None) -> Tensor:
        sums = weight.new_zeros(2, 1 + self._fill(columns)[1])
        for rows, z in self._formed(columns, weight):
            sums[0].addmv_(z.T, weight[rows])
            sums[1].addmv_(z.square_().T, weight[rows])
        return sums[:, :-1]


def empty_grams(weight: Tensor, side: int, rank_one: Tensor | None) -> Tensor:
    """Return zeros for `add_grams`, (m, K side, side), or (m, K side, K side) with ``rank_one``.

    With one output and at least as many models as columns, each product of two columns is formed
    once, and the zeros are (side (side + 1) / 2, m), the lower triangles of all models.
    """
    width, n_pairs = weight.shape[2] * side, side * (side + 1) // 2
    if rank_one is None and width == side <= min(weight.shape[1], CACHED_ENTRIES // n_pairs):
        return weight.new_zeros(n_pairs, weight.shape[1])
    return weight.new_zeros(weight.shape[1], width, side if rank_one is None else width)


def add_grams(total: Tensor, z: Tensor, weight: Tensor, rank_one: Tensor | None) -> None:
    """Add ``z'z`` of rows (r, side) with the weights, or the squares of ``rank_one``, of models.

    Both have shape (r, m, K). As many models are multiplied at a time as a cache holds.
    """
    n_models, n_outputs = weight.shape[1:]
    if total.ndim == 2:
        first, second = torch.tril_indices(z.shape[1], z.shape[1])
        for rows in pieces(0, len(z), CACHED_ENTRIES // len(first)):
            columns = z[rows].T.contiguous()
            total.addmm_(columns[first] * columns[second], weight[rows, :, 0])
        return
    at_once = max(CACHED_ENTRIES // (z.numel() * n_outputs), 1)
    for models in pieces(0, n_models, at_once):
        if rank_one is None:
            lifted = (weight[:, models, :, None] * z[:, None, None, :]).view(len(z), -1)
            total[models].view(-1, z.shape[1]).addmm_(lifted.T, z)
        else:
            lifted = (rank_one[:, models].transpose(0, 1)[..., None] * z[:, None, :]).flatten(2)
            total[models].baddbmm_(lifted.mT, lifted)


def finished_grams(total: Tensor, n_outputs: int, is_softmax: bool) -> Tensor:
    """Turn the sums of `add_grams`, packed or not, into Gram matrices (m, K, side, K, side).

    The matrix of a softmax, computed in place, maps constants to zero: its blocks on the diagonal
    are minus the sums of the others, in which nothing cancels where a probability is close to one.
    """
    if total.ndim == 2:
        side = math.isqrt(2 * len(total))
        first, second = torch.tril_indices(side, side)
        packed, total = total.T, total.new_empty(total.shape[1], side, side)
        total[:, first, second] = total[:, second, first] = packed
    side = total.shape[1] // n_outputs
    blocks = total.view(len(total), n_outputs, side, -1, side)
    if is_softmax:
        own = blocks.diagonal(dim1=1, dim2=3).zero_()
        sums = blocks.sum(dim=3)
        blocks.neg_()
    elif n_outputs == 1:
        return blocks
    else:
        sums = blocks[:, :, :, 0]
        blocks = blocks.new_zeros(*blocks.shape[:3], n_outputs, side)
        own = blocks.diagonal(dim1=1, dim2=3)
    own.copy_(sums.permute(0, 2, 3, 1))
    return blocks


def centred_gram(gram: Tensor, center: Tensor, scale: Tensor) -> Tensor:
    """Turn sums over ``[x 1]`` into those over ``[(x - center) / scale, 1]``, in place.

    Only for columns so near zero that the
    subtraction cancels few digits.
    """
    inner, border, total = gram[:-1, :-1], gram[:-1, -1], gram[-1, -1]
    first = border - total * center
    both = border - total / 2 * center
    inner.addr_(both, center, alpha=-1).addr_(center, both, alpha=-1)
    inner.mul_(1 / scale).mul_(1 / scale[:, None])
    gram[:-1, -1] = gram[-1, :-1] = first / scale
    return gram


def weighted_outer(values: Tensor, center: Tensor, root: Tensor, low_precision: bool) -> Tensor:
    """Compute ``z z'`` (rows, rows) of ``z = (values - center) * root``."""
    n_rows, device = len(values), root.device
    most = FACTOR_ROWS if low_precision else _piece_rows(n_rows)

    def part(columns: slice) -> Tensor:
        width = min(most, columns.stop - columns.start)
        sums = torch.float32 if low_precision else root.dtype
        dtype = low_precision_dtype(device, columns.stop - columns.start) if low_precision else sums
        total = torch.zeros(n_rows, n_rows, dtype=sums, device=device)
        factor = total.new_empty(n_rows, width, dtype=dtype)
        for across in pieces(columns.start, columns.stop, width):
            used = factor[:, : across.stop - across.start]
            add_gram(total, write_rows(values[:, across], center[across], root[across], used).T)
        return total

    share = -(-len(root) // thread_count())
    first, *others = map_blocks(part, [*pieces(0, len(root), share)])
    for other in others:
        first += other
    lower = first.tril()
    return (lower + lower.tril(-1).T).to(root.dtype)
