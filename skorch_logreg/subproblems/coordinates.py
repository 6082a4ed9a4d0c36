"""Quadratic problems with a penalty of each coordinate: the lasso, ridge and bounds."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from skorch_logreg.kernels.quadratic import DECREASE_LEFT, MAX_EPOCHS, coordinate_descent
from skorch_logreg.objective import ROUNDING_DISTANCE
from skorch_logreg.penalties.protocol import CoordinateTerms
from skorch_logreg.subproblems.quadratic import (
    MANY,
    MAX_STEPS,
    Quadratic,
    inverse_root,
    solve,
)


def minimise(quadratic: Quadratic, terms: CoordinateTerms, strength: Tensor) -> Tensor:
    """Return the step (q,) to the minimiser; coordinates without a penalty are eliminated first."""
    lasso, ridge = strength * terms.lasso, strength * terms.ridge
    low, high = terms.low, terms.high
    free = (lasso == 0) & (ridge == 0)
    if low is not None and high is not None:
        free &= low.isinf() & high.isinf()
    held = ~free

    def minimise_held(reduced: Quadratic) -> Tensor:
        bounds = (bound if bound is None else bound[held] for bound in (low, high))
        own = CoordinateTerms(lasso[held], ridge[held], *bounds)
        return _Corners(reduced, own).minimise() if len(reduced.slope) else reduced.slope

    return quadratic.with_ridge(ridge).eliminate(free, minimise_held)


def _shares(first: float) -> Iterator[float]:
    """Yield a step's share of 1, its quarters down to rounding, and the share to a corner."""
    share = 1.0
    while share > max(first, torch.finfo(torch.float64).eps):
        yield share
        share /= 4
    yield first


