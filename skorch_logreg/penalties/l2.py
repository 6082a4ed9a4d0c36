"""The ridge penalty."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from skorch_logreg.penalties.elastic_net import ElasticNet


@dataclass(frozen=True)
class L2(ElasticNet):
    """Ridge ``1/2 sum_j f_j w_j^2``, the elastic net without a lasso.

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
    l1_ratio: float = field(default=0.0, init=False, repr=False)

    def value(self, coef: Tensor) -> Tensor:
        return self.value_gradient(coef)[0]

    def value_gradient(self, coef: Tensor) -> tuple[Tensor, Tensor]:
        """Value (m,) and ``f w`` (m, K, p)."""
        gradient = coef * self._weight
        return (gradient * coef).sum(dim=(1, 2)) / 2, gradient

    def hess_diagonal(self, coef: Tensor) -> Tensor:
        """``f`` (m, K, p)."""
        return torch.as_tensor(self._weight, dtype=coef.dtype, device=coef.device).expand_as(coef)

    def balanced(self, coef: Tensor, strength: Tensor) -> Tensor:
        """Coefficients (m, K, p) that sum to zero over the classes, as the minimiser's do."""
        return coef - coef.mean(dim=1, keepdim=True)

    @cached_property
    def _weight(self) -> Tensor | float:
        """Strengths in the units of the coefficients."""
        factor = 1.0 if self.factor is None else self.factor
        return factor if self.scale is None else factor / self.scale.square()
