"""Bounds on coefficients, in addition to another penalty."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from skorch_logreg.penalties.elastic_net import ElasticNet
from skorch_logreg.penalties.protocol import Penalty
from skorch_logreg.penalties.quadratic import solve

_ROUNDING = 4 * torch.finfo(torch.float64).eps
_GUESSES = 20
_SETTLED = 1e-13


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

    smooth: ClassVar[bool] = False
    separable: ClassVar[bool] = False
    constrains: ClassVar[bool] = True
    penalty: ElasticNet
    low: Tensor
    high: Tensor

    def value(self, coef: Tensor) -> Tensor:
        """Value (m,)."""
        outside = ((coef < self.low) | (coef > self.high)).any(dim=2).any(dim=1)
        return torch.where(outside, torch.inf, self.penalty.value(coef))

    def value_gradient(self, coef: Tensor) -> tuple[Tensor, Tensor]:
        """Value (m,) and gradient (m, K, p) of the ridge part."""
        return self.value(coef), self.penalty.value_gradient(coef)[1]

    def hess_diagonal(self, coef: Tensor) -> Tensor:
        """Diagonal of the ridge part's Hessian, (m, K, p)."""
        return self.penalty.hess_diagonal(coef)

    def prox(self, coef: Tensor, step: Tensor) -> Tensor:
        """Prox of the other penalty, then the nearest allowed: each coefficient is on its own."""
        return self.penalty.prox(coef, step).clamp(self.low, self.high)

    def subgradient_distance(self, coef: Tensor, gradient: Tensor, strength: Tensor) -> Tensor:
        """Distance (m, K, p) of ``-gradient`` to the subdifferential; a bound holds one side."""
        lasso, ridge = self.penalty.weights(coef)
        lam = strength[:, None, None]
        pull = -gradient - lam * ridge * coef
        least, most = _slopes(coef, lam * lasso, self.low, self.high)
        return torch.maximum(pull - most, least - pull).clamp(min=0.0)

    def quadratic_step(
        self, hessian: Tensor, slope: Tensor, start: Tensor, index: Tensor, strength: Tensor
    ) -> Tensor:
        """Solve for the bounds and signs of the minimiser."""
        lasso, ridge = (
            strength * (w[index] if w.ndim else w.expand(len(index)))
            for w in self.penalty.weights(slope)
        )
        own = _Pieces(lasso, self.low[index], self.high[index], start)
        return own.step(hessian + torch.diag(ridge), slope + ridge * start)

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
        """Give excluded features, whose strength is infinite, a finite one; say which they are."""
        penalty, excluded = self.penalty.without_excluded()
        return (self if excluded is None else replace(self, penalty=penalty)), excluded

    def of_columns(self, columns: Tensor) -> "Box":
        """Return the penalty of some features' coefficients."""
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
        """Return the coefficients (m, 1, p) that are unbounded below, and above, at no cost."""
        down, up = self.penalty.recession(coef, strength)
        return down & self.low.isinf(), up & self.high.isinf()


