"""How far a point is from the optimum, proven by duality.

## Exactness and certificates

Every fit comes with two figures for how good it is, and neither needs the optimum F* to be known.

- `optimality_` is ``sqrt((F - F*) / F)`` as the solver's last quadratic model predicts it. It has
  one meaning for every solver, penalty and container, and `tol` is its bound: at ``tol=1e-4`` the
  objective is within about 1e-8 of its minimum, relatively. A prediction is taken for true where
  an exact Hessian, or the steps before, confirmed it; else the fit goes on.
- `duality_gap_` is a theorem, not a prediction: by weak duality the objective at any dual point is
  at most F*, so ``(F - F*) / F`` is at most this. It is larger than the truth, mostly by little.
  It is nan where no finite bound exists: with ``C=inf``, with a feature of penalty 0.

`converged_` says that ``optimality_ <= tol``. Where it is False, one `ConvergenceWarning` says
why: too few iterations, separable classes without a penalty, or the rounding of the data's type.

What the objective's distance means for the coefficients is a matter of its curvature: where
columns nearly repeat each other, coefficients may move far at no cost. Take ``tol=1e-8`` to compare
coefficients rather than probabilities.

>>> from sklearn.datasets import load_breast_cancer
>>> from sklearn.preprocessing import scale
>>> from skorch_logreg import TorchLogisticClassifier
>>> X, y = load_breast_cancer(return_X_y=True)
>>> model = TorchLogisticClassifier(tol=1e-6).fit(scale(X), y)
>>> model.optimality_ <= 1e-6, model.duality_gap_ <= 1e-10
(True, True)
"""

from dataclasses import replace

import torch
from torch import Tensor

from skorch_logreg.data import Block
from skorch_logreg.objective import SUM_ROUNDING, Objective, Point, inner

_EPS = torch.finfo(torch.float64).eps
_MAX_SHIFT = 1e-3  # step of the intercepts, at most, that residuals take without a look
_MIN_REG_STRENGTH = 1e-200  # strength at which nothing but a constraint counts


def duality_gap(objective: Objective, point: Point, slack: Tensor | None = None) -> Tensor:
    """Bound ``F - F*`` (m,), from the dual point that the residuals are; inf if there is none.

    The residuals are scaled into the domain of the penalty's conjugate.  An intercept has no
    penalty, so they also have to sum to zero, else the dual value is minus infinity: where its
    gradient is more than rounding they are moved first.  By Fenchel and Young the gap is a sum
    of non-negative terms, one a row and one a feature; neither is a difference of the two
    objectives.

    Parameters
    ----------
    slack : Tensor of shape (m,) or None
        Size of a gradient entry that counts as none: what its rounding may be.

    Notes
    -----
    Far from the best intercept there is no bound. One pass over X where residuals are moved.

    References
    ----------
    Ndiaye, Fercoq, Gramfort, Salmon (2017). Gap safe screening rules for sparsity enforcing
    penalties, section 2.
    """
    penalty = objective.penalty
    held = penalty.coercive(objective.reg_strength)
    if not any(held.tolist()):
        return torch.full_like(point.value, torch.inf)
    sums, step = point.gradient[..., -1].abs().amax(dim=-1), None
    if bool((sums > SUM_ROUNDING * point.value).any()):
        gradient, step = objective.feasible_gradient(point)
        point = replace(point, gradient=gradient)
    features, scale = penalty_gap(objective, point, slack)
    if step is None and not bool((scale < 1).any()):
        return torch.where(held, features, torch.inf)

    def kernel(block: Block, logits: Tensor) -> tuple[Tensor, ...]:
        value, residual = objective.loss.value_residual(logits, block.targets)
        residual = objective.moved_residual(logits, residual, step)
        product = (residual * logits).sum(dim=-1) * scale
        conjugate = objective.loss.conjugate(residual * scale[:, None], block.targets)
        return (((value + conjugate - product) * block.weight).sum(dim=0),)

    (rows,) = objective.data.reduce(kernel, point.logits, reads=0)
    if step is None:
        rows = torch.where(scale < 1, rows, 0.0)
    else:
        held = held & step.isfinite().all(dim=-1)
    return torch.where(held, rows.clamp(min=0.0) + features, torch.inf)


def duality_gap_nearby(objective: Objective, point: Point) -> Tensor | None:
    """Bound ``F - F*`` (m,) of a smooth objective near its best intercepts, where no row is read.

    None where the residuals of a model move too far for that.  The rows' share is the divergence
    of Kullback and Leibler between their probabilities, which is half the chi-squared,
    ``d'Hd / 2``, up to a factor of ``1 + |d|``.
    """
    gradient, step = objective.feasible_gradient(point)
    if not bool((step.abs() <= _MAX_SHIFT).all()):
        return None
    rows = (point.gradient[..., -1] * step).sum(dim=-1) * ((1 + _MAX_SHIFT) / 2)
    return duality_gap(objective, replace(point, gradient=gradient)) + rows


def penalty_gap(
    objective: Objective, point: Point, slack: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Share (m,) of the features in the duality gap, and the factor (m,) of the dual point.

    The rows' share is of second order in what the factor falls short of 1.
    """
    penalty, coef = objective.penalty, point.params[..., :-1]
    reg_strength = objective.reg_strength.clamp(min=_MIN_REG_STRENGTH)
    weight = reg_strength[:, None, None]
    if penalty.smooth and penalty.quadratic:
        # the conjugate is finite everywhere, and that of the gradient has no cancellation
        features = penalty.conjugate(point.gradient[..., :-1] / weight)
        return reg_strength * features, torch.ones_like(reg_strength)
    dual = -objective.loss_gradient(point)[..., :-1]
    if slack is not None:
        dual = dual.sign() * (dual.abs() - slack[:, None, None]).clamp(min=0.0)
    dual = dual / weight
    scale = penalty.dual_scale(dual)
    dual = dual * scale[:, None, None]
    features = penalty.value(coef) + penalty.conjugate(dual) - inner(dual, coef)
    return (reg_strength * features).clamp(min=0.0), scale


def gap_beyond_rounding(objective: Objective, point: Point) -> Tensor:
    """Duality gap (m,) less what rounding alone makes of a gap of zero.

    The gap falls with the gradient's error, not with its square.  Each gradient entry is a sum
    of residuals times columns of size one, and counts as often as its coefficient; where the
    strength of a column is below that rounding, the whole gap would be decided by it.
    """

    def kernel(block: Block, logits: Tensor) -> tuple[Tensor, ...]:
        residual = objective.loss.residual_curvature(logits, block.targets)[0]
        return ((residual.abs().sum(dim=-1) * block.weight).sum(dim=0),)

    (size,) = objective.data.reduce(kernel, point.logits, reads=0)
    weights = point.params[..., :-1].abs().sum(dim=(1, 2))
    rounding = 128 * _EPS * (point.value.abs() + size * weights)
    return (duality_gap(objective, point, 16 * _EPS * size) - rounding).clamp(min=0.0)
