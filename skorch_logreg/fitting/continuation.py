"""Solve models with several penalty strengths in order of decreasing strength."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from skorch_logreg.curvature import pass_seconds
from skorch_logreg.data import InMemory
from skorch_logreg.fitting.starts import cold_start
from skorch_logreg.objective import Objective
from skorch_logreg.solvers import Outcome, Solver, drive

_MAX_COST_RATIO = 2.0  # largest cost of passes for each strength relative to joint passes


def group_by_reg_strength(objective: Objective) -> list[Tensor]:
    """Group the models of a batch by penalty strength, strongest first, if that is faster.

    Joint passes read X only once, which matters if each row has few logits.  With many logits
    the arithmetic dominates, and starting at the solution of the next stronger penalty saves more
    iterations than the additional reads cost.  Otherwise all models are in one group.
    """
    m, n_outputs, _ = objective.shape
    data = objective.data
    everything = [torch.arange(m, device=objective.reg_strength.device)]
    if m == 1 or n_outputs == 1 or not isinstance(data, InMemory):
        return everything
    strengths = objective.reg_strength.unique(sorted=True).flip(0)
    groups = [(objective.reg_strength == strength).nonzero()[:, 0] for strength in strengths]
    size = m // len(groups)
    if len(groups) == 1 or any(len(group) != size for group in groups):
        return everything
    apart = pass_seconds(data.n_samples, n_outputs, data.row_size, size) * len(groups)
    together = pass_seconds(data.n_samples, n_outputs, data.row_size, m)
    return groups if apart <= _MAX_COST_RATIO * together else everything


def drive_sequentially(
    solver: Solver,
    objective: Objective,
    groups: Sequence[Tensor],
    *,
    tol: float,
    max_iter: int,
    callback: Callable[..., bool] | None,
    bound: bool,
) -> Outcome:
    """Solve groups of models, each from the solution of the previous group.

    ``groups`` are indices of the models of each strength, in the same order of folds or labels;
    all else is as in `drive`. Results are in the order of the objective.
    """
    outcomes: list[Outcome] = []
    for group in groups:
        part, n_iter = objective.select(group), 0
        if outcomes:
            first = outcomes[-1].params
        else:
            first, n_iter = cold_start(part, solver, tol, max_iter)
        outcome = drive(
            solver,
            part.low_precision(),
            first,
            tol=tol,
            max_iter=max_iter,
            n_iter=n_iter,
            callback=callback,
            bound=bound,
        )
        outcomes.append(outcome)
    return Outcome.joined(outcomes, torch.cat(list(groups)).argsort())
