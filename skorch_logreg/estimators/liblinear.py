"""Objective of ``solver="liblinear"``, which penalises the intercept like a feature."""

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

__all__ = ["MULTICLASS", "append_constant", "append_factor"]

MULTICLASS = (
    "The 'liblinear' solver does not support multiclass classification"
    " (n_classes >= 3). Either use another solver or wrap the "
    "estimator in a OneVsRestClassifier to keep applying a "
    "one-versus-rest scheme. Only binary classification is supported."
)


def append_constant(X: Any, value: float) -> Any:
    """Return X in float64 with an additional column of ``value``, as in liblinear.

    Parameters
    ----------
    X : ndarray, CSR array or Tensor of shape (n_samples, n_features)

    Returns
    -------
    X : same kind, of shape (n_samples, n_features + 1)
        Copy of X with the column.
    """
    n_samples = X.shape[0]
    if isinstance(X, Tensor):
        constant = torch.full((n_samples, 1), value, dtype=torch.float64, device=X.device)
        return torch.cat([X.to(torch.float64), constant], dim=1)
    column = np.full((n_samples, 1), value)
    if sp.issparse(X):
        return sp.hstack([X, sp.csr_array(column)], format="csr", dtype=np.float64)
    return np.concatenate([X, column], axis=1, dtype=np.float64)


def append_factor(factor: Tensor | None) -> Tensor | None:
    """Append the constant column's penalty factor, which is 1 as in liblinear."""
    if factor is None:
        return None
    return torch.cat([factor, torch.ones(1, dtype=factor.dtype, device=factor.device)])
