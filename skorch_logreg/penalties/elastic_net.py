"""The lasso and its mixtures with ridge."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from skorch_logreg.penalties.protocol import CoordinateTerms, Penalty


@dataclass(frozen=True)
class ElasticNet(Penalty):
    """Elastic net ``sum_j f_j (l1_ratio |w_j| + (1 - l1_ratio)/2 w_j^2)``.

    Parameters
    ----------
    l1_ratio : float
        Share of the absolute value, in [0, 1]; 1 is the lasso.
    factor : Tensor of shape (n_features,) or None
        Strength of every feature, ``f``; inf: excluded. None: 1 for all.
    scale : Tensor of shape (n_features,) or None
        The penalty is that of ``coef / scale``; None: of ``coef`` itself.

    References
    ----------
    Zou, Hastie (2005). Regularization and variable selection via the elastic net.

    Examples
    --------
    >>> import torch
    >>> from skorch_logreg.penalties import ElasticNet
    >>> ElasticNet(1.0).value(torch.tensor([[[3.0, -4.0]]]))
    tensor([7.])
    """

    separable: ClassVar[bool] = True
    l1_ratio: float
    factor: Tensor | None = None
    scale: Tensor | None = None

    def value(self, coef: Tensor) -> Tensor:
        lasso, ridge = self.weights(coef)
        size = coef.abs()
        return ((ridge / 2 * size).add_(lasso).mul_(size)).sum(dim=(1, 2))

    def value_gradient(self, coef: Tensor) -> tuple[Tensor, Tensor]:
        return self.value(coef), self.weights(coef)[1] * coef

    def hess_diagonal(self, coef: Tensor) -> Tensor:
        return self.weights(coef)[1].expand_as(coef)

    def prox(self, coef: Tensor, step: Tensor) -> Tensor:
        """Soft threshold, then shrinkage (Parikh and Boyd 2014, section 6.5.3)."""
        lasso, ridge = self.weights(coef)
        size = (coef.abs() - step[:, None, None] * lasso).clamp(min=0.0)
        return coef.sign() * size / (1 + step[:, None, None] * ridge)

    def subgradient_distance(self, coef: Tensor, gradient: Tensor, strength: Tensor) -> Tensor:
        lasso, ridge = self.weights(coef)
        lam = strength[:, None, None]
        total = gradient + lam * ridge * coef
        at_zero = (total.abs() - lam * lasso).clamp(min=0.0)
        return torch.where(coef == 0, at_zero, (total + lam * lasso * coef.sign()).abs())

    def terms(self, index: Tensor, like: Tensor) -> CoordinateTerms:
        """Return the lasso and the ridge of some coordinates."""
        weights = self.weights(like)
        return CoordinateTerms(*(w[index] if w.ndim else w.expand(len(index)) for w in weights))

    def conjugate(self, dual: Tensor) -> Tensor:
        """``sum_j max(|v_j| - lasso_j, 0)^2 / (2 ridge_j)``; inf where ridge_j = 0 (m,)."""
        lasso, ridge = self.weights(dual)
        excess = (dual.abs() - lasso).clamp(min=0.0)
        return torch.where(excess == 0, 0.0, excess.square() / (2 * ridge)).sum(dim=(1, 2))

    def dual_scale(self, dual: Tensor) -> Tensor:
        """Largest factor (m,) with ``|v_j| <= lasso_j`` without a ridge part."""
        if self.l1_ratio < 1:
            return torch.ones(len(dual), dtype=dual.dtype, device=dual.device)
        room = torch.where(dual == 0, torch.inf, self.weights(dual)[0] / dual.abs())
        # rounding must not leave a product just above its bound
        return room.amin(dim=(1, 2)).mul(1 - 4e-16).clamp(max=1.0)

    def entry_strength(self, gradient: Tensor) -> Tensor:
        """Least strength (m,) at which a gradient (m, K, p) at zero leaves all coefficients there.

        Of coefficients without a penalty the gradient does not count.
        """
        lasso = self.weights(gradient)[0]
        return torch.where(lasso > 0, gradient.abs() / lasso, 0.0).amax(dim=(1, 2))

    def balanced(self, coef: Tensor, strength: Tensor) -> Tensor:
        """Return the minimiser of least norm among those that differ by a constant for all classes.

        The lasso of a feature is least where as many of its coefficients are negative as are
        positive: for an even number of classes anywhere between the middle two.  Without a
        penalty any constant is optimal; with a ridge only one is.
        """
        endless = coef.new_tensor(torch.inf)
        return coef + self.constant(coef, strength, -endless, endless)

    def constant(self, coef: Tensor, strength: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Constants (m, 1, p), between ``low`` and ``high`` (m, 1, p) or (), of `balanced`.

        Where ``i`` of K coefficients are negative the penalty is least at
        ``-mean + (2 i - K) lasso / (K ridge)``; the minimiser is the median of these K + 1 values
        and of the K that make a coefficient zero.

        References
        ----------
        Li, Osher (2009). A new median formula with applications to PDE based denoising.
        """
        lasso, ridge = (strength[:, None, None] * weight for weight in self.weights(coef))
        n_classes = coef.shape[1]
        surplus = torch.arange(-n_classes, n_classes + 1, 2, dtype=coef.dtype, device=coef.device)
        each = surplus[:, None] * (lasso / (n_classes * ridge))
        # no ridge: only where as many are negative as positive; no penalty: the mean
        smooth = torch.where(surplus[:, None] * lasso == 0, 0.0, each)
        smooth = smooth - coef.mean(dim=1, keepdim=True)
        return torch.cat([-coef, smooth], dim=1).median(dim=1, keepdim=True).values.clamp(low, high)

    def weights(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Strengths of the absolute value and of the square, in the coefficients' units."""
        if self._weights is not None:
            return self._weights
        return like.new_tensor(self.l1_ratio), like.new_tensor(1 - self.l1_ratio)

    @cached_property
    def _weights(self) -> tuple[Tensor, Tensor] | None:
        given = self.factor if self.scale is None else self.scale
        if given is None:
            return None
        factor = 1.0 if self.factor is None else self.factor
        scale = torch.ones_like(given) if self.scale is None else self.scale
        return self.l1_ratio * factor / scale, (1 - self.l1_ratio) * factor / scale.square()
