"""What a penalty must offer: functions of the coefficients."""

from typing import ClassVar, Protocol, Self

from torch import Tensor


class Penalty(Protocol):
    """A convex function of coefficients (m, K, p), one value a model.

    It knows no data, no loss and no intercept.  Its strength ``1 / C`` is the objective's; where
    a method needs it, it comes as an argument (m,).

    Attributes
    ----------
    smooth : bool
        Whether it has a gradient and a diagonal Hessian everywhere.
    quadratic : bool
        Whether the Hessian of the smooth part is the same everywhere.
    """

    smooth: ClassVar[bool]
    quadratic: ClassVar[bool]

    def value(self, coef: Tensor) -> Tensor:
        """Value (m,)."""

    def value_gradient(self, coef: Tensor) -> tuple[Tensor, Tensor]:
        """Value (m,) and gradient (m, K, p) of the smooth part."""

    def hess_diagonal(self, coef: Tensor) -> Tensor:
        """Diagonal of the smooth part's Hessian, (m, K, p)."""

    def prox(self, coef: Tensor, step: Tensor) -> Tensor:
        """Minimiser of ``1/2 |x - coef|^2 + step * value(x)``; step (m,)."""

    def subgradient_distance(self, coef: Tensor, gradient: Tensor, strength: Tensor) -> Tensor:
        """Distance (m, K, p) of ``-gradient`` to ``strength`` times the subdifferential."""

    def minimise_quadratic(
        self, hessian: Tensor, linear: Tensor, start: Tensor, index: Tensor, strength: Tensor
    ) -> Tensor:
        """Minimiser of ``1/2 x'Hx - linear'x + strength * penalty(x)`` over chosen features.

        ``hessian`` (q, q), ``linear``, ``start`` (q,), ``index`` (q,): which feature each
        entry belongs to; ``strength`` a scalar.
        """

    def conjugate(self, dual: Tensor) -> Tensor:
        """Convex conjugate (m,); inf outside its domain."""

    def dual_scale(self, dual: Tensor) -> Tensor:
        """Largest factor (m,) in [0, 1] that brings the dual point into the domain."""

    def balanced(self, coef: Tensor) -> Tensor:
        """Take out a constant for all classes, where the minimiser has none."""

    def strictly_positive(self) -> bool:
        """Whether every column is penalised, so that a finite duality gap exists."""

    def without_excluded(self) -> tuple[Self, Tensor | None]:
        """Give excluded features, whose strength is infinite, a finite one; say which they are."""

    def of_columns(self, columns: Tensor) -> Self:
        """Return the penalty of some features' coefficients."""

    def in_units(self, scale: Tensor) -> Self:
        """Return the penalty as a function of ``coef * scale`` (scale (p,))."""
