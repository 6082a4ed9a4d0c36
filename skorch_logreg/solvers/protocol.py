"""What a solver must offer, and what it must not do."""

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, Self

from torch import Tensor

from skorch_logreg.objective import Objective, Point


class State(Protocol):
    """Where a solver stands: a frozen dataclass of tensors.

    Attributes
    ----------
    point : Point
    decrement : Tensor of shape (m,)
        Predicted distance ``F - F*`` of the point.
    trusted : Tensor of shape (m,), bool
        Whether the prediction may declare convergence.
    """

    @property
    def point(self) -> Point:
        """Current point."""

    @property
    def decrement(self) -> Tensor:
        """Predicted distance (m,) from the optimum."""

    @property
    def trusted(self) -> Tensor:
        """Whether the prediction may declare convergence, (m,)."""

    def select(self, models: Tensor, objective: Objective) -> Self:
        """Keep some models; ``objective`` is theirs already."""


class Solver(Protocol):
    """Frozen settings of a method; pure functions from state to state.

    A solver never decides convergence, never warns and never prints: `drive` does the first,
    the estimator the second.

    Attributes
    ----------
    requires : frozenset of str
        What it needs of a penalty: "smooth", or "prox".
    checkpoint, on_interrupt
        As `Resumable` has them: `fit` hands them to `drive`.
    """

    requires: ClassVar[frozenset[str]]

    @property
    def checkpoint(self) -> Any:
        """Where a fit is written to, or None."""

    @property
    def on_interrupt(self) -> str:
        """Either "raise" or "keep"."""

    def init(self, objective: Objective, params: Tensor, tol: float) -> Any:
        """State at given parameters; ``tol`` is what `drive` will ask of the optimality."""

    def step(self, objective: Objective, state: Any) -> Any:
        """State after one iteration."""

    def confirm(self, objective: Objective, state: Any, models: Sequence[int]) -> Any:
        """Find decrements of some models, at the same point, that can be trusted.

        Where another step would be cheaper than a proof, the state may stay as it is.
        """
