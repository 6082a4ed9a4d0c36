"""Fits: from data and options to models with certificates."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from skorch_logreg.checkpoint import exclusive
from skorch_logreg.data import Data
from skorch_logreg.fitting.exact import minimise
from skorch_logreg.fitting.memory import ROW_BYTES, at_once, models_at_once
from skorch_logreg.fitting.minibatch import fit_minibatch, train
from skorch_logreg.fitting.path import fit_path
from skorch_logreg.fitting.request import FitRequest
from skorch_logreg.fitting.result import FitResult, Progress, epoch_callback
from skorch_logreg.losses import Loss
from skorch_logreg.objective import Params
from skorch_logreg.penalties import Penalty
from skorch_logreg.solvers import Solver, Status
from skorch_logreg.solvers.minibatch import trains_in_epochs

__all__ = [
    "ROW_BYTES",
    "FitResult",
    "Params",
    "Progress",
    "Status",
    "at_once",
    "epoch_callback",
    "fit",
    "fit_path",
    "models_at_once",
    "train",
]


@np.errstate(all="ignore")  # overflow is checked for, not warned about
def fit(
    data: Data,
    loss: Loss,
    penalty: Penalty,
    *,
    C: float | Tensor = 1.0,
    fit_intercept: bool = True,
    solver: str | Solver = "auto",
    tol: float = 1e-4,
    max_iter: int = 100,
    start: Params | None = None,
    callback: Callable[[Progress], bool] | None = None,
    bound: bool = True,
    held_out_score: Callable[[Params], float] | None = None,
    seed: int = 0,
    offset: Tensor | None = None,
    dtype: torch.dtype = torch.float64,
) -> FitResult:
    """Minimise ``sum_i s_i loss(y_i, x_i W + b) + (1/C) penalty(W)``.

    Columns are standardised virtually: the solver works on ``(X - mean) / deviation`` and on the
    penalty in those units, which changes neither the objective nor its minimiser.  Only
    mini-batch solvers work in the units of X; their last point is then certified as any other.

    Parameters
    ----------
    data : Data
        Rows, targets and weights.
    loss : Loss
        Loss of a row as a function of its logits.
    penalty : Penalty
        Penalty of the coefficients; the intercept has none.
    C : float or Tensor of shape (m,), default=1.0
        Inverse of the regularization strength of each model; inf means no penalty.
    fit_intercept : bool, default=True
        Whether the models have an intercept.
    solver : str or Solver, default="auto"
        Key of `SOLVERS`, instance, or "auto".
    tol : float, default=1e-4
        Convergence threshold on the optimality; the relative suboptimality is about its square.
    max_iter : int, default=100
        Maximum number of iterations.
    start : Params or None, default=None
        Initial parameters; None starts from zero or from the solution of a smaller problem.
    callback : callable or None, default=None
        Called with a `Progress` after every iteration; the fit stops if it returns True.
    bound : bool, default=True
        Whether the duality gap is computed, which costs about two passes; else it is nan.
    held_out_score : callable or None, default=None
        Score of held-out rows after every epoch of a mini-batch solver; larger is better.
    seed : int, default=0
        Seed of the order of mini-batches.
    offset : Tensor of shape (n, 1, 1) or (n, 1, K), float64, or None, default=None
        Added to the logits of every row; not with mini-batch solvers.
    dtype : torch.dtype, default=torch.float64
        Type in which the parameters will be stored: they are rounded to it, and the duality gap
        includes the error of rounding.

    Returns
    -------
    solution : FitResult
        Fitted models with their certificates.

    Raises
    ------
    ValueError
        If the solver cannot minimise the penalty.
    CheckpointError
        If the solver's checkpoint is damaged, belongs to another fit, or is in use.
    DivergenceError
        If the loss of mini-batches stops being finite.
    """
    C = torch.as_tensor(C, dtype=torch.float64, device=data.device).reshape(-1)
    request = FitRequest(
        data=data,
        loss=loss,
        penalty=penalty,
        C=C,
        fit_intercept=fit_intercept,
        solver=solver,
        tol=tol,
        max_iter=max_iter,
        start=start,
        callback=callback,
        bound=bound,
        offset=None if offset is None else data.beside(offset),
        dtype=dtype,
    )
    with exclusive(getattr(solver, "checkpoint", None)):
        if trains_in_epochs(solver):
            return fit_minibatch(request, held_out_score, seed)
        return minimise(request)
