"""Initial parameters of a fit, from the solution of a smaller problem or those of other C."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from skorch_logreg.curvature.cholesky import (
    low_precision_damping,
    rounding_shift,
    scaled_cholesky,
)
from skorch_logreg.data import Block
from skorch_logreg.data.threads import workers
from skorch_logreg.fitting.batch_start import start_on_batches
from skorch_logreg.losses import NuisanceLoss
from skorch_logreg.objective import Objective, on_sample, row_kernel
from skorch_logreg.penalties import L2
from skorch_logreg.solvers import NewtonCholesky, Solver, Status, drive
from skorch_logreg.solvers.choose import (
    MAX_SIDE,
    PROOF_RATE,
    CurvaturePlan,
    allows_dual,
    choose_curvature,
    is_low_precision_first,
    is_small,
    newton_samples,
    sample_sizes,
)
from skorch_logreg.solvers.newton import newton_steps
from skorch_logreg.subproblems.quadratic import MAX_STEPS

# minimum ratio of columns to rows for a start in the space of the rows (golub, khan, nci60: fits
# without take 3.2, 2.1 and 4.3 times as long)
_MIN_WIDTH = 4


def cold_start(
    objective: Objective, solver: Solver, tol: float, max_iter: int, *, fused: bool
) -> tuple[Tensor, Objective, Tensor]:
    """Compute initial parameters without a warm start.

    These are zero coefficients with the intercepts of the class frequencies; with many rows, the
    solution on a sample of them; with many columns, the solution in the space of the rows; for
    small models, if ``fused``, the parameters after Newton steps of one kernel.  The objective is
    returned as well, with the nuisance parameters of a sample, and the number of iterations (m,),
    without those on a sample.
    """
    none = torch.zeros_like(objective.reg_strength, dtype=torch.int64)
    if max_iter == 0:
        return objective.zeros(), objective, none
    zero, plan = prior_start(objective), choose_curvature(objective)
    data, smooth = objective.data, objective.penalty.smooth
    is_wide = data.n_samples <= MAX_SIDE and data.n_features >= _MIN_WIDTH * data.n_samples
    has_dual = is_wide and smooth and allows_dual(objective)
    if has_dual and not plan.is_diagonal:
        found, n_iter = _in_row_space(objective, solver, zero, tol, max_iter)
        return found, objective, n_iter
    # with fewer coefficients the steps cost as much as they save (30,000 x 100, 10 classes)
    _, n_outputs, side = objective.shape
    if smooth and n_outputs * side > MAX_SIDE and plan.by_class:
        return start_on_batches(objective, zero), objective, none
    found, used, is_single = zero, 0, len(zero) == 1
    if fused and plan.over_columns and _takes_newton_steps(objective, solver, zero, plan):
        # The next decrement is one to four times the square of the last. In a batch, one model that
        # needs a further step makes all of them read X again.
        goal = tol / 2 if is_single else PROOF_RATE**2 * tol
        steps = _newton_steps(objective, data.whole, zero, goal, max_iter)
        if steps is not None:  # for a penalty that is not smooth they are only a start
            return steps[0], objective, steps[1] if smooth else none
    if is_single:
        found, used = _newton_on_samples(objective, zero, max_iter)
    left = min(max_iter, MAX_STEPS)  # more iterations indicate an optimum at infinity
    for rows in (size for size in sample_sizes(objective) if size > used):
        part = on_sample(objective, rows).low_precision()
        # the solution on the sample is about as far from that on all rows (Wilks 1938)
        error = (n_outputs * side / rows) ** 0.5
        with workers(1 if is_small(rows, len(found), n_outputs, side) else None):
            outcome = drive(solver, part, found, tol=error, max_iter=left, bound=False, proof=False)
        # a sample that lacks a class or is separable has its optimum at infinity
        bounded = [status is Status.CONVERGED for status in outcome.status]
        keep = torch.tensor(bounded, device=zero.device)
        found = torch.where(keep[:, None, None], outcome.params, zero)
        if outcome.nuisance is not None and all(bounded):
            loss = cast(NuisanceLoss, objective.loss).with_nuisance(outcome.nuisance)
            objective = replace(objective, loss=loss)
        left -= int(outcome.n_iter.max())
        if left <= 0:
            break
    return found, objective, none


def _takes_newton_steps(
    objective: Objective, solver: Solver, zero: Tensor, plan: CurvaturePlan
) -> bool:
    """Return True if all Newton steps of small models are to be taken before a solver is asked."""
    n_models, n_outputs, side = objective.shape
    n_samples, is_short = objective.data.n_samples, True
    if n_models == 1 and n_outputs == 1:
        # float32 products may be faster where a Hessian takes longer than a pass
        is_short = objective.penalty.smooth and plan.cost(1) <= 1
    elif n_models == 1:  # a step more than needed costs more than it saves where it takes long
        is_short = objective.penalty.smooth and isinstance(solver, NewtonCholesky)
        is_short &= is_small(n_samples, 1, n_outputs, side)
    # a class with less weight than a row may send its intercept to infinity
    may_diverge = float(zero.abs().max()) > math.log(n_samples)
    return is_short and objective.data.whole is not None and not may_diverge


def _newton_on_samples(objective: Objective, zero: Tensor, max_iter: int) -> tuple[Tensor, int]:
    """Take Newton steps of a model on small samples.

    Returns parameters and the number of rows of the last sample, 0 if there was none.
    """
    has_kernel = objective.data.one_block is not None and objective.loss.kernel == "logistic"
    if not (objective.penalty.smooth and has_kernel):
        return zero, 0
    if not newton_samples(objective, 0.5):  # not even with classes of the same weight
        return zero, 0
    log_odds = zero[0, 0, -1] if objective.fit_intercept else objective.prior()
    rare = float((-log_odds.abs()).sigmoid())
    found, used = zero, 0
    for rows in newton_samples(objective, rare):
        # a tenth of the distance between the solutions on the sample and on all rows
        goal = PROOF_RATE * (zero.shape[2] / rows) ** 0.5
        part = on_sample(objective, rows)
        steps = _newton_steps(part, part.data.one_block, found, goal, max_iter)
        if steps is None or int(steps[1]) >= MAX_STEPS:
            return zero, 0
        (found, _), used = steps, rows
    return found, used


def _newton_steps(
    objective: Objective, block: Block | None, start: Tensor, goal: float, max_iter: int
) -> tuple[Tensor, Tensor] | None:
    """Take Newton steps of models until the decrement is at most ``goal`` times the objective.

    Returns parameters and the number of steps (m,); None without a kernel, or where a minimum may
    be at infinity.  Relative to fits without these steps, fits of 50 models of 150 x 4, 1000 x 20
    and 2000 x 10 take .45, .55 and .6 of the time, and fits of one model of 10,000 x 20,
    20,000 x 50 and 100,000 x 20, on samples, .87, .85 and .79.
    """
    is_coercive = objective.penalty.coercive(objective.reg_strength)
    if block is None or objective.offset is not None:
        return None
    if not (objective.penalty.quadratic and bool(is_coercive.all())):
        return None
    if objective.loss.n_outputs > 1:
        return newton_steps(objective, start, goal, min(max_iter, MAX_STEPS))
    found = block.newton_steps(
        objective.loss.kernel,
        start,
        objective.ridge,
        shift=rounding_shift(start.shape[2]),
        fit_intercept=objective.fit_intercept,
        goal=goal,
        max_steps=min(max_iter, MAX_STEPS),
    )
    if found is None:
        return None
    objective.data.reads[0] += 2 * int(found[1].max())  # a point and its Hessian
    return found


def predicted_start(C: Tensor, last: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Predict the minimisers for some C (m,) from those for the last one or two other C.

    ``last`` has pairs of C (m,) and parameters (m, K, p + 1).  Parameters are extrapolated over
    log C, by at most their change between those two.
    """
    newest_C, newest = last[-1]
    if len(last) == 1:
        return newest
    older_C, older = last[-2]
    ahead = (C / newest_C).log() / (newest_C / older_C).log()
    ahead = ahead.nan_to_num(0.0, 0.0, 0.0).clamp(-1.0, 1.0)
    return newest + ahead[:, None, None] * (newest - older)


