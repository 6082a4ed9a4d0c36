"""The ridge penalty."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from skorch_logreg.penalties.protocol import CoordinateTerms, Penalty


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
    separable: ClassVar[bool] = True
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

    def terms(self, index: Tensor, like: Tensor) -> CoordinateTerms:
        """Return the ridge of some coordinates."""
        weight = torch.as_tensor(self._weight, dtype=like.dtype, device=like.device)
        ridge = weight[index] if weight.ndim else weight.expand(len(index))
        return CoordinateTerms(torch.zeros_like(ridge), ridge)

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

    @cached_property
    def _weight(self) -> Tensor | float:
        """Strengths in the units of the coefficients."""
        factor = 1.0 if self.factor is None else self.factor
        return factor if self.scale is None else factor / self.scale.square()
