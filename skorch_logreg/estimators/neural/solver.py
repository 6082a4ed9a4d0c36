"""Solver of a network, resolved from the parameters of a classifier."""

from dataclasses import replace
from typing import Any

from torch.utils.data import DataLoader

from skorch_logreg.estimators import validation_split
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.solvers import Adam, MiniBatch
from skorch_logreg.solvers.minibatch import trains_in_epochs

__all__ = ["partial_solver", "resolve_solver", "stream_solver"]

_DEFAULT = Adam(learning_rate=0.01, batch_size=200, epochs=200)  # for solver=None


def resolve_solver(model: Any) -> Any:
    """Return the solver of a network, or of its head if the backbone is frozen.

    With `polish_head` a mini-batch solver has ``finish="exact"``.
    """
    solver = model.solver
    known = solver is None or isinstance(solver, str) or hasattr(solver, "requires")
    if isinstance(solver, type) or not known:
        raise ParameterError(
            f"solver={solver!r} is no solver; expected an instance of a class of "
            "skorch_logreg.solvers, or None."
        )
    if solver is None:
        solver = "auto" if model.freeze_backbone else _DEFAULT
    if trains_in_epochs(solver):
        return replace(solver, finish="exact") if model.polish_head else solver
    if not model.freeze_backbone:
        raise ParameterError(
            f"solver={solver!r} is for convex problems, and a network is none; choose one of "
            "skorch_logreg.solvers.SGD, Adam, AdamW or Optimizer, or freeze_backbone=True."
        )
    return solver


def partial_solver(model: Any) -> MiniBatch:
    """Return the solver of a network for `partial_fit`."""
    resolve_solver(model)  # raises an error if the parameters cannot be combined
    return validation_split.partial_solver(model.solver, _DEFAULT)


def stream_solver(solver: MiniBatch, X: Any) -> MiniBatch:
    """Return the solver for streamed batches; a loader sets the default's batch size."""
    if solver.finish == "exact":
        raise ParameterError(
            "polish_head=True, or finish='exact', needs rows in memory, but these stream; "
            "leave it out, or pass arrays."
        )
    if solver is _DEFAULT and isinstance(X, DataLoader):
        return replace(_DEFAULT, batch_size=None)
    return solver
