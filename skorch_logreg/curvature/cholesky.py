"""Cholesky factors of matrices that may be singular to rounding."""

import torch
from torch import Tensor

from skorch_logreg.data.threads import several_threads

LARGE = 512  # side of a matrix whose factor is worth all threads


def scaled_cholesky(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Factor positive semidefinite matrices after scaling their diagonal to one.

    Duplicated columns and a constant beside the intercept make the Hessian singular; the
    smallest power of 100 on the diagonal that makes it definite only bends directions in which
    the gradient is zero.

    Parameters
    ----------
    matrix : Tensor of shape (m, q, q)

    Returns
    -------
    factor : Tensor of shape (m, q, q)
        Lower triangular factor of the scaled matrices.
    scale : Tensor of shape (m, q)
        The inverse is approximately ``scale * (factor factor')^-1 * scale``.
    """
    diagonal = matrix.diagonal(dim1=-2, dim2=-1)
    scale = torch.where(diagonal > 0, diagonal, 1.0).rsqrt()
    scaled = matrix * scale[..., None] * scale[..., None, :]
    shift = 1e-14 * matrix.shape[-1]
    with several_threads(matrix.shape[-1] >= LARGE):
        return _damped_factor(scaled, shift), scale


def _damped_factor(scaled: Tensor, shift: float) -> Tensor:
    while True:
        damped = scaled.clone()
        damped.diagonal(dim1=-2, dim2=-1).add_(shift)
        factor, failed = torch.linalg.cholesky_ex(damped)
        if not bool(failed.any()) or shift > 1e6:
            return factor
        shift *= 100
