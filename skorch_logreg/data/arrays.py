"""Data sets of arrays in memory."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from skorch_logreg.data.dense import DenseRows
from skorch_logreg.data.memory import InMemory
from skorch_logreg.data.sparse import SparseRows
from skorch_logreg.data.tensors import as_tensor

CONTAINERS = {
    "dense": (
        "NumPy array or torch tensor of any layout and type, on any device, each kept in that "
        "type; data frame; array API array"
    ),
    "sparse": (
        "SciPy sparse array or matrix of any format, 32 or 64 bit indices; torch's COO, CSR, CSC"
    ),
}


def from_arrays(
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    device: str | torch.device | None = None,
    is_checked: bool = True,
) -> InMemory:
    """Make a data set of arrays.

    Parameters
    ----------
    X : ndarray, Tensor or CSR array of shape (n_samples, n_features)
        Floating point numbers, integers or booleans, of any strides; read only. Sparse rows
        that are not float64 get a float64 copy of their entries (not of their structure).
    y : array of shape (n_samples,) or (n_samples, m)
        Class index of every row, or probability of the second of two classes; one column per
        model for m models solved together. Or probabilities (n_samples, 1, n_classes) for all
        models.
    sample_weight : array of shape (n_samples,) or (n_samples, m) or None
        Non-negative weights; None: 1 for all rows.
    device : str, torch.device or None
        Device to which a dense X is moved; None: X stays on its device.
    is_checked : bool
        Whether all entries of X are known to be finite; sparse ones have to be.

    Returns
    -------
    data : InMemory
    """
    kind: Callable[..., InMemory]
    if sp.issparse(X):
        place = torch.device("cpu")
        entries = np.asarray(X.data, dtype=np.float64)
        X, kind = sp.csr_array((entries, X.indices, X.indptr), shape=X.shape), SparseRows
    else:
        X = X.detach() if isinstance(X, Tensor) else as_tensor(X)
        X = X if device is None else X.to(device)
        if X.dtype == torch.bool:  # torch subtracts bytes of zeros and ones
            X = X.view(torch.uint8)
        place, kind = X.device, partial(DenseRows, is_checked=is_checked)
    if not isinstance(y, Tensor):
        y = np.asarray(y)
        y = as_tensor(y if y.dtype.kind == "f" else y.astype(np.int64, copy=False))
    if sample_weight is None:
        # one number with stride 0, not n_samples of them
        weight = torch.ones(1, 1, dtype=torch.float64, device=place).expand(X.shape[0], 1)
    elif isinstance(sample_weight, Tensor):
        weight = sample_weight.detach().to(place, torch.float64)
    else:
        weight = as_tensor(np.asarray(sample_weight, dtype=np.float64)).to(place)
    center = torch.zeros(X.shape[1], dtype=torch.float64, device=place)
    return kind(
        X=X,
        center=center,
        scale=torch.ones_like(center),
        targets=as_columns(y.to(place)),
        weight=as_columns(weight),
    )


def as_columns(array: Tensor) -> Tensor:
    """Return a 2-d array: one column per model, or one for all models."""
    return array if array.ndim > 1 else array[:, None]
