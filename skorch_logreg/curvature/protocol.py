"""What a model of the Hessian must offer."""

from typing import ClassVar, Protocol, Self

from torch import Tensor

from skorch_logreg.objective import Objective, Point


class Curvature(Protocol):
    """A positive definite model B^-1 of the Hessian, factored once, solved with many times.

    Attributes
    ----------
    exact : bool
        Whether it is the Hessian itself at the point where it was built.
    reads : int
        Reads of X that a solve takes.
    """

    exact: ClassVar[bool]

    @property
    def reads(self) -> int:
        """Reads of X that a solve takes."""

    def solve(self, gradient: Tensor) -> Tensor:
        """``B gradient`` (m, K, p + 1), for all models."""

    def damping(self, solved: Tensor) -> Tensor:
        """Part (m,) of the decrement ``1/2 gradient'solved`` that keeps an exact one definite.

        A small part may hide a large decrement: along directions whose curvature is far below
        what was added to it.  0 of a model that is not exact, which steps have to prove.
        """

    def at(self, point: Point, models: Tensor | None = None) -> Self:
        """Bring up to a point what costs no read of X; the factors stay.

        ``models`` are those of the point that the curvature is for; None: all.
        """

    def select(self, models: Tensor, objective: Objective) -> "Curvature":
        """Keep some models; ``objective`` is theirs already."""
