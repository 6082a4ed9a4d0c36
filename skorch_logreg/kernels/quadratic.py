"""Typed calls of the compiled coordinate descent."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skorch_logreg.kernels.library import compiled

MAX_EPOCHS = 200  # passes over the coordinates of a quadratic problem
DECREASE_LEFT = 0.1  # share of the first, or predicted, decrease at which steps on a model end


def coordinate_descent(
    hessian: Tensor,
    slope: Tensor,
    start: Tensor,
    lasso: Tensor,
    bounds: tuple[Tensor, Tensor] | None,
    *,
    max_epochs: int = MAX_EPOCHS,
    share: float = DECREASE_LEFT,
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
    free, work = slope.new_empty(size, dtype=torch.int64), slope.new_empty(4, size)
    addresses = [row.data_ptr() for row in fixed] + [None] * (4 - len(arrays))
    left = function(
        *(hessian.data_ptr(), size, hessian.stride(0), *addresses),
        *(array.data_ptr() for array in (x, step, gradient, free, work)),
        *(max_epochs, share),
    )
    return step, left


@dataclass(frozen=True)
class ColumnProblem:
    """Quadratic model of one output plus an elastic net over some columns of the design matrix.

    Parameters
    ----------
    columns : Tensor of shape (q,)
        Indices of the columns.
    curvature : Tensor of shape (rows,)
        Weighted second derivatives of the loss.
    gradient : Tensor of shape (q + 1,)
        Gradient of the loss, that of the intercept last.
    start, lasso, ridge : Tensor of shape (q,)
        The penalty is ``sum_j lasso_j |x_j| + ridge_j / 2 x_j^2`` of ``x = start + d``.
    fit_intercept : bool
    """

    columns: Tensor
    curvature: Any
    gradient: Tensor
    start: Tensor
    lasso: Tensor
    ridge: Tensor
    fit_intercept: bool


def column_descent(
    X: Any,
    units: tuple[Tensor, Tensor],
    problem: ColumnProblem,
    *,
    max_epochs: int = MAX_EPOCHS,
    share: float = DECREASE_LEFT,
) -> Tensor | None:
    """Minimise as `coordinate_descent` over columns of a csc_array, without their Hessian.

    The Hessian is ``[Z 1]' diag(curvature) [Z 1]`` of the columns ``Z = (X - center) / scale`` and
    of an intercept without a penalty. ``units`` are the center and the scale (q,) of the columns;
    centers are zero without an intercept. Returns ``d`` and the step of the intercept, (q + 1,);
    None without a kernel.
    """
    function, size, n_rows = compiled("column_descent"), len(problem.columns), X.shape[0]
    if function is None or X.dtype != np.float64 or X.indices.dtype != X.indptr.dtype:
        return None
    gradient, start = problem.gradient, problem.start
    curvature, columns = problem.curvature.contiguous(), problem.columns.contiguous()
    total = float(curvature.sum()) if problem.fit_intercept else 0.0
    center, unit = units[0], 1 / units[1]
    constant = float(gradient[-1]) if total > 0 else 0.0
    slope = gradient[:-1] + problem.ridge * start
    x, step, slope, mean = torch.stack([start, torch.zeros_like(start), slope, center])
    fixed = torch.stack([center, unit, start, problem.lasso, problem.ridge])
    free = slope.new_empty(size, dtype=torch.int64)
    work = slope.new_empty(5 * size + 2 * n_rows)
    function(
        *(array.ctypes.data for array in (X.data, X.indices, X.indptr)),
        *(n_rows, X.indices.dtype == np.int64, columns.data_ptr(), size),
        *(fixed[0].data_ptr(), fixed[1].data_ptr(), curvature.data_ptr(), total, constant),
        *(row.data_ptr() for row in fixed[2:]),
        *(array.data_ptr() for array in (x, step, slope, mean, free, work)),
        *(max_epochs, share),
    )
    shift = -((mean - center) * unit) @ step - (constant / total if total > 0 else 0.0)
    return torch.cat([step, shift[None]])
