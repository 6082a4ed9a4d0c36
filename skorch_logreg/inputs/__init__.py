"""Conversion and validation of what users hand over: rows, labels, weights, parameters."""

from skorch_logreg.inputs.arrays import to_numpy, view_as_numpy
from skorch_logreg.inputs.rows import (
    check_indices,
    check_keeping_dtype,
    is_finite_array,
    torch_dtype,
)

__all__ = [
    "check_indices",
    "check_keeping_dtype",
    "is_finite_array",
    "to_numpy",
    "torch_dtype",
    "view_as_numpy",
]
