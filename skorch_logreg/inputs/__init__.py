"""What callers hand over, before anybody asks what it is for: tensors, and checks of rows."""

from skorch_logreg.inputs.rows import checked, is_plain, torch_dtype
from skorch_logreg.inputs.sparse_checks import check_indices
from skorch_logreg.inputs.tensors import to_numpy, viewed

__all__ = ["check_indices", "checked", "is_plain", "to_numpy", "torch_dtype", "viewed"]
