"""Where a fit starts."""

import torch
from torch import Tensor

from skorch_logreg.objective import Objective, on_sample
from skorch_logreg.solvers import Solver, Status, drive
from skorch_logreg.solvers.choose import sample_rows

_SAMPLE_ITER = 20  # what takes longer is on its way to infinity
_SAMPLE_TOL = 0.01  # a sample's own error is larger


def cold_start(objective: Objective, solver: Solver, max_iter: int) -> Tensor:
    """Start (m, K, p + 1) of a fit that has no better one.

    Zero coefficients with the intercepts of the class frequencies, or the solution on a sample
    of the rows where there are many.
    """
    zero = objective.zeros()
    if max_iter == 0:
        return zero
    if objective.fit_intercept:
        zero[..., -1] = objective.prior()
    rows = sample_rows(objective)
    if rows is None:
        return zero
    part = on_sample(objective, rows)
    steps = min(max_iter, _SAMPLE_ITER)
    found = drive(solver, part.rough(), zero, tol=_SAMPLE_TOL, max_iter=steps, bound=False)
    # a sample without one of the classes, or separable, has its solution at infinity
    bounded = [status is Status.CONVERGED for status in found.status]
    keep = torch.tensor(bounded, device=zero.device)
    return torch.where(keep[:, None, None], found.params, zero)
