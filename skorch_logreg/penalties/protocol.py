"""The protocol of a penalty: functions of the coefficients."""

from typing import ClassVar, Protocol, Self

from torch import Tensor


class Penalty(Protocol):
    """A convex function of coefficients (m, K, p), one value a model.

    It knows no data, no loss and no intercept.  Its strength ``1 / C`` is the objective's; where
    a method needs it, it comes as an argument (m,).  One that has ``of_features(n_features,
    factor, device)``, the penalty of validated columns, may be given to the estimators.

    Attributes
    ----------
    smooth : bool
        Whether it has a gradient and a diagonal Hessian everywhere.
    quadratic : bool
        Whether the Hessian of the smooth part is the same everywhere.
    separable : bool
        Whether it is a sum over coefficients that are all allowed.
    constrains : bool
        Whether some coefficients are not allowed: that holds at a strength of zero, too.
    """

    smooth: ClassVar[bool]
    quadratic: ClassVar[bool] = True
    separable: ClassVar[bool] = True
    constrains: ClassVar[bool] = False

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

    def quadratic_step(
        self, hessian: Tensor, slope: Tensor, start: Tensor, index: Tensor, strength: Tensor
    ) -> Tensor:
        """Step ``d`` to the minimiser of ``1/2 d'Hd + slope'd + strength * penalty(start + d)``.

        Over chosen features: ``hessian`` (q, q), ``slope``, ``start`` (q,), ``index`` (q,): which
        feature each entry belongs to; ``strength`` a scalar.  A short step is right to its own
        digits, not to those of ``start``: where columns nearly repeat each other, coefficients
        are long and their sum is not.
        """

    def conjugate(self, dual: Tensor) -> Tensor:
        """Convex conjugate (m,); inf outside its domain."""

    def dual_scale(self, dual: Tensor) -> Tensor:
        """Largest factor (m,) in [0, 1] that brings the dual point into the domain."""

    def balanced(self, coef: Tensor, strength: Tensor) -> Tensor:
        """Return the minimiser of least norm among those that differ by a constant for all classes.

        A constant (m, 1, p) for the classes changes no probability.  Where ``strength`` times the
        penalty does not determine it, it is the one with the least squares; so the result is
        unique, continuous, and the limit of an elastic net whose ridge vanishes.
        """

    def coercive(self, strength: Tensor) -> Tensor:
        """Return True (m,) where every column is penalised or bounded: a finite gap exists."""

    def without_excluded(self) -> tuple[Self, Tensor | None]:
        """Give excluded features, whose strength is infinite, a finite one; say which they are."""

    def of_columns(self, columns: Tensor) -> Self:
        """Return the penalty of some features' coefficients."""

    def in_units(self, scale: Tensor) -> Self:
        """Return the penalty as a function of ``coef * scale`` (scale (p,))."""

    def feasible(self, coef: Tensor, size: Tensor) -> Tensor:
        """Nearest coefficients that are allowed; the rounding of ``size`` counts as none."""
        return coef

    def recession(self, coef: Tensor, strength: Tensor) -> tuple[Tensor, Tensor]:
        """Return the coefficients (m, 1, p) that are unbounded below, and above, at no cost.

        ``coef`` (m, K, p) gives the shape; ``strength`` (m,).
        """
        factor = getattr(self, "factor", None)
        free = (strength == 0)[:, None, None].expand(-1, 1, coef.shape[-1])
        if factor is not None:
            free = free | (factor == 0)
        return free, free

    def pooled(self, distance: Tensor) -> Tensor:
        """Give coefficients that leave zero together the largest of their distances (K, p)."""
        return distance
