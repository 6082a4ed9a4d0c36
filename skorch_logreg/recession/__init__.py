"""Directions of recession, along which an objective decreases for ever and has no minimiser."""

from skorch_logreg.recession.newton import NewtonSteps, proves_minimiser
from skorch_logreg.recession.ordered import ordered_direction
from skorch_logreg.recession.saturated import keeps_saturated_rows, saturated_models
from skorch_logreg.recession.search import (
    count_separated_rows,
    find_direction,
    unbounded_directions,
)

__all__ = [
    "NewtonSteps",
    "count_separated_rows",
    "find_direction",
    "ordered_direction",
    "unbounded_directions",
    "keeps_saturated_rows",
    "proves_minimiser",
    "saturated_models",
]
