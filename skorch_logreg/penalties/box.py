"""Bounds on coefficients, in addition to another penalty."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from skorch_logreg.penalties.elastic_net import ElasticNet
from skorch_logreg.penalties.protocol import CoordinateTerms, Penalty

# relative distance to a bound that is rounding error
_ROUNDING = 4 * torch.finfo(torch.float64).eps


@dataclass(frozen=True)
class Box(Penalty):
    """Another penalty where ``low_j <= w_j <= high_j``, and infinity outside.

    Unlike any other penalty it does not vanish at a strength of zero.  All classes share their
    bounds.

    Parameters
    ----------
    penalty : ElasticNet
        Inside the bounds; ridge is its l1_ratio of 0.
    low, high : Tensor of shape (n_features,)
        Bounds, -inf and inf where there are none.

    References
    ----------
    Parikh, Boyd (2014). Proximal algorithms, section 6.2.4.

    Examples
    --------
    >>> import torch
    >>> from skorch_logreg.penalties import Box, ElasticNet
    >>> low, high = torch.tensor([0.0, -torch.inf]), torch.tensor([torch.inf, 1.0])
    >>> Box(ElasticNet(0.0), low, high).prox(torch.tensor([[[-3.0, 4.0]]]), torch.tensor([1.0]))
    tensor([[[0., 1.]]])
    """

    constrains: ClassVar[bool] = True
    penalty: ElasticNet
    low: Tensor
    high: Tensor

    def value(self, coef: Tensor) -> Tensor:
        outside = ((coef < self.low) | (coef > self.high)).any(dim=2).any(dim=1)
        return torch.where(outside, torch.inf, self.penalty.value(coef))

    def value_gradient(self, coef: Tensor) -> tuple[Tensor, Tensor]:
        return self.value(coef), self.penalty.value_gradient(coef)[1]

    def hess_diagonal(self, coef: Tensor) -> Tensor:
        return self.penalty.hess_diagonal(coef)

    def prox(self, coef: Tensor, step: Tensor) -> Tensor:
        """Prox of the other penalty, then the nearest allowed: each coefficient is on its own."""
        return self.penalty.prox(coef, step).clamp(self.low, self.high)

    def subgradient_distance(self, coef: Tensor, gradient: Tensor, strength: Tensor) -> Tensor:
        """Distance (m, K, p) of ``-gradient`` to the subdifferential; a bound holds one side."""
        lasso, ridge = self.penalty.weights(coef)
        lam = strength[:, None, None]
        descent = -gradient - lam * ridge * coef
        inside = CoordinateTerms(lam * lasso, lam * ridge, self.low, self.high)
        least, most = inside.subgradients(coef)
        return torch.maximum(descent - most, least - descent).clamp(min=0.0)

    def terms(self, index: Tensor, like: Tensor) -> CoordinateTerms:
        """Return the lasso, the ridge and the bounds of some coordinates."""
        inside = self.penalty.terms(index, like)
        return CoordinateTerms(inside.lasso, inside.ridge, self.low[index], self.high[index])

    def conjugate(self, dual: Tensor) -> Tensor:
        """``sum_j max_w v_j w - penalty(w)`` within the bounds (m,); inf if unbounded."""
        lasso, ridge = self.penalty.weights(dual)
        beyond = dual.sign() * (dual.abs() - lasso).clamp(min=0.0)
        # 0 / 0: without curvature and slope the best is the allowed value nearest to zero
        best = torch.where(beyond == 0, 0.0, beyond / ridge).clamp(self.low, self.high)
        endless = best.isinf()
        best = torch.where(endless, 0.0, best)
        each = (dual - ridge / 2 * best) * best - lasso * best.abs()
        return torch.where(endless, torch.inf, each).sum(dim=(1, 2))

    def dual_scale(self, dual: Tensor) -> Tensor:
        """Largest factor (m,) with ``|v_j| <= lasso_j`` where nothing else holds a side."""
        lasso, ridge = self.penalty.weights(dual)
        ahead = torch.where(dual > 0, self.high, -self.low)
        open_side = (dual != 0) & (ridge == 0) & ahead.isinf()
        room = torch.where(open_side, lasso / dual.abs(), torch.inf)
        # rounding must not leave a product just above its bound
        return room.amin(dim=(1, 2)).mul(1 - 4e-16).clamp(max=1.0)

    def balanced(self, coef: Tensor, strength: Tensor) -> Tensor:
        """As the other penalty has it, as far as the bounds allow."""
        low = self.low - coef.amin(dim=1, keepdim=True)
        high = self.high - coef.amax(dim=1, keepdim=True)
        moved = coef + self.penalty.constant(coef, strength, low, high)
        return self.feasible(moved, coef)

    def coercive(self, strength: Tensor) -> Tensor:
        """Return True (m,) where every feature has a positive strength or two bounds."""
        held = self.low.isfinite() & self.high.isfinite()
        if self.penalty.scale is not None:
            held = held | self.penalty.scale.isinf()  # such a column takes no part
        factor = self.penalty.factor
        penalised = held | (True if factor is None else factor > 0)
        return torch.where(strength > 0, penalised.all(), held.all())

    def without_excluded(self) -> tuple["Box", Tensor | None]:
        penalty, excluded = self.penalty.without_excluded()
        return (self if excluded is None else self._with(penalty=penalty)), excluded

    def of_columns(self, columns: Tensor) -> "Box":
        return Box(self.penalty.of_columns(columns), self.low[columns], self.high[columns])

    def in_units(self, scale: Tensor) -> "Box":
        """Return the penalty of ``v = w * scale``; a column of infinite unit has no bounds."""
        low, high = (
            torch.where(scale.isinf(), end, torch.where(bound == 0, 0.0, bound * scale))
            for bound, end in ((self.low, -torch.inf), (self.high, torch.inf))
        )
        return Box(self.penalty.in_units(scale), low, high)

    def feasible(self, coef: Tensor, size: Tensor) -> Tensor:
        """Nearest coefficients within the bounds; what rounding led off a bound returns to it."""
        for bound in (self.low, self.high):
            near = (coef - bound).abs() <= _ROUNDING * torch.maximum(bound.abs(), size.abs())
            coef = torch.where(near & bound.isfinite(), bound, coef)
        return coef.clamp(self.low, self.high)

    def recession(self, coef: Tensor, strength: Tensor) -> tuple[Tensor, Tensor]:
        down, up = self.penalty.recession(coef, strength)
        return down & self.low.isinf(), up & self.high.isinf()
