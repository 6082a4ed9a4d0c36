"""Conversion of tensors to arrays, and checks of rows that all entry points share."""

from skorch_logreg.inputs.rows import check_keeping_dtype, is_finite_array, torch_dtype
from skorch_logreg.inputs.sparse_checks import check_indices
from skorch_logreg.inputs.tensors import to_numpy, view_as_numpy

__all__ = [
    "check_indices",
    "check_keeping_dtype",
    "is_finite_array",
    "to_numpy",
    "torch_dtype",
    "view_as_numpy",
]
