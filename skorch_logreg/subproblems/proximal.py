"""Quadratic problems with any penalty that has a proximal operator."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from skorch_logreg.penalties.protocol import Penalty
from skorch_logreg.subproblems.quadratic import MAX_STEPS, ROUNDING, Quadratic

_EPS = torch.finfo(torch.float64).eps
_GROWTH = 10.0  # ratio of successive proximal point steps; each is solved to a share of 1 / 10
_MAX_LENGTH = 1e9  # longest proximal point step relative to the first one


def minimise(quadratic: Quadratic, penalty: Penalty, strength: Tensor) -> Tensor:
    """Return the step (q,) to the minimiser of the sum with ``strength * penalty(start + d)``.

    Newton's method on the fixed-point equation of the proximal gradient step is exact and fast near
    the minimiser.  Far from it proximal point steps of increasing length lead there.
    Only the `prox` of the penalty of the q coordinates is used.

    References
    ----------
    Rockafellar (1976). Monotone operators and the proximal point algorithm, SIAM Journal on
    Control and Optimization 14.  Li, Sun, Toh (2018). A highly efficient semismooth Newton
    augmented Lagrangian method for solving lasso problems, SIAM Journal on Optimization 28.
    """
    problem = _Problem(quadratic, penalty, strength)
    step, x = torch.zeros_like(quadratic.start), quadratic.start
    step, x, solved = problem.polish(step, x)
    first = length = 1 / max(float(quadratic.hessian.diagonal().mean()), 1e-300)
    for _ in range(3 * MAX_STEPS):
        if solved:
            break
        found = problem.proximal_point(step, x, length)
        if found is None:
            length /= _GROWTH
            continue
        is_still = length >= first * _MAX_LENGTH and torch.equal(found[1] != 0, x != 0)
        step, x, solved = problem.polish(*found)
        if is_still:
            break
        length = min(length * _GROWTH, first * _MAX_LENGTH)
    return step


@dataclass(frozen=True)
class _Problem:
    """Sum of a quadratic function and a penalty.

    A step and the coordinates ``x = start + step`` are stored apart: a short step has digits that
    the coordinates lack, and these are zero where the proximal operator says so.
    """

    quadratic: Quadratic
    penalty: Penalty
    strength: Tensor

    @cached_property
    def size(self) -> Tensor:
        """Absolute values of the Hessian."""
        return self.quadratic.hessian.abs()

    def prox(self, points: Tensor, length: float) -> Tensor:
        """Apply the proximal operator to points (b, q)."""
        steps = (self.strength * length).expand(len(points))
        return self.penalty.prox(points[:, None], steps)[:, 0]

    def jacobian(self, point: Tensor, image: Tensor, length: float) -> tuple[Tensor, Tensor]:
        """Approximate the Jacobian of the proximal operator by central differences.

        It is that of the penalty of the coordinates that are not zero, as zeros stay zero.
        Returns the indices (s,) of those that are not zero and not at a bound, and their
        Jacobian (s, s), which is symmetric; that of the others is zero.
        """
        support = image.nonzero()[:, 0]
        if not len(support):
            return support, point.new_zeros(0, 0)
        own = _Problem(self.quadratic, self.penalty.of_columns(support), self.strength)
        label = own.penalty.blocks()
        label = torch.zeros_like(support) if label is None else label
        same = label[:, None] == label
        # coordinates of different blocks are shifted together
        place = same.tril(-1).sum(dim=1)
        point, image = point[support], image[support]
        shift = torch.minimum(_EPS ** (1 / 3) * point.abs(), image.abs() / 2).clamp(min=1e-300)
        shifts = point.new_zeros(int(place.max()) + 1, len(support))
        shifts[place, torch.arange(len(support), device=place.device)] = shift
        after, before = own.prox(torch.cat([point + shifts, point - shifts]), length).chunk(2)
        found = torch.where(same, (after - before)[place] / (2 * shift[:, None]), 0.0)
        found = (found + found.T) / 2
        for whole in (0.0, 1.0):
            found = torch.where((found - whole).abs() < _EPS**0.5, whole, found)
        free = found.any(dim=1)
        return support[free], found[free][:, free]

    def proximal_point(
        self, step: Tensor, center: Tensor, length: float
    ) -> tuple[Tensor, Tensor] | None:
        """Minimise the sum plus ``|x - center|^2 / (2 length)``; None if that takes too long.

        With ``H = L L'`` the dual problem is smooth in ``L'b``, its gradient is ``L'e`` with
        ``e = x(b) - start - b`` and ``x(b) = prox(center - length (slope + Hb))``, and its Hessian
        ``-(1 + length L'PL)`` with the Jacobian P of the proximal operator.  Newton's steps in b
        need H, not L.
        """
        hessian, slope, start = self.quadratic.hessian, self.quadratic.slope, self.quadratic.start

        def at(b: Tensor, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            point = center - length * (slope + image)
            x = self.prox(point[None], length)[0]
            return point, x, x - start - b

        b, image = step, hessian @ step
        point, x, error = at(b, image)
        for _ in range(MAX_STEPS):
            residual = hessian @ error
            rounding = self.size @ (point.abs() + x.abs() + start.abs())
            allowed = float((x - center).norm()) / (_GROWTH * length)
            if float(residual.norm()) <= max(allowed, 8 * _EPS * float(rounding.norm())):
                return torch.where(x == 0, -start, b + error), x
            free, jacobian = self.jacobian(point, x, length)
            matrix = length * hessian[free][:, free] @ jacobian
            matrix.diagonal().add_(1.0)
            move = error.clone()
            move[free] -= length * jacobian @ torch.linalg.solve_ex(matrix, residual[free])[0]
            change = hessian @ move
            slope_before, share = float(change @ error), 1.0
            while True:
                ahead = at(b + share * move, image + share * change)
                slope_after = float(change @ ahead[2])
                if slope_after >= -slope_before / 2 or share < _EPS**0.5:
                    break
                share /= 2
            b, image = b + share * move, image + share * change
            point, x, error = ahead
        return None

    def polish(self, step: Tensor, x: Tensor) -> tuple[Tensor, Tensor, bool]:
        """Solve ``x = prox(x - t gradient)`` by Newton's method, if it converges from here.

        Returns the solution, or the arguments, and whether it was found.
        """
        begin = step, x
        hessian, slope, start = self.quadratic.hessian, self.quadratic.slope, self.quadratic.start
        length = 1 / max(float(self.size.sum(dim=1).max()), 1e-300)
        before = torch.inf
        for _ in range(MAX_STEPS):
            point = x - length * (slope + hessian @ step)
            image = self.prox(point[None], length)[0]
            left = float((image - x).norm())
            size = x.abs() + length * (self.size @ step.abs() + slope.abs())
            if left <= 4 * _EPS * float(size.norm()):
                return step, x, True
            if not left <= before / 2:
                break
            before = left
            free, jacobian = self.jacobian(point, image, length)
            matrix = length * jacobian @ hessian[free][:, free] - jacobian
            matrix.diagonal().add_(1.0 + ROUNDING)
            move = image - x
            target, move[free] = move[free], 0.0
            target = target - length * (jacobian @ (hessian[free] @ move))
            ahead = step[free] + torch.linalg.solve_ex(matrix, target)[0]
            step, x = image - start, image
            step[free] = ahead
            x[free] = start[free] + ahead
        return *begin, False
