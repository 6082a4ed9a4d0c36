"""Gram matrices and products of pairs of dense rows, computed in pieces."""

import torch
from torch import Tensor

from skorch_logreg.data.low_precision import FACTOR_ROWS, Fill, add_gram, low_precision_dtype
from skorch_logreg.data.tensors import CACHED_ENTRIES, pieces
from skorch_logreg.data.threads import map_blocks, thread_count

_NEAR_DEVIATIONS = 8  # largest |mean| / deviation of a column that counts as near zero
# |mean| / deviation from which a gradient would lose three of its sixteen digits
_FAR_DEVIATIONS = 1e3


def are_near_zero(center: Tensor, scale: Tensor) -> Tensor:
    """Return a mask of the columns that may be centred after their products.

    The products lose at most three bits of precision, or six for squares.
    """
    return center.abs() <= _NEAR_DEVIATIONS * scale


def is_near_zero(center: Tensor, scale: Tensor) -> bool:
    """Return True if all columns may be centred after their products."""
    return bool(are_near_zero(center, scale).all())


def is_far(center: Tensor, scale: Tensor) -> bool:
    """Return True if a column is so far from zero that its entries need centring before any sum."""
    return bool((center.abs() > _FAR_DEVIATIONS * scale).any())


def _piece_rows(width: int) -> int:
    return max(CACHED_ENTRIES // max(width, 1), 64)


def bordered_gram(
    fill: Fill,
    scale: Tensor,
    weight: Tensor,
    rank_one: Tensor | None,
) -> Tensor:
    """Sum ``[z 1]'[z 1] x (diag(weight) - rank_one rank_one')`` over rows.

    With ``rank_one`` the matrix of a row is that of a softmax and maps constants to zero:
    ``weight`` is ``rank_one`` times its sum.  The blocks on the diagonal are minus the sums of the
    others, in which nothing cancels where a probability is close to one.

    ``fill`` writes rows of ``z * scale``, because dividing the product by the scale (n_columns,)
    takes less time than dividing rows. weight (non-negative) and rank_one have shape
    (rows, m, K), and the result (m, K, n_columns + 1, K, n_columns + 1).

    ``2 rows m (K (n_columns + 1))^2`` floating point operations and one read of the rows, in
    pieces of 1 MiB: a weighted copy of all rows would cost several reads.
    """
    n_rows, n_models, n_outputs = weight.shape
    side = len(scale) + 1
    width = n_outputs * side
    blocks = weight.new_zeros(n_models, width, side)
    gram = weight.new_zeros(n_models, width, width)
    step = min(_piece_rows(width), n_rows)
    design = weight.new_ones(step, side)
    lifted = weight.new_empty(step, n_outputs, side)
    for piece in pieces(0, n_rows, step):
        z = design[: piece.stop - piece.start]
        fill(piece, z[:, :-1])
        u = lifted[: len(z)]
        flat = u.view(len(z), -1)
        for model in range(n_models):
            if rank_one is not None:
                torch.mul(z[:, None, :], rank_one[piece, model][:, :, None], out=u)
                gram[model].addmm_(flat.T, flat)
                continue
            own = weight[piece, model]
            if n_outputs == 1:
                torch.mul(z, own.sqrt(), out=flat)
                blocks[model].addmm_(flat.T, flat)
                continue
            torch.mul(z[:, None, :], own[:, :, None], out=u)
            blocks[model].addmm_(flat.T, z)
    if rank_one is None:
        add_blocks(gram, blocks)
    else:
        subtract_from_sums(gram, n_outputs)
    unit = torch.cat([1 / scale, scale.new_ones(1)]).repeat(n_outputs)
    gram.mul_(unit).mul_(unit[:, None])
    return gram.view(n_models, n_outputs, side, n_outputs, side)


def raw_gram(values: Tensor, weight: Tensor) -> Tensor:
    """Sum ``weight [x 1]'[x 1]`` (n_columns + 1, n_columns + 1) of rows x; weight (rows,)."""
    n_rows, n_columns = values.shape
    gram = weight.new_zeros(n_columns + 1, n_columns + 1)
    step = min(_piece_rows(n_columns), n_rows)
    lifted = weight.new_empty(step, n_columns + 1)
    for rows in pieces(0, n_rows, step):
        flat = lifted[: rows.stop - rows.start]
        root = weight[rows, None].sqrt()
        torch.mul(values[rows], root, out=flat[:, :-1])
        flat[:, -1:] = root
        gram.addmm_(flat.T, flat)
    return gram


def centred_gram(gram: Tensor, center: Tensor, scale: Tensor) -> Tensor:
    """Turn sums over ``[x 1]`` into those over ``[(x - center) / scale, 1]``, in place.

    Writes the rows once less than `bordered_gram`. Only for columns so near zero that the
    subtraction cancels few digits.
    """
    inner, border, total = gram[:-1, :-1], gram[:-1, -1], gram[-1, -1]
    first = border - total * center
    both = border - total / 2 * center
    inner.addr_(both, center, alpha=-1).addr_(center, both, alpha=-1)
    inner.mul_(1 / scale).mul_(1 / scale[:, None])
    gram[:-1, -1] = gram[-1, :-1] = first / scale
    return gram


def deviation_sums(fill: Fill, n_columns: int, weight: Tensor) -> Tensor:
    """Sum ``weight z`` and ``weight z^2`` over rows, (2, n_columns).

    ``fill`` writes rows of ``z``; weight has shape (rows,).
    """
    sums = weight.new_zeros(2, n_columns)
    step = min(_piece_rows(n_columns), len(weight))
    held = weight.new_empty(step, n_columns)
    for rows in pieces(0, len(weight), step):
        z, own = held[: rows.stop - rows.start], weight[rows]
        fill(rows, z)
        sums[0].addmv_(z.T, own)
        sums[1].addmv_(z.square_().T, own)
    return sums


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
        step = max(CACHED_ENTRIES // width, 1)
        held = total.new_empty(step, width)
        for across in pieces(columns.start, columns.stop, width):
            used = factor[:, : across.stop - across.start]
            for rows in pieces(0, n_rows, step):
                z = held[: rows.stop - rows.start, : used.shape[1]]
                torch.sub(values[rows, across], center[across], out=z).mul_(root[across])
                used[rows] = z
            add_gram(total, used.T)
        return total

    share = -(-len(root) // thread_count())
    first, *others = map_blocks(part, [*pieces(0, len(root), share)])
    for other in others:
        first += other
    lower = first.tril()
    return (lower + lower.tril(-1).T).to(root.dtype)


def subtract_from_sums(gram: Tensor, n_outputs: int) -> None:
    """Turn ``S = sum_i [z 1]'[z 1] x r_i r_i'`` (m, K side, K side) into the matrix of a softmax.

    That is minus S outside the blocks of the diagonal, which make its rows of blocks sum to zero.
    """
    square = gram.view(len(gram), n_outputs, gram.shape[1] // n_outputs, n_outputs, -1)
    own = square.diagonal(dim1=1, dim2=3).zero_()
    sums = square.sum(dim=3)
    square.neg_()
    own.copy_(sums.permute(0, 2, 3, 1))


def add_blocks(gram: Tensor, blocks: Tensor) -> None:
    """Add blocks (m, K side, side) on the diagonal of (m, K side, K side), in place."""
    n_models, width, side = blocks.shape
    square = gram.view(n_models, width // side, side, width // side, side)
    own = blocks.view(n_models, width // side, side, side).permute(0, 2, 3, 1)
    square.diagonal(dim1=1, dim2=3).add_(own)
