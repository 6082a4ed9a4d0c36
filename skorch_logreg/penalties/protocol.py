"""Base class of penalties: functions of the coefficients."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from skorch_logreg.exceptions import ParameterError


@dataclass(frozen=True)
class CoordinateTerms:
    """Penalty ``sum_j lasso_j |w_j| + ridge_j / 2 w_j^2`` where ``low_j <= w_j <= high_j``.

    All are of shape (q,); without bounds ``low`` and ``high`` are None.
    """

    lasso: Tensor
    ridge: Tensor
    low: Tensor | None = None
    high: Tensor | None = None

    def subgradients(self, coef: Tensor) -> tuple[Tensor, Tensor]:
        """Return the least and the largest subgradient of ``lasso |w|`` within the bounds."""
        least = torch.where(coef > 0, self.lasso, -self.lasso)
        most = torch.where(coef >= 0, self.lasso, -self.lasso)
        if self.low is not None:
            least = least.masked_fill(coef <= self.low, -torch.inf)
        if self.high is not None:
            most = most.masked_fill(coef >= self.high, torch.inf)
        return least, most


@dataclass(frozen=True)
class GroupTerms:
    """Penalty ``sum_g (sum_{j in g} weight_j^2 w_j^2)^(1/2)`` of coordinates (q,) and their groups.

    A weight of 0 means that a coordinate is not penalised.
    """

    weight: Tensor
    group: Tensor


class Penalty(ABC):
    """A convex function of coefficients (m, K, p), one value for each of m models.

    It knows no data, no loss and no intercept.  Its strength ``1 / C`` belongs to the objective;
    a method that needs it takes it as an argument (m,).  Four methods define a penalty: `value`,
    `prox`, `subgradient_distance` and `conjugate`.  The others have defaults for a penalty that is
    not smooth, scales with ``coef / scale`` and has no constraints.

    A subclass is a frozen dataclass.

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
    factor : Tensor of shape (p,) or None
        Strength of every feature; 0: not penalised, inf: excluded. None: 1 for all.
    scale : Tensor of shape (p,) or None
        The penalty is that of ``coef / scale``; None: of ``coef`` itself.
    """

    smooth: ClassVar[bool] = False
    quadratic: ClassVar[bool] = True
    separable: ClassVar[bool] = False
    constrains: ClassVar[bool] = False
    factor: Tensor | None = None
    scale: Tensor | None = None

    @abstractmethod
    def value(self, coef: Tensor) -> Tensor:
        """Value (m,)."""

    @abstractmethod
    def prox(self, coef: Tensor, step: Tensor) -> Tensor:
        """Minimiser of ``1/2 |x - coef|^2 + step * value(x)``; step (m,)."""

    @abstractmethod
    def subgradient_distance(self, coef: Tensor, gradient: Tensor, strength: Tensor) -> Tensor:
        """Distance (m, K, p) of ``-gradient`` to ``strength`` times the subdifferential."""

    @abstractmethod
    def conjugate(self, dual: Tensor) -> Tensor:
        """Convex conjugate (m,); inf outside its domain."""

    def value_gradient(self, coef: Tensor) -> tuple[Tensor, Tensor]:
        """Value (m,) and gradient (m, K, p) of the smooth part."""
        return self.value(coef), torch.zeros_like(coef)

    def hess_diagonal(self, coef: Tensor) -> Tensor:
        """Diagonal of the smooth part's Hessian, (m, K, p)."""
        return torch.zeros_like(coef)

    def terms(self, index: Tensor, like: Tensor) -> CoordinateTerms | GroupTerms | None:
        """Return the penalty of coordinates of features ``index`` (q,) as a sum.

        `subproblems` has a solver for it.  None: it has no such form, and quadratic problems are
        solved with `prox`.  ``like`` has the dtype and device of the result.
        """
        return None

    def blocks(self) -> Tensor | None:
        """Label (p,) of every feature such that `prox` depends on features of the same label only.

        None: it may depend on all.
        """
        return None

    def dual_scale(self, dual: Tensor) -> Tensor:
        """Largest factor (m,) in [0, 1] that brings the dual point into the conjugate's domain."""
        low = dual.new_zeros(len(dual))
        high = torch.ones_like(low)
        inside = self.conjugate(dual) < torch.inf
        for _ in range(0 if bool(inside.all()) else 54):
            middle = (low + high) / 2
            fits = self.conjugate(dual * middle[:, None, None]) < torch.inf
            low, high = torch.where(fits, middle, low), torch.where(fits, high, middle)
        return torch.where(inside, 1.0, low)

    def balanced(self, coef: Tensor, strength: Tensor) -> Tensor:
        """Return the minimiser of least norm among those that differ by a constant for all classes.

        A constant (m, 1, p) for the classes changes no probability.  Where ``strength`` times the
        penalty does not determine it, it is the one with the least squares; so the result is
        unique, continuous, and the limit of an elastic net whose ridge vanishes.
        """
        is_free = self.recession(coef, strength)[0]
        return torch.where(is_free, coef - coef.mean(dim=1, keepdim=True), coef)

    def coercive(self, strength: Tensor) -> Tensor:
        """Return True (m,) where every column is penalised or bounded: a finite gap exists."""
        held = strength > 0
        return held if self.factor is None else held & bool((self.factor > 0).all())

    def without_excluded(self) -> tuple[Self, Tensor | None]:
        """Give excluded features, whose strength is infinite, a finite one; say which they are."""
        if self.factor is None or not bool(self.factor.isinf().any()):
            return self, None
        excluded = self.factor.isinf()
        return self._with(factor=torch.where(excluded, 1.0, self.factor)), excluded

    def without_center(self) -> tuple[Self, Tensor | None]:
        """Return the penalty of ``coef - center``, and the center (1 or K, p); None if it is 0."""
        return self, None

    def of_columns(self, columns: Tensor) -> Self:
        """Return the penalty of some features' coefficients; a feature may occur repeatedly."""
        factor = None if self.factor is None else self.factor[columns]
        scale = None if self.scale is None else self.scale[columns]
        return self._with(factor=factor, scale=scale)

    def in_units(self, scale: Tensor) -> Self:
        """Return the penalty as a function of ``coef * scale`` (scale (p,))."""
        return self._with(scale=scale if self.scale is None else self.scale * scale)

    def feasible(self, coef: Tensor, size: Tensor) -> Tensor:
        """Nearest coefficients that are allowed; the rounding of ``size`` counts as none."""
        return coef

    def recession(self, coef: Tensor, strength: Tensor) -> tuple[Tensor, Tensor]:
        """Return the coefficients (m, 1, p) that are unbounded below, and above, at no cost.

        ``coef`` (m, K, p) gives the shape; ``strength`` (m,).
        """
        free = (strength == 0)[:, None, None].expand(-1, 1, coef.shape[-1])
        if self.factor is not None:
            free = free | (self.factor == 0)
        return free, free

    def pooled(self, distance: Tensor) -> Tensor:
        """Give coefficients that leave zero together the largest of their distances (K, p)."""
        return distance

    def _with(self, **fields: Any) -> Self:
        this: Any = self  # a dataclass
        return replace(this, **fields)


class FeaturePenalty(Penalty):
    """A penalty that may be given to an estimator as ``penalty=``."""

    @abstractmethod
    def of_features(
        self,
        n_features: int,
        factor: Tensor | None,
        device: torch.device,
        names: Any = None,
        n_outputs: int = 1,
    ) -> Self:
        """Return the penalty of so many features, each with its factor, and their names, if any.

        Raises
        ------
        ParameterError
            If its settings are not those of ``n_features`` features and ``n_outputs`` logits.
        """

    def _with_factor(self, factor: Tensor | None, device: torch.device) -> Self:
        """Return the penalty with the factors of an estimator, which may be the only ones."""
        if self.factor is not None or self.scale is not None:
            raise ParameterError(
                f"penalty={type(self).__name__} has a factor or a scale of its own; give "
                "penalty_factor to the estimator instead."
            )
        return self._with(factor=None if factor is None else factor.to(device))
