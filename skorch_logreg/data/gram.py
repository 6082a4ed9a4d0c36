"""The bordered Gram matrix of dense rows, piece by piece."""

from collections.abc import Callable

import torch
from torch import Tensor

_PIECE = 1 << 17  # numbers in a piece: 1 MiB stays in a core's cache


def piece_rows(width: int) -> int:
    """Rows of a piece of so many columns."""
    return max(_PIECE // max(width, 1), 64)


def bordered_gram(
    rows: Callable[[slice], Tensor], n_columns: int, weight: Tensor, rank_one: Tensor | None
) -> Tensor:
    """Sum ``[z 1]'[z 1] x (diag(weight) - rank_one rank_one')`` over rows.

    Parameters
    ----------
    rows : callable
        Gives a slice of rows of the design as a dense tensor (r, n_columns) that may be
        overwritten before the next call.
    n_columns : int
        Columns of the design.
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
    side = n_columns + 1
    diagonal = weight.new_zeros(n_outputs * side, side)
    product = weight.new_zeros(n_outputs * side, n_outputs * side)
    step = piece_rows(n_outputs * side)
    design = weight.new_empty(min(step, n_rows), side)
    lifted = weight.new_empty(min(step, n_rows), n_outputs, side)
    for start in range(0, n_rows, step):
        piece = slice(start, min(start + step, n_rows))
        z = design[: piece.stop - start]
        z[:, :n_columns] = rows(piece)
        z[:, n_columns] = 1.0
        u = lifted[: len(z)]
        if rank_one is None and n_outputs == 1:
            torch.mul(z[:, None, :], weight[piece].sqrt()[:, :, None], out=u)
            diagonal.addmm_(u.view(len(z), -1).T, u.view(len(z), -1))
            continue
        torch.mul(z[:, None, :], weight[piece][:, :, None], out=u)
        diagonal.addmm_(u.view(len(z), -1).T, z)
        if rank_one is not None:
            torch.mul(z[:, None, :], rank_one[piece][:, :, None], out=u)
            product.addmm_(u.view(len(z), -1).T, u.view(len(z), -1))
    gram = torch.block_diag(*diagonal.view(n_outputs, side, side))
    return (gram if rank_one is None else gram - product).view(n_outputs, side, n_outputs, side)
