"""Where a fit starts: at the solution of a problem that is smaller."""

from dataclasses import replace

import torch
from torch import Tensor

from skorch_logreg.curvature.cholesky import scaled_cholesky
from skorch_logreg.data import Block
from skorch_logreg.objective import Objective, on_sample
from skorch_logreg.penalties import L2
from skorch_logreg.solvers import Solver, Status, drive
from skorch_logreg.solvers.choose import (
    MANY_MODELS,
    allows_dual,
    is_low_precision_first,
    sample_sizes,
)

_SAMPLE_ITER = 20  # what takes longer is on its way to infinity
_NEXT_ITER = 5  # from the solution of a smaller sample
_SAMPLE_TOL = 0.01  # a sample's own error is larger
_SMALL_SAMPLE_TOL = 0.03  # that of many models is smaller, and its error larger
_THIN_TOL = 1e-3  # that the error of low precision leaves
_THIN_DAMPING = 1e-4  # of a diagonal of one
_FEW_ROWS = 3000  # whose matrix is factored at once
_WIDE = 4  # how many times as many columns pay for it


def cold_start(
    objective: Objective, solver: Solver, tol: float, max_iter: int
) -> tuple[Tensor, int]:
    """Start of a fit that has no better one.

    Zero coefficients with the intercepts of the class frequencies; where there are many rows,
    the solution on a sample of them; where there are many columns, the solution in the space
    of the rows.

    Returns
    -------
    params : Tensor of shape (m, K, p + 1)
    n_iter : int
        Iterations that it took and that are the fit's own: those on a sample are not.
    """
    if max_iter == 0:
        return objective.zeros(), 0
    zero = prior_start(objective)
    n, p = objective.data.n_samples, objective.data.n_features
    if n <= _FEW_ROWS and p >= _WIDE * n and objective.penalty.smooth and allows_dual(objective):
        return _in_row_space(objective, solver, zero, tol, max_iter)
    found = zero
    for rows in sample_sizes(objective):
        part = on_sample(objective, rows)
        steps = min(max_iter, _SAMPLE_ITER if found is zero else _NEXT_ITER)
        tol = _SAMPLE_TOL if len(zero) < MANY_MODELS else _SMALL_SAMPLE_TOL
        outcome = drive(
            solver, part.low_precision(), found, tol=tol, max_iter=steps, bound=False, proof=False
        )
        # a sample without one of the classes, or separable, has its solution at infinity
        bounded = [status is Status.CONVERGED for status in outcome.status]
        keep = torch.tensor(bounded, device=zero.device)
        found = torch.where(keep[:, None, None], outcome.params, zero)
    return found, 0


def prior_start(objective: Objective) -> Tensor:
    """Coefficients of zero with the intercepts of the class frequencies, (m, K, p + 1)."""
    zero = objective.zeros()
    if objective.fit_intercept:
        zero[..., -1] = objective.prior()
    return zero


def _in_row_space(
    objective: Objective, solver: Solver, zero: Tensor, tol: float, max_iter: int
) -> tuple[Tensor, int]:
    """Solve for coefficients that are combinations of rows: n unknowns in place of p.

    With the penalty's diagonal ``P`` and ``Z P^-1 Z' = L L'``, the coefficients ``P^-1 Z'a``
    with ``a = L'^-1 v`` have logits ``L v`` and penalty ``|v|^2``.  The product may be of low
    precision: this is a start and no end.

    References
    ----------
    Hastie, Tibshirani (2004). Efficient quadratic regularization for expression arrays,
    Biostatistics 5, section 2.
    """
    low_precision = is_low_precision_first(objective.data.n_samples, objective.loss.n_outputs)
    kernel_of_rows, ridge = objective.row_kernel(zero, low_precision)
    damping, least = (_THIN_DAMPING, _THIN_TOL) if low_precision else (None, 0.0)
    (factor,), (scale,) = scaled_cholesky(kernel_of_rows[None], damping)
    data = objective.data.recast(factor / scale[:, None])
    thin = replace(objective, data=data, penalty=L2())
    first = thin.zeros()
    first[..., -1] = zero[..., -1]
    found = drive(
        solver, thin, first, tol=max(tol, least), max_iter=max_iter, bound=False, proof=False
    )
    coef = found.params[..., :-1].flatten(0, 1).T
    rows = torch.linalg.solve_triangular(factor.T, coef, upper=True) * scale[:, None]
    rows = rows.T.reshape(*found.params.shape[:2], -1).permute(2, 0, 1)

    def kernel(block: Block, rows: Tensor) -> tuple[Tensor, ...]:
        return (block.rmatmul(rows),)

    (params,) = objective.data.reduce(kernel, rows)
    params[..., :-1] /= ridge
    params[..., -1] = found.params[..., -1]
    return params, int(found.n_iter.max())