@dataclass(frozen=True)
class _Corners:
    """Minimises ``1/2 d'Hd + slope'd + sum_j lasso_j |x_j|`` of ``x = start + d`` within bounds.

    The penalty is linear between its corners, which are zero (where there is a lasso) and the
    bounds.  A coordinate is fixed at a corner or free between two.
    """

    quadratic: Quadratic
    terms: CoordinateTerms

    def minimise(self) -> Tensor:
        """Take coordinates in turn, then guess which are free; where guesses cycle, one by one.

        Many coordinates are not solved to the last digit.
        """
        start, lasso = self.quadratic.start, self.terms.lasso
        step = self._clamped(start) - start
        if self.terms.low is None and not bool((lasso > 0).any()):
            return self._ridge_step()
        step, is_close = self._coordinate_descent(step)
        if is_close and len(start) > MANY:
            return step
        step, exact = self._primal_dual(step)
        if exact:
            return step
        if len(start) > MANY:
            step = self._proximal_gradient(step)
        return step if self._is_enough(step) else self._active_set(step)

    def _is_enough(self, step: Tensor) -> bool:
        """Return True for a step of many coordinates that leaves a small share of its decrease.

        What the nonzero ones may still decrease is bounded by their minimiser at fixed signs, which
        may cross zero as if the penalty were linear.
        """
        if len(step) <= MANY:
            return False
        start, lasso = self.quadratic.start, self.terms.lasso
        x, value = start + step, self._value(step, self.quadratic.hessian @ step)
        sign = x.sign()
        ahead = self._among(~self._at_corner(x), step, sign)
        penalty = lasso @ (sign * (start + ahead) - start.abs())
        least = float(self.quadratic.value(ahead, self.quadratic.hessian @ ahead) + penalty)
        return value - least <= -DECREASE_LEFT * value

    def _ridge_step(self) -> Tensor:
        """Step to the minimiser without corners, with a cutoff that does not depend on units."""
        hessian, slope = self.quadratic.hessian, self.quadratic.slope
        diagonal = hessian.diagonal()
        scale = torch.where(diagonal > 0, diagonal, 1.0).rsqrt()
        scaled = slope * scale
        root = inverse_root(hessian * scale[:, None] * scale, scaled, torch.inf)
        return -scale * (root @ (root.T @ scaled))

    def _coordinate_descent(self, step: Tensor) -> tuple[Tensor, bool]:
        """Minimise over one coordinate at a time; return True with the step if little is left."""
        terms = self.terms
        bounds = None if terms.low is None or terms.high is None else (terms.low, terms.high)
        found = coordinate_descent(
            self.quadratic.hessian,
            self.quadratic.slope,
            self.quadratic.start,
            terms.lasso,
            bounds,
        )
        return (step, False) if found is None else (found[0], found[1] <= DECREASE_LEFT)

    def _primal_dual(self, step: Tensor) -> tuple[Tensor, bool]:
        """Guess the corners from a gradient step, solve for the rest, repeat.

        Where a guess repeats itself the solution is exact.  From a good start it takes two or
        three solves, however many coordinates change.  If the guesses cycle, the best step so far
        is returned.

        References
        ----------
        Hintermüller, Ito, Kunisch (2002). The primal-dual active set strategy as a semismooth
        Newton method, section 2.
        """
        hessian, start = self.quadratic.hessian, self.quadratic.start
        unit = 1 / hessian.diagonal().clamp(min=1e-300)
        guess: tuple[float, ...] = ()
        best, least, seen = step, torch.inf, {guess}
        for _ in range(MAX_STEPS):
            x, image = start + step, hessian @ step
            inside = self._clamped(x)
            allowed = step if inside is x else step + (inside - x)
            value = self._value(allowed, image if inside is x else hessian @ allowed)
            if value < least:
                best, least = allowed, value
            ahead = self._ahead(x, image + self.quadratic.slope, unit)
            free, sign = ~self._at_corner(ahead), ahead.sign()
            corners = torch.where(free, sign * (self.terms.lasso > 0), ahead)
            key = torch.cat([free.to(x.dtype), corners])
            before, guess = guess, tuple(key.tolist())
            if guess == before:
                return step, True
            if guess in seen:
                break
            seen.add(guess)
            step = self._among(free, ahead - start, sign)
        return best, False

    def _proximal_gradient(self, step: Tensor) -> Tensor:
        """Take accelerated proximal gradient steps; an exact minimiser would take too long.

        References
        ----------
        O'Donoghue, Candes (2015). Adaptive restart for accelerated gradient schemes, section 3.2.
        """
        hessian, slope, start = self.quadratic.hessian, self.quadratic.slope, self.quadratic.start
        length = 1 / hessian.abs().sum(dim=1).max().clamp(min=1e-300)
        before, extrapolated, momentum = step, step, 1.0
        for _ in range(MAX_EPOCHS):
            ahead = self._ahead(start + extrapolated, slope + hessian @ extrapolated, length)
            moved = torch.where(ahead == 0, -start, ahead - start)
            if float((extrapolated - moved) @ (moved - step)) > 0:
                momentum = 1.0
            following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
            extrapolated = moved + (momentum - 1) / following * (moved - step)
            step, momentum = moved, following
        value, least = (self._value(taken, hessian @ taken) for taken in (step, before))
        return step if value < least else before

    def _active_set(self, step: Tensor) -> Tensor:
        """Go to the exact minimiser, as far as rounding leaves the problem convex.

        Solve for the free coordinates; go so far towards them that the objective falls, and fix
        those that cross a corner at it.  Where none is in the way, those that violate their
        conditions are freed, until the free ones repeat or the objective rises.

        References
        ----------
        Osborne, Presnell, Turlach (2000). A new approach to variable selection in least squares
        problems, section 3.
        """
        hessian, slope, start = self.quadratic.hessian, self.quadratic.slope, self.quadratic.start
        x, value = start + step, self._value(step, hessian @ step)
        free, sign = ~self._at_corner(x), x.sign()
        best, least, seen = step, torch.inf, set()
        for _ in range(10 * len(x)):
            ahead = self._among(free, step, sign)
            target = torch.where(free, start + ahead, x)
            corner = torch.where(free, target.clamp(*self._between(sign)), x)
            reach = torch.where(corner == target, torch.inf, (corner - x) / (target - x))
            first = float(reach.min())
            if first <= 1:
                for share in _shares(first):
                    stops = reach <= share
                    moved = torch.where(stops, corner - start, step + share * (ahead - step))
                    lower = self._value(moved, hessian @ moved)
                    if lower < value:
                        break
                step, x = moved, torch.where(stops, corner, x + share * (target - x))
                value, free = lower, free & ~stops
                continue
            image = hessian @ ahead
            step, x, value = ahead, target, self._value(ahead, image)
            guess = tuple((free * sign).tolist())
            if guess in seen or not value <= least:
                break
            best, least = step, value
            seen.add(guess)
            low, high = self.terms.subgradients(x)
            up, down = -(slope + image) - high, low + slope + image
            violation = torch.where(free, 0.0, torch.maximum(up, down))
            freed = violation > ROUNDING_DISTANCE * (slope - hessian @ start).abs().max()
            if not bool(freed.any()):
                break
            free = free | freed
            sign = torch.where(freed & (x == 0), torch.where(up > down, 1.0, -1.0), sign)
        return best

    def _value(self, step: Tensor, image: Tensor) -> float:
        start = self.quadratic.start
        penalty = self.terms.lasso @ ((start + step).abs() - start.abs())
        return float(self.quadratic.value(step, image) + penalty)

    def _ahead(self, x: Tensor, slope: Tensor, unit: Tensor) -> Tensor:
        """Return the coordinates after a proximal gradient step of a length each."""
        ahead = x - unit * slope
        return self._clamped(ahead.sign() * (ahead.abs() - unit * self.terms.lasso).clamp(min=0.0))

    def _clamped(self, x: Tensor) -> Tensor:
        return x if self.terms.low is None else x.clamp(self.terms.low, self.terms.high)

    def _at_corner(self, x: Tensor) -> Tensor:
        corner = (x == 0) & (self.terms.lasso > 0)
        if self.terms.low is None or self.terms.high is None:
            return corner
        return corner | (x <= self.terms.low) | (x >= self.terms.high)

    def _among(self, free: Tensor, step: Tensor, sign: Tensor) -> Tensor:
        """Step to the minimiser over free coordinates of given signs; keep the others' steps."""
        hessian = self.quadratic.hessian
        step = torch.where(free, 0.0, step)
        chosen = free.nonzero()[:, 0]
        if len(chosen):
            slope = self.quadratic.slope + hessian @ step + self.terms.lasso * sign
            step[chosen] = solve(hessian[chosen][:, chosen], -slope[chosen])
        return step

    def _between(self, sign: Tensor) -> tuple[Tensor, Tensor]:
        """Corners left and right of coordinates of given signs."""
        curved = self.terms.lasso > 0
        low, high = self.terms.low, self.terms.high
        low = torch.full_like(sign, -torch.inf) if low is None else low
        high = torch.full_like(sign, torch.inf) if high is None else high
        left = torch.where(curved & (sign > 0), low.clamp(min=0.0), low)
        right = torch.where(curved & (sign < 0), high.clamp(max=0.0), high)
        return left, right
