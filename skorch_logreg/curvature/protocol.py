"""Protocol of curvatures."""

from typing import ClassVar, Protocol, Self

from torch import Tensor

from skorch_logreg.objective import Objective, Point


class Curvature(Protocol):
    """Positive definite approximation ``B^-1`` of the Hessian, factored once for many solves.

    Attributes
    ----------
    exact : bool
        Whether it is the exact Hessian at the point where it was built.
    reads : int
        Number of reads of X per solve.
    """

    exact: ClassVar[bool]

    @property
    def reads(self) -> int:
        """Number of reads of X per solve."""

    def solve(self, gradient: Tensor) -> Tensor:
        """Return ``B gradient`` (m, K, p + 1) for all models."""

    def damping(self, solved: Tensor) -> Tensor:
        """Return the part (m,) of ``1/2 gradient'solved`` that is due to the damping of a factor.

        A small part may hide a large decrement in directions with much less curvature than was
        added to the diagonal.  It is 0 for curvatures that are not exact, whose decrements have
        to be confirmed by steps.
        """

    def at(self, point: Point, models: Tensor | None = None) -> Self:
        """Update to a point what needs no read of X; the factors are kept.

        ``models`` are the models of the point to which the curvature belongs; None means all.
        """

    def select(self, models: Tensor, objective: Objective) -> "Curvature":
        """Return the curvature of some models; ``objective`` is already restricted to them."""
