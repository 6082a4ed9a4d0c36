"""Fits: from data and options to models with certificates."""

from typing import Any

import numpy as np

from skorch_logreg.checkpoint import exclusive
from skorch_logreg.data import Data
from skorch_logreg.fitting.batch import ROW_BYTES, at_once, models_at_once
from skorch_logreg.fitting.exact import minimise
from skorch_logreg.fitting.minibatch import fit_minibatch, train
from skorch_logreg.fitting.path import fit_path
from skorch_logreg.fitting.request import FitRequest, FitResult, Progress, epoch_callback
from skorch_logreg.losses import Loss
from skorch_logreg.objective import Params
from skorch_logreg.penalties import Penalty
from skorch_logreg.solvers import Status
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
def fit(data: Data, loss: Loss, penalty: Penalty, **options: Any) -> FitResult:
    """Minimise ``sum_i s_i loss(y_i, x_i W + b) + (1/C) penalty(W)``.

    Columns are standardised virtually: the solver works on ``(X - mean) / deviation`` and on the
    penalty in those units, which changes neither the objective nor its minimiser.  Only
    mini-batch solvers work in the units of X; their last point is then certified as any other.

    The arguments are the fields of `FitRequest`; ``C`` may be a number, and is 1.0 by default.
    """
    request = FitRequest.of(data, loss=loss, penalty=penalty, **options)
    with exclusive(getattr(request.solver, "checkpoint", None)):
        return fit_minibatch(request) if trains_in_epochs(request.solver) else minimise(request)
