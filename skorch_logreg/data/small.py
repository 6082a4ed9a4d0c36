"""Products of rows whose design matrix is stored."""

import torch
from torch import Tensor
from torch.nn.functional import linear

from skorch_logreg.data.gram import add_blocks
from skorch_logreg.data.low_precision import bfloat16_gram, bfloat16_grams

_WEIGHTED_SIZE = 1 << 20  # numbers in a weighted copy of the rows, at most


class SmallBlock:
    """Rows of a stored design matrix ``[Z 1]``; see `Block` for the methods.

    For small arrays function calls cost more than arithmetic, and centring or scaling in every
    product doubles their number. A copy of less than a megabyte avoids that. In float32 the rows
    have to be centred before they are rounded, which a stored design matrix also does.

    Parameters
    ----------
    design : Tensor of shape (rows, n_features + 1)
        Design matrix: float64, or float32 for low-precision products.
    targets, weight : Tensor
    """

    def __init__(self, design: Tensor, targets: Tensor, weight: Tensor) -> None:
        self._design, self.targets, self.weight = design, targets, weight

    def matmul(self, params: Tensor, out: Tensor | None = None) -> Tensor:
        """Compute logits (rows, m, K) of params (m, K, p + 1), into ``out`` if it is given."""
        flat = params.reshape(-1, params.shape[-1]).to(self._design.dtype)
        if out is None:
            return linear(self._design, flat).view(-1, *params.shape[:-1])
        torch.mm(self._design, flat.T, out=out.view(len(out), -1))
        return out

    def rmatmul(self, residual: Tensor) -> Tensor:
        """Compute ``[Z 1]' residual`` (m, K, p + 1)."""
        flat = residual.reshape(len(residual), -1)
        return (flat.T @ self._design).view(*residual.shape[1:], -1)

    def gram(
        self, weight: Tensor, rank_one: Tensor | None, columns: Tensor | None = None
    ) -> Tensor:
        """Compute Gram matrices (m, K, c + 1, K, c + 1) of some columns and the intercept."""
        z = self._design
        if columns is not None:
            z = torch.cat([z[:, columns], z[:, -1:]], dim=1)
        n_rows, n_models, n_outputs = weight.shape
        if n_models == n_outputs == 1:
            return ((weight.view(-1, 1) * z).T @ z).view(1, 1, z.shape[1], 1, -1)
        at_once = max(_WEIGHTED_SIZE // (z.numel() * n_outputs), 1)
        if n_models > at_once:
            parts = zip(
                weight.split(at_once, dim=1),
                [None] * n_models if rank_one is None else rank_one.split(at_once, dim=1),
                strict=False,
            )
            return torch.cat([self.gram(w, q, columns) for w, q in parts])
        side = z.shape[1]
        width = n_outputs * side
        lifted = (weight[..., None] * z[:, None, None, :]).view(n_rows, -1)
        blocks = (lifted.T @ z).view(n_models, width, side)
        if rank_one is None and n_outputs == 1:
            return blocks.view(n_models, 1, side, 1, side)
        gram = blocks.new_zeros(n_models, width, width)
        if rank_one is not None:
            lifted = rank_one.transpose(0, 1)[..., None] * z[:, None, :]
            lifted = lifted.view(n_models, n_rows, width)
            torch.bmm(lifted.mT, lifted, out=gram).neg_()
        add_blocks(gram, blocks)
        return gram.view(n_models, n_outputs, side, n_outputs, side)

    def bfloat16_gram(
        self, weight: Tensor, rank_one: Tensor | None, columns: Tensor | None = None
    ) -> Tensor:
        """Compute a Gram matrix (K (c + 1), K (c + 1)) of one model in low precision."""
        z = self._design[:, :-1] if columns is None else self._design[:, columns]

        def fill(piece: slice, out: Tensor) -> None:
            out.copy_(z[piece])

        return bfloat16_gram(fill, z.shape[1], weight, rank_one)

    def bfloat16_grams(self, weight: Tensor, columns: Tensor | None = None) -> Tensor:
        """Compute Gram matrices (k, c + 1, c + 1) in low precision, one per column of weight."""
        z = self._design[:, :-1] if columns is None else self._design[:, columns]

        def fill(piece: slice, out: Tensor) -> None:
            out.copy_(z[piece])

        return bfloat16_grams(fill, z.shape[1], weight)

    def cross(
        self, weight: Tensor, columns: Tensor, others: Tensor, low_precision: bool = False
    ) -> Tensor:
        """Compute ``sum_i weight_i z_ij [z_ik 1]`` (c, o + 1) of some columns j and others k."""
        z = self._design
        other = torch.cat([z[:, others], z[:, -1:]], dim=1)
        return (z[:, columns] * weight[:, None]).T @ other

    def column_squares(self, weight: Tensor) -> Tensor:
        """Compute ``sum_i weight_ik [z_i 1]_j^2``, (k, p + 1)."""
        return weight.T @ self._design.square()

    def deviations(self, weight: Tensor, columns: Tensor) -> Tensor:
        """Compute sums of ``weight_i z_ij`` and ``weight_i z_ij^2``, (2, c), of some columns j."""
        z = self._design[:, columns]
        return torch.stack([weight @ z, weight @ z.square()])

    def column_counts(self) -> Tensor:
        """Return the number of rows, for every column."""
        return torch.full_like(self._design[0, :-1], len(self._design))

    def outer(self, column_weight: Tensor, low_precision: bool = False) -> Tensor:
        """Compute ``Z diag(column_weight) Z'`` (rows, rows)."""
        z = self._design[:, :-1] * column_weight.sqrt()
        return z @ z.T
