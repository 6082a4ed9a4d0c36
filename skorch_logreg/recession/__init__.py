"""Directions of recession: along them an objective falls for ever, so it has no minimiser."""

from skorch_logreg.recession.newton import MOST_COEFFICIENTS, NewtonSteps, proves_minimiser
from skorch_logreg.recession.saturated import is_quiet, saturated_models, saturation
from skorch_logreg.recession.search import count_gains, find_direction, free_ends

__all__ = [
    "MOST_COEFFICIENTS",
    "NewtonSteps",
    "count_gains",
    "find_direction",
    "free_ends",
    "is_quiet",
    "proves_minimiser",
    "saturated_models",
    "saturation",
]
