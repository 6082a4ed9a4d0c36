"""Rounding of parameters to the type in which they are stored, and its effect on the gap."""

import math

import torch
from torch import Tensor

from skorch_logreg.objective import VALUE_ROUNDING, Objective, Params, Units, inner
from skorch_logreg.solvers import Outcome, Status

_EPS = torch.finfo(torch.float64).eps  # unit roundoff of float64
_MAX_RMS = 2.0  # largest root mean square of a column, if its unit is from a sample of rows
_MAX_ADDED_SHARE = (
    0.1  # share of the gap, or of its goal, that may be added without evaluating the objective
)


def stored(params: Params, units: Units, dtype: torch.dtype, coef_only: bool = False) -> Params:
    """Round parameters to ``dtype`` and return them in float64; ``coef_only`` keeps intercepts.

    The intercept compensates for the change of the mean logit by rounding the coefficients, which
    is large if columns have large means.  Where no minimiser exists, parameters beyond the range of
    the type are scaled down.
    """
    if dtype == torch.float64:
        return params
    size = params.coef.abs().sum(dim=-1) * (1 + units.center.abs().max()) + params.intercept.abs()
    factor = torch.finfo(dtype).max / (2 * size.amax(dim=1)[:, None].clamp(min=1.0))
    if bool((factor < 1).any()):
        factor = factor.clamp(max=1.0)
        params = Params(params.coef * factor[..., None], params.intercept * factor)
    coef = params.coef.to(dtype).to(torch.float64)
    intercept = params.intercept + (params.coef - coef) @ units.center
    return Params(coef, intercept if coef_only else intercept.to(dtype).to(torch.float64))


def stored_gap(
    objective: Objective,
    units: Units,
    params: Params,
    outcome: Outcome,
    *,
    dtype: torch.dtype,
    tol: float,
) -> tuple[Tensor, Tensor]:
    """Bound the relative suboptimality of rounded parameters.

    ``outcome`` is the result of the solver, and ``params`` are its parameters rounded to ``dtype``,
    in the units of X. Returns the duality gap (m,) relative to the objective, nan if that of
    ``outcome`` is, and the relative increase (m,) of the objective by rounding. Where there is no
    gap, the increase assumes that the objective is ``tol**2`` from its minimum.

    Notes
    -----
    Let ``d`` be the rounding error of the parameters and ``q`` a bound on ``d'Hd`` for the Hessian
    at any point.  Rounding does not change the sign of a coefficient, so
    ``F* <= F + t g'd + t^2 q / 2`` for steps t up to millions, and the minimum over t bounds the
    slope: ``|g'd| <= sqrt(2 q (F - F*))``.  The objective increases by at most that plus
    ``q / 2``.  If this adds more than a tenth to the gap or to ``tol**2``, or if constraints limit
    t, the objective is evaluated in two passes over X.
    """
    found, value = outcome.params, outcome.value
    gap = outcome.duality_gap.nan_to_num(tol**2, math.inf)
    eps, loss = torch.finfo(dtype).eps, objective.loss
    # of all that is rounded, the part that the units take for zero included
    whole, intercept = units.scaled(params.coef), params.intercept.abs()
    own = whole.abs().sum(dim=-1)
    # float64 errors of the intercept, a sum of p + 1 terms, and of the conversion of units
    size = params.coef.abs() @ units.center.abs() + intercept
    conversion = (3 + math.log2(found.shape[-1])) * _EPS * size
    radius = _MAX_RMS * (eps / 2 + 2 * _EPS) * own + eps / 2 * intercept + conversion
    curvature = 0.25 if loss.n_outputs == 1 and loss.nuisance is None else 0.5
    total = objective.data.weight.sum(dim=0)
    # a ridge, and the norm of a short group, grow with the square of the relative rounding error
    ridge = objective.reg_strength * objective.penalty.value(whole)
    q = curvature * total * radius.square().sum(dim=-1) + 2 * eps**2 * torch.maximum(value, ridge)
    grown = (2 * q * gap * value).sqrt() + q / 2
    small = grown <= (_MAX_ADDED_SHARE * gap.clamp(min=tol**2) + VALUE_ROUNDING) * value
    bounded = outcome.duality_gap.isfinite().tolist()
    counts = [b or how is Status.CONVERGED for b, how in zip(bounded, outcome.status, strict=True)]
    is_small = all(s or not c for s, c in zip(small.tolist(), counts, strict=True))
    if not is_small or (objective.penalty.constrains and any(bounded)):
        moved = units.to_solver(params)
        moved[..., -1] = exact_intercept(params, units)
        point = objective.evaluate(moved)
        # the solver's own value is that of logits which are rounded sums over its steps
        change = (point.value - objective.evaluate(found).value).abs()
        error = _EPS * found.abs()
        # residuals are at most the losses, so that this is what the rounding of logits changes,
        # whose size is that of the coefficients of columns with deviation one
        logits = VALUE_ROUNDING * (1 + (own + found[..., -1].abs()).amax(dim=-1))
        grown = change + inner(point.gradient.abs(), error) + logits * value
    increase = grown / value
    return outcome.duality_gap + increase, increase


def exact_intercept(params: Params, units: Units) -> Tensor:
    """Return intercepts (m, K) of centred columns, summed in twice the precision of float64.

    They may be differences of numbers that are larger by a factor of 1e16.

    References
    ----------
    Ogita, Rump, Oishi (2005). Accurate sum and dot product, SIAM J. Sci. Comput. 26, section 4.
    """
    products = params.coef * units.center
    high, rest = _halves(params.coef), _halves(units.center)
    low = params.coef - high, units.center - rest
    error = low[0] * low[1] - (((products - high * rest) - low[0] * rest) - high * low[1])
    error = error.sum(dim=-1)
    total = torch.cat([products, params.intercept[..., None]], dim=-1)
    while (n := total.shape[-1]) > 1:
        total = torch.nn.functional.pad(total, (0, n % 2))
        first, second = total.chunk(2, dim=-1)
        total = first + second
        kept = total - first
        error += ((first - (total - kept)) + (second - kept)).sum(dim=-1)
    return total[..., 0] + error


def _halves(x: Tensor) -> Tensor:
    """Round to half of the digits, so that products are exact (Dekker 1971)."""
    split = (2**27 + 1) * x
    return split - (split - x)
