"""The bordered Gram matrix of dense rows, piece by piece."""

from collections.abc import Callable

import torch
from torch import Tensor

_PIECE = 1 << 17  # numbers in a piece: 1 MiB stays in a core's cache


def piece_rows(width: int) -> int:
    """Rows of a piece of so many columns."""
    return max(_PIECE // max(width, 1), 64)


def bordered_gram(
    fill: Callable[[slice, Tensor], object],
    scale: Tensor,
    weight: Tensor,
    rank_one: Tensor | None,
) -> Tensor:
    """Sum ``[z 1]'[z 1] x (diag(weight) - rank_one rank_one')`` over rows.

    Parameters
    ----------
    fill : callable
        ``fill(rows, out)`` writes a slice of rows of ``z * scale`` into out (r, n_columns).
    scale : Tensor of shape (n_columns,)
        Applied to the product, where it costs nothing.
    weight : Tensor of shape (rows, K)
        Non-negative.
    rank_one : Tensor of shape (rows, K) or None

    Returns
    -------
    gram : Tensor of shape (K, n_columns + 1, K, n_columns + 1)

    Notes
    -----
    ``2 rows (K (n_columns + 1))^2`` floating point operations, one read of the rows, pieces of
    1 MiB: a whole weighted copy of the rows would cost several reads.
    """
    n_rows, n_outputs = weight.shape
    side = len(scale) + 1
    diagonal = weight.new_zeros(n_outputs * side, side)
    product = weight.new_zeros(n_outputs * side, n_outputs * side)
    step = min(piece_rows(n_outputs * side), n_rows)
    design = weight.new_ones(step, side)
    lifted = weight.new_empty(step, n_outputs, side)
    for start in range(0, n_rows, step):
        piece = slice(start, min(start + step, n_rows))
        z = design[: piece.stop - start]
        fill(piece, z[:, :-1])
        u = lifted[: len(z)]
        flat = u.view(len(z), -1)
        if rank_one is None and n_outputs == 1:
            torch.mul(z, weight[piece].sqrt(), out=flat)
            diagonal.addmm_(flat.T, flat)
            continue
        torch.mul(z[:, None, :], weight[piece][:, :, None], out=u)
        diagonal.addmm_(flat.T, z)
        if rank_one is not None:
            torch.mul(z[:, None, :], rank_one[piece][:, :, None], out=u)
            product.addmm_(flat.T, flat)
    gram = torch.block_diag(*diagonal.view(n_outputs, side, side))
    if rank_one is not None:
        gram -= product
    unit = torch.cat([1 / scale, torch.ones_like(scale[:1])]).repeat(n_outputs)
    return (gram * unit * unit[:, None]).view(n_outputs, side, n_outputs, side)
