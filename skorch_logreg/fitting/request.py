"""The request: data, objective and options of a fit."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

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
    """Everything that a fit is asked to do.

    Parameters
    ----------
    C : Tensor of shape (m,)
        Inverse of the regularization strength of each model; inf means no penalty.
    solver : str or Solver, default="auto"
        Key of `SOLVERS`, instance, or "auto".
    tol : float, default=1e-4
        Convergence threshold on the optimality; the relative suboptimality is about its square.
    start : Params or None, default=None
        Initial parameters; None starts from zero or from the solution of a smaller problem.
    callback : callable or None, default=None
        Called with a `Progress` after every iteration; the fit stops if it returns True.
    bound : bool, default=True
        Whether the duality gap is computed, which costs about two passes; else it is nan.
    offset : Tensor of shape (n, 1, 1) or (n, 1, K), float64, or None, default=None
        Added to the logits of every row, where the rows are; not with mini-batch solvers.
    dtype : torch.dtype, default=torch.float64
        Type in which the parameters will be stored: they are rounded to it, and the duality gap
        includes the error of rounding.
    held_out_score, seed, state, epochs, total_weight
        With a mini-batch solver, as in `TrainingRequest` and `train_in_memory`.
    """

    data: Data
    loss: Loss
    penalty: Penalty
    C: Tensor
    fit_intercept: bool = True
    solver: str | Solver = "auto"
    tol: float = 1e-4
    max_iter: int = 100
    start: Params | None = None
    callback: Callable[[Progress], bool] | None = None
    bound: bool = True
    offset: Tensor | None = None
    dtype: torch.dtype = torch.float64
    held_out_score: Callable[[Params], float] | None = None
    seed: int = 0
    state: dict[str, Any] | None = None
    epochs: int | None = None
    total_weight: Tensor | None = None

    @classmethod
    def of(cls, data: Data, *, C: float | Tensor = 1.0, **options: Any) -> Self:
        """Make a request with ``C`` as a tensor, and with start and offset where the rows are."""
        C = torch.as_tensor(C, dtype=torch.float64, device=data.device).reshape(-1)
        start = options.get("start")
        if start is not None:
            to_device = start.coef.to(data.device), start.intercept.to(data.device)
            options["start"] = Params(*to_device)
        if options.get("offset") is not None:
            options["offset"] = data.beside(options["offset"])
        return cls(data=data, C=C, **options)

    @cached_property
    def effective_penalty(self) -> Penalty:
        """The penalty, or L2 where the strength of a penalty without constraints is zero."""
        is_penalised = self.penalty.constrains or bool((1 / self.C).any())
        return self.penalty if is_penalised else L2()
