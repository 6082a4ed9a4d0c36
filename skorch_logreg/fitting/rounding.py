"""Round parameters to the type in which they are stored, and bound what that costs."""

import math

import torch
from torch import Tensor

from skorch_logreg.objective import Objective, inner
from skorch_logreg.solvers import Outcome
from skorch_logreg.units import Params, Units

_EPS = torch.finfo(torch.float64).eps
_ROUNDING = 4e-16  # of a value, relative to it
_DEVIATION = 2.0  # root mean square of a column, at most, where a sample of rows gave its unit
_NEGLIGIBLE = 0.1  # share of a gap that a bound without a pass over X may add


def stored(params: Params, units: Units, dtype: torch.dtype) -> Params:
    """Round parameters to ``dtype``; they are returned in float64.

    The intercept takes up what rounding the coefficients does to the mean logit: where columns
    have large means, it is the only parameter whose rounding moves all logits.
    """
    coef = params.coef.to(dtype).to(torch.float64)
    intercept = params.intercept + (params.coef - coef) @ units.center
    return Params(coef, intercept.to(dtype).to(torch.float64))


def stored_gap(
    objective: Objective, units: Units, params: Params, outcome: Outcome, dtype: torch.dtype
) -> Tensor:
    """Bound the relative distance from the optimum of parameters as they are stored.

    Parameters
    ----------
    objective : Objective
    units : Units
    params : Params
        As they are stored, in the units of X.
    outcome : Outcome
        What the solver found.
    dtype : torch.dtype
        Type of the stored parameters.

    Returns
    -------
    gap : Tensor of shape (m,)
        Relative to the objective; nan where the duality gap is.

    Notes
    -----
    Let ``d`` be what rounding adds to the parameters and ``q`` a bound of ``d'Hd`` wherever the
    Hessian is taken.  No coefficient changes its sign, so that ``F* <= F + t g'd + t^2 q / 2`` for
    steps t up to millions, whose least value bounds the slope: ``|g'd| <= sqrt(2 q (F - F*))``.
    The objective grows by that and ``q / 2`` at most.  Where it adds more than a tenth to the gap,
    and where constraints bound t, the objective is evaluated: one pass over X.
    """
    found, gap, value = outcome.params, outcome.duality_gap, outcome.value
    if not bool(gap.isfinite().any()):
        return gap
    at = units.to_solver(params)
    change = at - found
    if objective.loss.n_outputs > 1:  # a constant for all classes changes no probability
        change = change - change.mean(dim=1, keepdim=True)
    size = params.intercept.abs() + params.coef.abs() @ units.center.abs()
    unsure = _EPS * found.abs()
    unsure[..., -1] += (2 + math.log2(found.shape[-1])) * _EPS * size
    length = change.abs() + unsure
    radius = _DEVIATION * length[..., :-1].sum(dim=-1) + length[..., -1]
    curvature = 0.25 if objective.loss.n_outputs == 1 else 0.5
    total = objective.data.weight.sum(dim=0)
    quadratic_bound = curvature * total * radius.square().sum(dim=-1)
    ridge = objective.penalty_diagonal(found)[..., :-1]
    quadratic_bound = quadratic_bound + (ridge * length[..., :-1].square()).sum(dim=(1, 2))
    # a norm of a group is as curved as it is short: relative rounding enters with its square
    quadratic_bound = quadratic_bound + torch.finfo(dtype).eps ** 2 * value
    grown = (2 * quadratic_bound * gap * value).sqrt() + quadratic_bound / 2
    small = grown <= (_NEGLIGIBLE * gap + _ROUNDING) * value
    if objective.penalty.constrains or not bool((small | gap.isnan()).all()):
        point = objective.evaluate(at)
        moved = (point.value - value).clamp(min=0.0)
        grown = moved + inner(point.gradient.abs(), unsure) + _ROUNDING * value
    return gap + grown / value