def _slopes(coef: Tensor, lasso: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Least and largest subgradient of ``lasso |w|`` within bounds."""
    least = torch.where(coef > 0, lasso, -lasso)
    most = torch.where(coef >= 0, lasso, -lasso)
    return least.masked_fill(coef <= low, -torch.inf), most.masked_fill(coef >= high, torch.inf)


@dataclass(frozen=True)
class _Pieces:
    """Minimises ``1/2 d'Hd + slope'd + sum_j lasso_j |x_j|`` of ``x = start + d`` within bounds.

    The penalty is linear between its corners, which are zero (where there is a lasso) and the
    bounds.  A coordinate is fixed at a corner or free between two.
    """

    lasso: Tensor
    low: Tensor
    high: Tensor
    start: Tensor

    def step(self, hessian: Tensor, slope: Tensor) -> Tensor:
        """Guess which coordinates are free; where that goes round, take them one by one."""
        step, exact = self._primal_dual(hessian, slope)
        return step if exact else self._active_set(hessian, slope, step)

    def _primal_dual(self, hessian: Tensor, slope: Tensor) -> tuple[Tensor, bool]:
        """Guess the corners from a gradient step, solve for the rest, repeat.

        References
        ----------
        Hintermüller, Ito, Kunisch (2002). The primal-dual active set strategy as a semismooth
        Newton method, section 2.
        """
        unit = 1 / hessian.diagonal().clamp(min=1e-300)
        step = self.start.clamp(self.low, self.high) - self.start
        best, least = step, torch.inf
        before: tuple[Tensor, Tensor] | None = None
        for _ in range(_GUESSES):
            x = self.start + step
            allowed = step + (x.clamp(self.low, self.high) - x)
            value = self._value(hessian, slope, allowed)
            if value < least:
                best, least = allowed, value
            ahead = x - unit * (slope + hessian @ step)
            ahead = ahead.sign() * (ahead.abs() - unit * self.lasso).clamp(min=0.0)
            ahead = ahead.clamp(self.low, self.high)
            free = ~self._at_corner(ahead)
            guess = free, torch.where(free, ahead.sign() * (self.lasso > 0), ahead)
            if before is not None and all(map(torch.equal, guess, before)):
                return step, True
            step = self._among(free, hessian, slope, ahead - self.start, ahead.sign())
            before = guess
        return best, False

    def _active_set(self, hessian: Tensor, slope: Tensor, step: Tensor) -> Tensor:
        """Go to the exact minimiser, one corner at a time.

        Solve for the free coordinates; go there, or as far as the first corner, where one of
        them is fixed; where none is in the way, the one that is held most is freed.  The
        objective falls at every step, so it ends.
        """
        x = self.start + step
        free, sign = ~self._at_corner(x), x.sign()
        stuck = torch.zeros_like(free)  # freed, but rounding kept them where they were
        worst = 0
        for _ in range(10 * len(x)):
            ahead = self._among(free, hessian, slope, step, sign)
            target = self.start + ahead
            left, right = self._between(sign)
            reach = torch.where(target > right, (right - x) / (target - x), torch.inf)
            reach = torch.where(target < left, (left - x) / (target - x), reach)
            reach = torch.where(free, reach, torch.inf).clamp(min=0.0)
            share = float(reach.min())
            if share < 1:
                stops = reach == share
                corner = torch.where(target > x, right, left)
                step = torch.where(free, step + share * (ahead - step), step)
                step = torch.where(stops, corner - self.start, step)
                x = torch.where(stops, corner, torch.where(free, self.start + step, x))
                free = free & ~stops
                stuck = (stuck | stops) if share == 0 else torch.zeros_like(stuck)
                continue
            step, x = torch.where(free, ahead, step), torch.where(free, target, x)
            stuck = stuck & ~free[worst]
            rest = -(slope + hessian @ step)
            least, most = _slopes(x, self.lasso, self.low, self.high)
            up, down = rest - most, least - rest
            violation = torch.where(free | stuck, 0.0, torch.maximum(up, down))
            worst = int(violation.argmax())
            if violation[worst] <= _SETTLED * (slope - hessian @ self.start).abs().max():
                break
            free[worst] = True
            sign[worst] = self._sign_after(x, up > down)[worst]
        return step

    def _value(self, hessian: Tensor, slope: Tensor, step: Tensor) -> float:
        penalty = self.lasso * ((self.start + step).abs() - self.start.abs())
        return float((hessian @ step / 2 + slope) @ step + penalty.sum())

    def _at_corner(self, x: Tensor) -> Tensor:
        return (x <= self.low) | (x >= self.high) | ((x == 0) & (self.lasso > 0))

    def _among(
        self, free: Tensor, hessian: Tensor, slope: Tensor, step: Tensor, sign: Tensor
    ) -> Tensor:
        """Step to the minimiser over free coordinates of given signs; keep the others' steps."""
        step = torch.where(free, 0.0, step)
        chosen = free.nonzero()[:, 0]
        if len(chosen):
            target = -(slope + hessian @ step + self.lasso * sign)[chosen]
            step[chosen] = solve(hessian[chosen][:, chosen], target)
        return step

    def _between(self, sign: Tensor) -> tuple[Tensor, Tensor]:
        """Corners left and right of coordinates of given signs."""
        curved = self.lasso > 0
        left = torch.where(curved & (sign > 0), self.low.clamp(min=0.0), self.low)
        right = torch.where(curved & (sign < 0), self.high.clamp(max=0.0), self.high)
        return left, right

    def _sign_after(self, x: Tensor, up: Tensor) -> Tensor:
        """Signs of coordinates that leave their corner, upwards or downwards."""
        return torch.where(x == 0, torch.where(up, 1.0, -1.0), x.sign())
