"""The ridge penalty."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from skorch_logreg.penalties.protocol import Penalty


@dataclass(frozen=True)
class L2(Penalty):
    """Ridge ``1/2 sum_j f_j w_j^2``.

    Parameters
    ----------
    factor : Tensor of shape (n_features,) or None
        Strength of every feature, ``f``; inf: excluded. None: 1 for all.
    scale : Tensor of shape (n_features,) or None
        The penalty is that of ``coef / scale``; None: of ``coef`` itself.

    References
    ----------
    le Cessie, van Houwelingen (1992). Ridge estimators in logistic regression, equation 2.

    Examples
    --------
    >>> import torch
    >>> from skorch_logreg.penalties import L2
    >>> L2().value(torch.tensor([[[3.0, 4.0]]]))
    tensor([12.5000])
    """

    smooth: ClassVar[bool] = True
    quadratic: ClassVar[bool] = True
    factor: Tensor | None = None
    scale: Tensor | None = None

    def value(self, coef: Tensor) -> Tensor:
        """Value (m,)."""
        return self.value_gradient(coef)[0]

    def value_gradient(self, coef: Tensor) -> tuple[Tensor, Tensor]:
        """Value (m,) and ``f w`` (m, K, p)."""
        gradient = coef * self._weight
        return (gradient * coef).sum(dim=(1, 2)) / 2, gradient

    def hess_diagonal(self, coef: Tensor) -> Tensor:
        """``f`` (m, K, p)."""
        return torch.as_tensor(self._weight, dtype=coef.dtype, device=coef.device).expand_as(coef)

    def prox(self, coef: Tensor, step: Tensor) -> Tensor:
        """``w / (1 + step f)`` (Parikh and Boyd 2014, section 6.1.1)."""
        return coef / (1 + step[:, None, None] * self._weight)

    def subgradient_distance(self, coef: Tensor, gradient: Tensor, strength: Tensor) -> Tensor:
        """``|gradient + strength f w|`` (m, K, p)."""
        return (gradient + strength[:, None, None] * self._weight * coef).abs()

    def quadratic_step(
        self, hessian: Tensor, slope: Tensor, start: Tensor, index: Tensor, strength: Tensor
    ) -> Tensor:
        """Solve ``(H + strength f) d = -(slope + strength f start)``."""
        weight = torch.as_tensor(self._weight, dtype=slope.dtype, device=slope.device)
        ridge = strength * (weight[index] if weight.ndim else weight.expand(len(index)))
        total = -(slope + ridge * start)
        matrix = hessian + torch.diag(ridge)
        # what counts as no curvature must not depend on the units of the columns
        diagonal = matrix.diagonal()
        scale = torch.where(diagonal > 0, diagonal, 1.0).rsqrt()
        scaled = matrix * scale[:, None] * scale
        # `lstsq` would give other bits at every call
        return torch.linalg.pinv(scaled, hermitian=True) @ (total * scale) * scale

    def conjugate(self, dual: Tensor) -> Tensor:
        """``1/2 sum_j v_j^2 / f_j`` (m,)."""
        ratio = torch.where(dual == 0, 0.0, dual.square() / self._weight)
        return ratio.sum(dim=(1, 2)) / 2

    def dual_scale(self, dual: Tensor) -> Tensor:
        """One: the conjugate is finite everywhere."""
        return torch.ones(len(dual), dtype=dual.dtype, device=dual.device)

    def balanced(self, coef: Tensor, strength: Tensor) -> Tensor:
        """Coefficients (m, K, p) that sum to zero over the classes, as the minimiser's do."""
        return coef - coef.mean(dim=1, keepdim=True)

    def coercive(self, strength: Tensor) -> Tensor:
        """Return True (m,) where every feature has a positive strength."""
        return (strength > 0) & (self.factor is None or bool((self.factor > 0).all()))

    def without_excluded(self) -> tuple["L2", Tensor | None]:
        """Give excluded features, whose strength is infinite, a finite one; say which they are."""
        if self.factor is None or not bool(self.factor.isinf().any()):
            return self, None
        excluded = self.factor.isinf()
        return replace(self, factor=torch.where(excluded, 1.0, self.factor)), excluded

    def of_columns(self, columns: Tensor) -> "L2":
        """Return the penalty of some features' coefficients."""
        factor = None if self.factor is None else self.factor[columns]
        scale = None if self.scale is None else self.scale[columns]
        return replace(self, factor=factor, scale=scale)

    def in_units(self, scale: Tensor) -> "L2":
        """Return the penalty of ``v = w * scale``: its strengths are ``f / scale^2``."""
        return replace(self, scale=scale if self.scale is None else self.scale * scale)

    @cached_property
    def _weight(self) -> Tensor | float:
        """Strengths in the units of the coefficients."""
        factor = 1.0 if self.factor is None else self.factor
        return factor if self.scale is None else factor / self.scale.square()