def prior_start(objective: Objective) -> Tensor:
    """Return zero coefficients with the intercepts of the class frequencies, (m, K, p + 1)."""
    zero = objective.zeros()
    if objective.fit_intercept:
        zero[..., -1] = objective.prior()
    return zero


def _in_row_space(
    objective: Objective, solver: Solver, zero: Tensor, tol: float, max_iter: int
) -> tuple[Tensor, Tensor]:
    """Solve for coefficients that are combinations of rows, with n unknowns instead of p.

    With the penalty's diagonal ``P`` and ``Z P^-1 Z' = L L'``, the coefficients ``P^-1 Z'a``
    with ``a = L'^-1 v`` have logits ``L v`` and penalty ``|v|^2``.  The product may have low
    precision, since the result is only a start.

    References
    ----------
    Hastie, Tibshirani (2004). Efficient quadratic regularization for expression arrays,
    Biostatistics 5, section 2.
    """
    low_precision = is_low_precision_first(
        objective.data.n_samples, objective.loss.n_outputs, objective.data.n_features
    )
    kernel_of_rows, ridge = row_kernel(objective, zero, low_precision)
    damping = low_precision_damping(zero.device, len(kernel_of_rows)) if low_precision else None
    (factor,), (scale,), _ = scaled_cholesky(kernel_of_rows[None], damping)
    data = objective.data.recast(factor / scale[:, None])
    thin = replace(objective, data=data, penalty=L2())
    first = thin.zeros()
    first[..., -1] = zero[..., -1]
    found = drive(solver, thin, first, tol=tol, max_iter=max_iter, bound=False, proof=False)
    coef = found.params[..., :-1].flatten(0, 1).T
    rows = torch.linalg.solve_triangular(factor.T, coef, upper=True) * scale[:, None]
    rows = rows.T.reshape(*found.params.shape[:2], -1).permute(2, 0, 1)

    def kernel(block: Block, rows: Tensor) -> tuple[Tensor, ...]:
        return (block.rmatmul(rows),)

    (params,) = objective.data.reduce(kernel, rows)
    params[..., :-1] /= ridge
    params[..., -1] = found.params[..., -1]
    return params, found.n_iter
