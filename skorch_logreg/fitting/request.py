"""The request for a fit: data, objective and options; its progress, and its result."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from skorch_logreg.data import Data
from skorch_logreg.losses import Loss
from skorch_logreg.minibatch import TrainingResult
from skorch_logreg.objective import Objective, Params
from skorch_logreg.penalties import L2, Penalty
from skorch_logreg.solvers import Outcome, Solver, Status

# results with one entry per model
_PER_MODEL = ("n_iter", "value", "optimality", "duality_gap", "total_weight")


@dataclass(frozen=True)
class Progress:
    """State of a fit after an iteration, as a callback receives it."""

    n_iter: int
    value: Tensor  # objective (m,) of each model
    optimality: Tensor  # predicted distance (m,) from the optimum
    n_passes: int  # full reads of X so far
    params: Callable[[], Params]  # computes the current parameters


def epoch_callback(
    callback: Callable[[Progress], bool] | None, weight: Tensor, params: Callable[[], Params]
) -> Callable[[int, Tensor], bool] | None:
    """Return a callback of epochs, with the mean loss of rows of total weight (m,), or None."""
    if callback is None:
        return None

    def report(n_epochs: int, loss: Tensor) -> bool:
        value = loss * weight.to(loss.device)
        unknown = torch.full_like(value, torch.nan)
        return bool(callback(Progress(n_epochs, value, unknown, n_epochs, params)))

    return report


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


@dataclass(frozen=True)
class FitResult:
    """Fitted models with their certificates.

    Attributes
    ----------
    params : Params
        Coefficients and intercepts in the units of X.
    n_passes : int
        Number of full reads of X.
    value, optimality, duality_gap : Tensor of shape (m,)
        Objective ``sum_i s_i loss_i + penalty / C``, ``sqrt((F - F*) / F)`` as predicted, and a
        rigorous relative bound (nan where there is none).
    logits : Tensor of shape (n, m, K)
        Logits of all rows, including those of weight 0, so that held-out rows are scored
        without another pass.
    total_weight : Tensor of shape (m,)
        ``sum_i s_i``.
    trained : TrainingResult or None
        Result of the epochs, with a mini-batch solver.
    directions : tuple of (Tensor of shape (K, p + 1) or None)
        Directions along which the parameters of separable models diverge, in units of columns
        with standard deviation one; the intercept is last.
    """

    params: Params
    status: tuple[Status, ...]
    n_iter: Tensor
    n_passes: int
    value: Tensor
    optimality: Tensor
    duality_gap: Tensor
    logits: Tensor
    total_weight: Tensor
    trained: TrainingResult | None = None
    directions: tuple[Tensor | None, ...] = ()

    @classmethod
    def of(
        cls, outcome: Outcome, params: Params, objective: Objective, **changes: Any
    ) -> "FitResult":
        """Combine a solver's result with its parameters in the units of X, and other changes."""
        names = [field.name for field in fields(cls) if hasattr(outcome, field.name)]
        found = {name: getattr(outcome, name) for name in names} | changes
        total_weight = objective.data.weight.sum(dim=0).expand(len(outcome.status))
        return cls(**found | {"params": params, "total_weight": total_weight})

    @classmethod
    def joined(cls, results: Sequence["FitResult"], models: np.ndarray) -> "FitResult":
        """Concatenate results, and put the models into ascending order of their numbers (m,)."""
        if len(results) == 1:
            return results[0]

        def together(parts: list[Tensor], dim: int = 0) -> Tensor:
            # slicing collects out-of-core rows
            return torch.cat([part[0:].to(parts[0].device) for part in parts], dim)

        per_model: dict[str, Any] = {
            name: together([getattr(result, name) for result in results]) for name in _PER_MODEL
        }
        joined = cls(
            params=Params(
                together([result.params.coef for result in results]),
                together([result.params.intercept for result in results]),
            ),
            status=tuple(status for result in results for status in result.status),
            n_passes=sum(result.n_passes for result in results),
            logits=together([result.logits for result in results], dim=1),
            **per_model,
        )
        return joined.take(torch.from_numpy(models.argsort(kind="stable")))

    def take(self, models: Tensor) -> "FitResult":
        """Return some of the models, by their indices."""
        at = models.tolist()
        return replace(
            self,
            params=Params(self.params.coef[models], self.params.intercept[models]),
            status=tuple(self.status[model] for model in at),
            logits=self.logits[:, models],
            directions=tuple(self.directions[model] for model in at) if self.directions else (),
            **{name: getattr(self, name)[models] for name in _PER_MODEL},
        )
