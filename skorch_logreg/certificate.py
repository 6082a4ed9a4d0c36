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

import torch
from torch import Tensor

from skorch_logreg.data import Block
from skorch_logreg.objective import Objective, Point, inner

_EPS = torch.finfo(torch.float64).eps
_FAINT = 1e-200  # strength at which nothing but a constraint counts


def duality_gap(objective: Objective, point: Point, slack: Tensor | None = None) -> Tensor:
    """Bound ``F - F*`` (m,) where the intercept has been minimised; inf if there is no bound.

    The residuals, scaled into the domain of the penalty's conjugate, are a dual point.  By
    Fenchel and Young the gap is a sum of non-negative terms, one a row and one a feature;
    neither is a difference of the two objectives.

    Parameters
    ----------
    slack : Tensor of shape (m,) or None
        Size of a gradient entry that counts as none: what its rounding may be.

    References
    ----------
    Ndiaye, Fercoq, Gramfort, Salmon (2017). Gap safe screening rules for sparsity enforcing
    penalties, section 2.
    """
    penalty = objective.penalty
    held = penalty.coercive(objective.strength)
    if not any(held.tolist()):
        return torch.full_like(point.value, torch.inf)
    features, scale = penalty_gap(objective, point, slack)
    if not bool((scale < 1).any()):
        return torch.where(held, features, torch.inf)

    def kernel(block: Block, logits: Tensor) -> tuple[Tensor, ...]:
        value, residual = objective.loss.value_residual(logits, block.targets)
        product = (residual * logits).sum(dim=-1) * scale
        conjugate = objective.loss.conjugate(residual * scale[:, None], block.targets)
        return (((value + conjugate - product) * block.weight).sum(dim=0),)

    (rows,) = objective.data.reduce(kernel, point.logits, reads=0)
    gap = torch.where(scale < 1, rows, 0.0).clamp(min=0.0) + features
    return torch.where(held, gap, torch.inf)


def penalty_gap(
    objective: Objective, point: Point, slack: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Share (m,) of the features in the duality gap, and the factor (m,) of the dual point.

    The rows' share is of second order in what the factor falls short of 1.
    """
    penalty, coef = objective.penalty, point.params[..., :-1]
    faint = objective.strength.clamp(min=_FAINT)
    strength = faint[:, None, None]
    if penalty.smooth and penalty.quadratic:
        # the conjugate is finite everywhere, and that of the gradient has no cancellation
        features = penalty.conjugate(point.gradient[..., :-1] / strength)
        return faint * features, torch.ones_like(faint)
    dual = -objective.loss_gradient(point)[..., :-1]
    if slack is not None:
        dual = dual.sign() * (dual.abs() - slack[:, None, None]).clamp(min=0.0)
    dual = dual / strength
    scale = penalty.dual_scale(dual)
    dual = dual * scale[:, None, None]
    features = penalty.value(coef) + penalty.conjugate(dual) - inner(dual, coef)
    return faint * features, scale


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
