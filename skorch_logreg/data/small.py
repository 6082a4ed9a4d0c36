"""How the rows of a small dense array multiply."""

import torch
from torch import Tensor


class SmallBlock:
    """Rows of ``[Z 1]`` that were formed once; see `Block` for the methods.

    On small arrays the calls cost more than the arithmetic, and centring or scaling in every
    product doubles them.  A copy of less than a megabyte is the price of leaving it out.

    Parameters
    ----------
    design : Tensor of shape (rows, n_features + 1)
    targets : Tensor of shape (rows, 1, 1)
    weight : Tensor of shape (rows,)
    """

    def __init__(self, design: Tensor, targets: Tensor, weight: Tensor) -> None:
        self._design, self.targets, self.weight = design, targets, weight

    def matmul(self, params: Tensor) -> Tensor:
        """Logits (rows, m, K) of params (m, K, p + 1)."""
        flat = params.reshape(-1, params.shape[-1])
        return (self._design @ flat.T).view(-1, *params.shape[:-1])

    def rmatmul(self, residual: Tensor) -> Tensor:
        """``[Z 1]' residual`` (m, K, p + 1)."""
        flat = residual.reshape(len(residual), -1)
        return (flat.T @ self._design).view(*residual.shape[1:], -1)

    def gram(
        self, weight: Tensor, rank_one: Tensor | None, columns: Tensor | None = None
    ) -> Tensor:
        """Gram matrix (K, c + 1, K, c + 1) of some columns and the last."""
        z = self._design
        if columns is not None:
            z = torch.cat([z[:, columns], z[:, -1:]], dim=1)
        n_outputs, side = weight.shape[1], z.shape[1]
        if rank_one is None and n_outputs == 1:
            return (z.T @ (z * weight)).view(1, side, 1, side)
        lifted = (weight[:, :, None] * z[:, None, :]).view(len(z), -1)
        parts = (lifted.T @ z).view(n_outputs, side, side)
        gram = torch.block_diag(*parts)
        if rank_one is not None:
            lifted = (rank_one[:, :, None] * z[:, None, :]).view(len(z), -1)
            gram = gram.addmm_(lifted.T, lifted, alpha=-1)
        return gram.view(n_outputs, side, n_outputs, side)

    def column_squares(self, weight: Tensor) -> Tensor:
        """``sum_i weight_ik [z_i 1]_j^2``, (k, p + 1)."""
        return weight.T @ self._design.square()

    def column_counts(self) -> Tensor:
        """Rows, for every column alike."""
        return torch.full_like(self._design[0, :-1], len(self._design))

    def outer(self, column_weight: Tensor) -> Tensor:
        """``Z diag(column_weight) Z'`` (rows, rows)."""
        z = self._design[:, :-1] * column_weight.sqrt()
        return z @ z.T
