"""Base class of curvatures."""

from abc import ABC, abstractmethod
from dataclasses import fields, replace
from typing import Any, Self

from torch import Tensor

from skorch_logreg.objective import Point


class Curvature(ABC):
    """Positive definite approximation ``B^-1`` of the Hessian, factored once for many solves.

    A subclass is a frozen dataclass.  The defaults are those of a curvature that is not exact and
    whose fields are tensors with the models in their first dimension.
    """

    @property
    def reads(self) -> int:
        """Number of reads of X per solve."""
        return 0

    @abstractmethod
    def solve(self, gradient: Tensor) -> Tensor:
        """Return ``B gradient`` (m, K, p + 1) for all models, in an array of its own."""

    def damping(self, solved: Tensor) -> Tensor:
        """Return the part (m,) of ``1/2 gradient'solved`` that is due to the damping of a factor.

        A small part may hide a large decrement in directions with much less curvature than was
        added to the diagonal.  It is 0 for curvatures that are not exact, whose decrements have
        to be confirmed by steps.
        """
        return solved.new_zeros(len(solved))

    def at(self, point: Point, models: Tensor | None = None) -> Self:
        """Update to a point what needs no read of X; the factors are kept.

        ``models`` are the models of the point to which the curvature belongs; None means all.
        """
        return self

    def select(self, models: Tensor) -> "Curvature":
        """Return the curvature of some models."""
        this: Any = self
        return replace(this, **{f.name: getattr(this, f.name)[models] for f in fields(this)})
