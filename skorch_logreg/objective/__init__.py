"""Objectives: value, gradient, Hessian, best intercepts, duality gaps and the solver's units."""

from skorch_logreg.objective.duality import (
    duality_gap,
    duality_gap_nearby,
    feasible_gradient,
    gap_beyond_rounding,
    gap_rounding,
    gradient_rounding,
    penalty_gap,
)
from skorch_logreg.objective.hessian import (
    hessian_product,
    is_resolved,
    loss_hessian,
    loss_hessian_block,
    output_curvature,
    penalty_diagonal,
    row_kernel,
    total_curvature,
)
from skorch_logreg.objective.intercept import minimise_intercept, outputs_inverse
from skorch_logreg.objective.objective import (
    LOW_PRECISION_ROUNDING,
    MAX_EXCESS,
    ROUNDING_DISTANCE,
    SUM_RTOL,
    VALUE_ROUNDING,
    Objective,
    inner,
    multiply_curvature,
    on_sample,
    sampled_at,
)
from skorch_logreg.objective.point import Point
from skorch_logreg.objective.units import Params, Units

__all__ = [
    "LOW_PRECISION_ROUNDING",
    "MAX_EXCESS",
    "Objective",
    "Params",
    "Point",
    "ROUNDING_DISTANCE",
    "Units",
    "SUM_RTOL",
    "VALUE_ROUNDING",
    "duality_gap",
    "duality_gap_nearby",
    "feasible_gradient",
    "gap_beyond_rounding",
    "gap_rounding",
    "gradient_rounding",
    "hessian_product",
    "inner",
    "is_resolved",
    "loss_hessian",
    "loss_hessian_block",
    "minimise_intercept",
    "multiply_curvature",
    "on_sample",
    "output_curvature",
    "outputs_inverse",
    "penalty_diagonal",
    "penalty_gap",
    "row_kernel",
    "total_curvature",
    "sampled_at",
]
