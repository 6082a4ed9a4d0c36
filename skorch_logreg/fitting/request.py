"""The request: data, objective and options of a fit."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from skorch_logreg.data import Data
from skorch_logreg.fitting.result import Progress
from skorch_logreg.losses import Loss
from skorch_logreg.objective import Params
from skorch_logreg.penalties import L2, Penalty
from skorch_logreg.solvers import Solver


@dataclass(frozen=True, kw_only=True)
class FitRequest:
    """Everything that a fit is asked to do; see `fit` for the fields.

    ``C`` is a Tensor of shape (m,), and ``offset`` lies with the rows.
    """

    data: Data
    loss: Loss
    penalty: Penalty
    C: Tensor
    fit_intercept: bool
    solver: str | Solver
    tol: float
    max_iter: int
    start: Params | None
    callback: Callable[[Progress], bool] | None
    bound: bool
    offset: Tensor | None
    dtype: torch.dtype

    @cached_property
    def effective_penalty(self) -> Penalty:
        """The penalty, or L2 where the strength of a penalty without constraints is zero."""
        is_penalised = self.penalty.constrains or bool((1 / self.C).any())
        return self.penalty if is_penalised else L2()
