"""Solver of a network's training, and the parts that it trains."""

from dataclasses import dataclass, replace
from typing import Any

from torch.utils.data import DataLoader

from skorch_logreg.estimators import validation_split
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.solvers import Adam, MiniBatch
from skorch_logreg.solvers.minibatch import trains_in_epochs

__all__ = ["TrainingMode"]

_DEFAULT = Adam(learning_rate=0.01, batch_size=200, epochs=200)  # for solver=None


@dataclass(frozen=True)
class TrainingMode:
    """Solver of a network, and which parts it fits.

    Parameters
    ----------
    solver : MiniBatch, str or Solver
        Solver of the network, or of the head if the backbone is frozen.
    frozen : bool
        Whether the backbone is frozen.
    polish : bool
        Whether training ends with an exact fit of the head.
    """

    solver: Any
    frozen: bool
    polish: bool

    @classmethod
    def of(cls, model: Any) -> "TrainingMode":
        """Resolve a model's parameters; raise an error if they cannot be combined."""
        solver, frozen = model.solver, bool(model.freeze_backbone)
        known = solver is None or isinstance(solver, str) or hasattr(solver, "requires")
        if isinstance(solver, type) or not known:
            raise ParameterError(
                f"solver={solver!r} is no solver; expected an instance of a class of "
                "skorch_logreg.solvers, or None."
            )
        trains = trains_in_epochs(solver)
        if solver is not None and not trains and not frozen:
            raise ParameterError(
                f"solver={solver!r} is for convex problems, and a network is none; choose one of "
                "skorch_logreg.solvers.SGD, Adam, AdamW or Optimizer, or freeze_backbone=True."
            )
        polish = model.polish_head or (trains and solver.finish == "exact")
        if solver is None:
            solver = "auto" if frozen else _DEFAULT
        if polish and trains_in_epochs(solver):
            solver = replace(solver, finish="exact")
        return cls(solver, frozen, polish)

    @classmethod
    def for_partial_fit(cls, model: Any) -> "TrainingMode":
        """Resolve a model's parameters for `partial_fit`."""
        mode = cls.of(model)
        return replace(mode, solver=validation_split.partial_solver(model.solver, _DEFAULT))

    def stream_solver(self, X: Any) -> MiniBatch:
        """Return the solver for streamed batches; a loader sets the default's batch size."""
        if self.polish:
            raise ParameterError(
                "polish_head=True, or finish='exact', needs rows in memory, but these stream; "
                "leave it out, or pass arrays."
            )
        if self.solver is _DEFAULT and isinstance(X, DataLoader):
            return replace(_DEFAULT, batch_size=None)
        solver: MiniBatch = self.solver
        return solver

    @property
    def trains(self) -> bool:
        """True if the solver trains in epochs."""
        return trains_in_epochs(self.solver)

    def iteration_limit(self, max_iter: int) -> int:
        """Return the largest number of epochs and iterations."""
        if not self.trains:
            return max_iter
        return int(self.solver.epochs) + self.polish * max_iter
