"""Protocols of solvers and of their states."""

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, Self

from torch import Tensor

from skorch_logreg.objective import Objective, Point


class State(Protocol):
    """State of a solver, a frozen dataclass of tensors."""

    @property
    def point(self) -> Point:
        """Current parameters, with logits, value and gradient."""

    @property
    def decrement(self) -> Tensor:
        """Predicted suboptimality ``F - F*`` (m,) of each model."""

    @property
    def trusted(self) -> Tensor:
        """Mask (m,) of models whose prediction is reliable enough to stop on."""

    def select(self, models: Tensor) -> Self:
        """Return the state of some models."""


class Solver(Protocol):
    """Frozen settings of a method, with pure functions from state to state.

    A solver does not decide about convergence, warn or print: `drive` stops the iterations, and
    the estimator warns.

    ``requires`` names the required property of the penalty, "smooth" or "prox"; "batches" for
    mini-batch solvers.
    """

    requires: ClassVar[frozenset[str]]

    @property
    def checkpoint(self) -> Any:
        """Checkpoint to which a fit is written, or None."""

    @property
    def on_interrupt(self) -> str:
        """Handling of a KeyboardInterrupt, "raise" or "keep"."""

    def init(self, objective: Objective, params: Tensor, tol: float) -> Any:
        """Return the state at given parameters; ``tol`` is the tolerance on the optimality."""

    def step(self, objective: Objective, state: Any) -> Any:
        """Return the state after one iteration."""

    def confirm(self, objective: Objective, state: Any, models: Sequence[int]) -> Any:
        """Compute reliable decrements of some models at the same point.

        If another step is cheaper, the state may be returned unchanged.
        """
