"""Typed call of the compiled coordinate descent."""

import torch
from torch import Tensor

from skorch_logreg.kernels.library import compiled


def coordinate_descent(
    hessian: Tensor,
    slope: Tensor,
    start: Tensor,
    lasso: Tensor,
    bounds: tuple[Tensor, Tensor] | None,
    *,
    max_epochs: int,
    share: float,
) -> tuple[Tensor, float] | None:
    """Minimise ``1/2 d'Hd + slope'd + sum_j lasso_j |start_j + d_j|`` one coordinate at a time.

    Ends when an epoch over all coordinates decreases the sum by at most ``share`` times as much as
    the first one, or after ``max_epochs``.

    Parameters
    ----------
    hessian : Tensor of shape (q, q)
    slope, start, lasso : Tensor of shape (q,)
    bounds : pair of Tensors of shape (q,), or None
        Limits of ``start + d``.
    max_epochs : int
    share : float

    Returns
    -------
    step : Tensor of shape (q,)
        ``d``; None without a kernel.
    left : float
        Decrease of the last epoch relative to that of the first.

    References
    ----------
    Friedman, Hastie, Tibshirani (2010). Regularization paths for generalized linear models via
    coordinate descent, sections 2.2 and 2.6.
    """
    function = compiled("coordinate_descent")
    if function is None or hessian.device.type != "cpu" or hessian.stride(1) != 1:
        return None
    if hessian.dtype != torch.float64:
        return None
    size = len(start)
    arrays = [start, lasso, *(bounds or ())]
    fixed = torch.stack(arrays)
    x, step, gradient = torch.stack([start, torch.zeros_like(start), slope])
    free, work = torch.empty(size, dtype=torch.int64), torch.empty(4, size, dtype=torch.float64)
    addresses = [row.data_ptr() for row in fixed] + [None] * (4 - len(arrays))
    left = function(
        *(hessian.data_ptr(), size, hessian.stride(0), *addresses),
        *(array.data_ptr() for array in (x, step, gradient, free, work)),
        *(max_epochs, share),
    )
    return step, left
