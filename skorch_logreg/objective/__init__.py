"""Objectives: value, gradient, optimal intercepts, duality gaps and the units of the solver."""

from skorch_logreg.objective.duality import (
    duality_gap,
    duality_gap_nearby,
    gap_beyond_rounding,
    penalty_gap,
)
from skorch_logreg.objective.intercept import best_shift, outputs_inverse
from skorch_logreg.objective.objective import (
    LOW_PRECISION_ROUNDING,
    SUM_ROUNDING,
    Objective,
    Point,
    inner,
    on_sample,
    sampled_at,
)
from skorch_logreg.objective.units import Params, Units

__all__ = [
    "LOW_PRECISION_ROUNDING",
    "SUM_ROUNDING",
    "Objective",
    "Params",
    "Point",
    "Units",
    "best_shift",
    "duality_gap",
    "duality_gap_nearby",
    "gap_beyond_rounding",
    "inner",
    "on_sample",
    "outputs_inverse",
    "penalty_gap",
    "sampled_at",
]
