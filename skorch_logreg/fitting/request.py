"""The request for a fit: data, objective and options; its progress, and its result."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from skorch_logreg.curvature import ClassBlocks
from skorch_logreg.data import Data
from skorch_logreg.data.tensors import take_models
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
    """Everything that a fit is asked to do."""

    data: Data
    loss: Loss
    penalty: Penalty
    C: Tensor  # inverse regularization strength (m,) of each model; inf: no penalty
    fit_intercept: bool = True
    solver: str | Solver = "auto"  # "auto", key of `SOLVERS`, or instance
    tol: float = 1e-4  # threshold on the optimality, about the root of the relative suboptimality
    max_iter: int = 100
    start: Params | None = None  # None: zero, or the solution of a smaller problem
    # C (m,) and parameters of the last one or two fits of every model to the same rows, and the
    # blocks of classes of the last one of a single model
    last: Sequence[tuple[Tensor, Params]] = ()
    blocks: ClassBlocks | None = None
    # called with the progress after every iteration; True stops the fit
    callback: Callable[[Progress], bool] | None = None
    bound: bool = True  # compute the duality gap, which costs about two passes; else it is nan
    # added to the logits, (n, 1, 1) or (n, 1, K), float64, where the rows are
    offset: Tensor | None = None
    # type in which parameters will be stored, and whose rounding the duality gap includes
    dtype: torch.dtype = torch.float64
    # for mini-batch solvers, as in `TrainingRequest` and `train_in_memory`
    held_out_score: Callable[[Params], float] | None = None
    seed: int = 0
    state: dict[str, Any] | None = None
    epochs: int | None = None
    total_weight: Tensor | None = None

    @classmethod
    def of(cls, data: Data, *, C: float | Tensor = 1.0, **options: Any) -> Self:
        """Make a request with ``C`` as a tensor, and with start and offset where the rows are."""
        C = torch.as_tensor(C, dtype=torch.float64, device=data.device).reshape(-1)
        if "tol" in options:  # torch does not combine its tensors with NumPy's scalars
            options["tol"] = float(options["tol"])
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
        is_penalised = self.penalty.constrains or bool((self.C < torch.inf).any())
        return self.penalty if is_penalised else L2()


@dataclass(frozen=True)
class FitResult:
    """Fitted models with their certificates."""

    params: Params
    status: tuple[Status, ...]
    n_iter: Tensor  # (m,)
    n_passes: int  # full reads of X
    value: Tensor  # objective (m,), sum_i s_i loss_i + penalty / C
    optimality: Tensor  # sqrt((F - F*) / F), (m,), as predicted
    duality_gap: Tensor  # rigorous bound (m,) on (F - F*) / F; nan where there is none
    logits: Tensor  # (n, m, K), also of rows of weight 0, so that scores need no other pass
    total_weight: Tensor  # sum_i s_i, (m,)
    # best parameters (m, T) of the loss itself, if it has some, for logits X coef + intercept
    nuisance: Tensor | None = None
    trained: TrainingResult | None = None  # of the epochs, with a mini-batch solver
    # directions (K, p + 1) along which separable models diverge, in units of columns with
    # standard deviation one; the intercept is last
    directions: tuple[Tensor | None, ...] = ()
    blocks: ClassBlocks | None = None  # blocks of classes of a single model
    # passes and optimality at the start and after every iteration, of a single model
    trace: tuple[tuple[int, float], ...] = ()

    @classmethod
    def of(
        cls, outcome: Outcome, params: Params, objective: Objective, **changes: Any
    ) -> "FitResult":
        """Combine a solver's result with its parameters in the units of X, and other changes."""
        found = {name: getattr(outcome, name) for name in _OF_OUTCOME} | changes
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
            nuisance=None
            if results[0].nuisance is None
            else together([result.nuisance for result in results if result.nuisance is not None]),
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
            logits=take_models(self.logits, models),
            nuisance=None if self.nuisance is None else self.nuisance[models],
            directions=tuple(self.directions[model] for model in at) if self.directions else (),
            **{name: getattr(self, name)[models] for name in _PER_MODEL},
        )


# results that a solver finds, too
_OF_OUTCOME = {each.name for each in fields(FitResult)} & {each.name for each in fields(Outcome)}


def predicted_logits(data: Data, loss: Loss, params: Params) -> Any:
    """Compute logits from coefficients, as predictions do, in a read of X.

    Those of a solver are sums over its steps, whose rounding would rank rows that are equal in all
    columns with coefficients.
    """
    n_models, n_outputs, n_features = params.coef.shape
    zero = params.coef.new_zeros(n_features, dtype=torch.float64)
    data = data.standardised(zero, zero + 1, loss.encode(data.targets), n_models * n_outputs)
    objective = Objective(data, loss, L2(), zero.new_ones(n_models), True)
    return objective.logits(torch.cat([params.coef, params.intercept[..., None]], dim=-1).double())
