"""The lasso and its mixtures with ridge."""

import threading
import warnings
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from skorch_logreg.penalties.protocol import Penalty
from skorch_logreg.penalties.quadratic import eliminated, solve

_GUESSES = 20
_MANY = 256  # coordinates, from which coordinate descent is quicker than solving for signs
_EPOCHS = 6  # of coordinate descent in a round
_ROUNDS = 20
_SIGNS = 0.02  # share of signs in doubt, up to which solving for them is quicker still
_LEFT = 0.1  # of what could be gained, after coordinate descent
_QUIET = threading.Lock()  # warning filters are one list for all threads


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

    smooth: ClassVar[bool] = False
    quadratic: ClassVar[bool] = True
    l1_ratio: float
    factor: Tensor | None = None
    scale: Tensor | None = None

    def value(self, coef: Tensor) -> Tensor:
        """Value (m,)."""
        lasso, ridge = self.weights(coef)
        return (lasso * coef.abs() + ridge / 2 * coef.square()).sum(dim=(1, 2))

    def value_gradient(self, coef: Tensor) -> tuple[Tensor, Tensor]:
        """Value (m,) and gradient (m, K, p) of the ridge part."""
        return self.value(coef), self.weights(coef)[1] * coef

    def hess_diagonal(self, coef: Tensor) -> Tensor:
        """Diagonal of the ridge part's Hessian, (m, K, p)."""
        return self.weights(coef)[1].expand_as(coef)

    def prox(self, coef: Tensor, step: Tensor) -> Tensor:
        """Soft threshold, then shrinkage (Parikh and Boyd 2014, section 6.5.3)."""
        lasso, ridge = self.weights(coef)
        size = (coef.abs() - step[:, None, None] * lasso).clamp(min=0.0)
        return coef.sign() * size / (1 + step[:, None, None] * ridge)

    def subgradient_distance(self, coef: Tensor, gradient: Tensor, strength: Tensor) -> Tensor:
        """Distance (m, K, p) of ``-gradient`` to the penalty's subdifferential."""
        lasso, ridge = self.weights(coef)
        lam = strength[:, None, None]
        total = gradient + lam * ridge * coef
        at_zero = (total.abs() - lam * lasso).clamp(min=0.0)
        return torch.where(coef == 0, at_zero, (total + lam * lasso * coef.sign()).abs())

    def quadratic_step(
        self, hessian: Tensor, slope: Tensor, start: Tensor, index: Tensor, strength: Tensor
    ) -> Tensor:
        """Solve for the signs of the minimiser; unpenalised coordinates are eliminated first."""
        lasso, ridge = (w[index] if w.ndim else w.expand(len(index)) for w in self.weights(slope))
        lasso, ridge = strength * lasso, strength * ridge

        def penalised(hessian: Tensor, slope: Tensor, start: Tensor, held: Tensor) -> Tensor:
            return _lasso(hessian, slope, lasso[held], start)

        if bool((ridge > 0).any()):
            hessian, slope = hessian.clone(), slope + ridge * start
            hessian.diagonal().add_(ridge)
        return eliminated(hessian, slope, start, lasso == 0, penalised)

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
        """Constants (m, 1, p), between ``low`` and ``high``, of `balanced`.

        Parameters
        ----------
        coef : Tensor of shape (m, K, p)
        strength : Tensor of shape (m,)
        low, high : Tensor of shape (m, 1, p) or ()
        """
        lasso, ridge = (strength[:, None, None] * weight for weight in self.weights(coef))
        ordered = coef.sort(dim=1).values
        n_classes = coef.shape[1]
        # where the sum of absolute values is least
        first = torch.where(lasso > 0, -ordered[:, n_classes // 2, None], -torch.inf)
        last = torch.where(lasso > 0, -ordered[:, (n_classes - 1) // 2, None], torch.inf)
        best = -coef.mean(dim=1, keepdim=True)
        first, last = (end.clamp(low, high) for end in (first, last))
        return torch.where(ridge > 0, 0.0, torch.minimum(torch.maximum(best, first), last))

    def coercive(self, strength: Tensor) -> Tensor:
        """Return True (m,) where every feature has a positive strength."""
        return (strength > 0) & (self.factor is None or bool((self.factor > 0).all()))

    def without_excluded(self) -> tuple["ElasticNet", Tensor | None]:
        """Give excluded features, whose strength is infinite, a finite one; say which they are."""
        if self.factor is None or not bool(self.factor.isinf().any()):
            return self, None
        excluded = self.factor.isinf()
        return replace(self, factor=torch.where(excluded, 1.0, self.factor)), excluded

    def of_columns(self, columns: Tensor) -> "ElasticNet":
        """Return the penalty of some features' coefficients."""
        factor = None if self.factor is None else self.factor[columns]
        scale = None if self.scale is None else self.scale[columns]
        return replace(self, factor=factor, scale=scale)

    def in_units(self, scale: Tensor) -> "ElasticNet":
        """Return the penalty of ``v = w * scale``."""
        return replace(self, scale=scale if self.scale is None else self.scale * scale)

    def weights(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Strengths of the absolute value and of the square, in the coefficients' units."""
        one = like.new_ones(())
        factor = one if self.factor is None else self.factor
        scale = one if self.scale is None else self.scale
        return self.l1_ratio * factor / scale, (1 - self.l1_ratio) * factor / scale.square()


def _lasso(hessian: Tensor, slope: Tensor, lasso: Tensor, start: Tensor) -> Tensor:
    """Step ``d`` to the minimiser of ``1/2 d'Hd + slope'd + sum_j lasso_j |start_j + d_j|``.

    All ``lasso_j`` are positive.
    """
    if not len(slope):
        return slope
    step = torch.zeros_like(start)
    if len(slope) > _MANY and slope.device.type == "cpu" and _far(hessian, slope, lasso, start):
        x, enough = _coordinate_descent(hessian, hessian @ start - slope, lasso, start)
        step = x - start
        if enough:
            return step
    step, exact = _primal_dual(hessian, slope, lasso, start, step)
    return step if exact else _active_set(hessian, slope, lasso, start, step)


def _far(hessian: Tensor, slope: Tensor, lasso: Tensor, x: Tensor) -> bool:
    """Return True if many signs differ from those after a gradient step."""
    changes = _sign_ahead(x, slope, lasso, hessian.diagonal()) != x.sign()
    return int(changes.sum()) > _SIGNS * len(x)


def _for_signs(
    hessian: Tensor, slope: Tensor, lasso: Tensor, start: Tensor, sign: Tensor
) -> Tensor:
    """Step from ``start`` to the minimiser among coordinates of given signs; the others are 0."""
    chosen = sign.nonzero()[:, 0]
    step = torch.where(sign == 0, -start, 0.0)
    if len(chosen):
        rest = slope + hessian @ step if bool((step != 0).any()) else slope
        target = -rest[chosen] - lasso[chosen] * sign[chosen]
        step[chosen] = solve(hessian[chosen][:, chosen], target)
    return step


def _sign_ahead(x: Tensor, slope: Tensor, lasso: Tensor, bend: Tensor) -> Tensor:
    unit = 1 / bend.clamp(min=1e-300)
    ahead = x - unit * slope
    return torch.where(ahead.abs() > unit * lasso, ahead.sign(), 0.0)


def _coordinate_descent(
    hessian: Tensor, linear: Tensor, lasso: Tensor, start: Tensor
) -> tuple[Tensor, bool]:
    """Go through the coordinates in turn until little is left, if that is not too often.

    scikit-learn's compiled loop takes one strength for all, so coordinates are scaled to it.

    References
    ----------
    Friedman, Hastie, Tibshirani (2010). Regularization paths for generalized linear models via
    coordinate descent, section 2.2.
    """
    from sklearn.linear_model import enet_path  # what it brings along takes long to import

    unit = lasso.amin() / lasso
    scaled = hessian if bool((unit == 1).all()) else (hessian * unit).mul_(unit[:, None])
    target, bound = (linear * unit).numpy(), float(lasso.amin())
    gram, x = scaled.contiguous().numpy(), (start / unit).numpy()
    bend = gram.diagonal().clip(min=1e-300)

    def left(x: np.ndarray) -> float:
        slope = gram @ x - target
        at_zero = np.maximum(np.abs(slope) - bound, 0.0)
        return float((np.where(x == 0, at_zero, slope + bound * np.sign(x)) ** 2 / bend).sum())

    begun = now = left(x)
    shape = np.zeros((1, len(target)), order="F")
    for _ in range(_ROUNDS):
        if now <= _LEFT * begun:
            break
        with _QUIET, warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            # a "residual" so long that nothing is screened, and no early end
            x = enet_path(
                shape, np.array([1e12 * bound]), l1_ratio=1.0, alphas=[bound], precompute=gram,
                Xy=target, coef_init=x, max_iter=_EPOCHS, tol=1e-300, check_input=False,
            )[1][:, 0]  # fmt: skip
        x = np.ascontiguousarray(x)
        now = left(x)
    return torch.from_numpy(x) * unit, now <= _LEFT * begun


def _primal_dual(
    hessian: Tensor, slope: Tensor, lasso: Tensor, start: Tensor, step: Tensor
) -> tuple[Tensor, bool]:
    """Guess the signs from a gradient step, solve for them, repeat.

    Where the signs repeat themselves the solution is exact.  From a good start it takes two or
    three solves, whatever the number of signs that change.  It may go round, and then the best
    step so far is what it gives.

    References
    ----------
    Hintermüller, Ito, Kunisch (2002). The primal-dual active set strategy as a semismooth Newton
    method, section 2.
    """
    bend, before = hessian.diagonal(), None
    best, least = step, torch.inf
    for _ in range(_GUESSES):
        image, x = hessian @ step, start + step
        value = float((image / 2 + slope) @ step + lasso @ (x.abs() - start.abs()))
        if value < least:
            best, least = step, value
        sign = _sign_ahead(x, image + slope, lasso, bend)
        if before is not None and torch.equal(sign, before):
            return step, True
        step = _for_signs(hessian, slope, lasso, start, sign)
        before = sign
    return best, False


def _active_set(
    hessian: Tensor, slope: Tensor, lasso: Tensor, start: Tensor, step: Tensor
) -> Tensor:
    """Go to the exact minimiser, one sign at a time.

    Solve on the support for fixed signs; go there, or as far as the first coefficient that
    reaches zero and leaves; where the signs hold, the coordinate that violates its condition
    most comes in.  The objective falls at every step, so it ends.

    References
    ----------
    Osborne, Presnell, Turlach (2000). A new approach to variable selection in least squares
    problems, section 3.
    """
    sign = (start + step).sign()
    came_in = -1
    for _ in range(10 * len(step)):
        target = _for_signs(hessian, slope, lasso, start, sign)
        here, there = start + step, start + target
        crosses = there * sign < 0
        reach = torch.where(crosses, here / (here - there), torch.inf)
        share = min(float(reach.min()), 1.0)
        if share < 1:
            gone = reach == reach.min()
            step = torch.where(gone, -start, step + share * (target - step))
            sign[gone] = 0.0
            if share == 0 and came_in >= 0 and bool(gone[came_in]):
                break  # rounding: it neither may stay nor go
            continue
        step = target
        rest = -(slope + hessian @ step)
        violation = torch.where(sign != 0, 0.0, rest.abs() / lasso - 1)
        worst = int(violation.argmax())
        if violation[worst] <= 1e-13:
            break
        sign[worst], came_in = rest[worst].sign(), worst
    return step
