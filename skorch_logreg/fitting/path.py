"""Regularization paths: one model at decreasing strengths of the penalty."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skorch_logreg.data import Data
from skorch_logreg.data.threads import single_thread, workers
from skorch_logreg.fitting.exact import centered, standardised
from skorch_logreg.fitting.request import FitRequest, FitResult
from skorch_logreg.fitting.starts import prior_start
from skorch_logreg.losses import Loss
from skorch_logreg.objective import Objective
from skorch_logreg.penalties import ElasticNet
from skorch_logreg.solvers import ProximalNewton, drive


@np.errstate(all="ignore")
def fit_path(
    data: Data, loss: Loss, penalty: ElasticNet, grid: Callable[[float], np.ndarray], **options: Any
) -> tuple[np.ndarray, FitResult]:
    """Minimise along a path of ``C``, each from the solution before.

    The solver's state is carried over: a change of strength needs no read of X, and the Hessian
    over the working set is kept while it is accurate enough. ``grid`` takes the largest C at which
    all penalised coefficients are zero and returns the path (n_Cs,), in increasing order of C; all
    else is as in `fit`, with ``max_iter`` for each point. The result is the path, and a model
    without logits for each C.
    """
    request = FitRequest.of(data, loss=loss, penalty=penalty, **options)
    solver, tol, max_iter = ProximalNewton(), request.tol, request.max_iter
    with workers(), single_thread():
        request, at, units = standardised(request)
        at, state, entry = _entered(at, solver, tol, max_iter)
        reads, results, Cs = 0, [], np.asarray(grid(entry))
        for C in Cs:
            before, at = at, replace(at, reg_strength=torch.full_like(at.reg_strength, 1 / C))
            state = solver.carried(state, before, at)
            found = drive(solver, at, state.point.params, tol=tol, max_iter=max_iter, state=state)
            state = found.state
            params = units.from_solver(found.params, request.penalty)
            params = centered(params, request.penalty, at.reg_strength)
            n_passes, reads = found.n_passes - reads, found.n_passes
            changes = {"n_passes": n_passes, "logits": found.logits[:0]}
            results.append(FitResult.of(found, params, at, **changes))
    return Cs, FitResult.joined(results, np.arange(len(Cs)))


def _entered(
    objective: Objective, solver: ProximalNewton, tol: float, max_iter: int
) -> tuple[Objective, Any, float]:
    """Return the state where no penalised coefficient is active, and the largest C of it."""
    penalty: Any = objective.penalty

    def entry(state: Any) -> Tensor:
        return penalty.entry_strength(objective.loss_gradient(state.point)[..., :-1])

    state = solver.init(objective, prior_start(objective), tol)
    if bool(penalty.coercive(objective.reg_strength).all()):
        return objective, state, float(1 / entry(state))
    # columns without a penalty come first, while the others are held at zero
    unpenalised = replace(objective, reg_strength=1e3 * entry(state).clamp(min=1.0))
    found = drive(solver, unpenalised, state.point.params, tol=min(tol, 1e-6), max_iter=max_iter)
    return unpenalised, found.state, float(1 / entry(found.state))
