"""Conversion between the user's arrays and tensors, with scikit-learn's array API.

scikit-learn's option ``array_api_dispatch`` decides the type of results: without it they are
NumPy arrays, whatever X is; with it they are arrays of X's library on X's device. Tensors are
accepted as input in both cases.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from sklearn import get_config
from sklearn.utils._array_api import get_namespace_and_device, move_to
from torch import Tensor

from skorch_logreg.data import as_tensor
from skorch_logreg.inputs import to_numpy, view_as_numpy

try:
    from sklearn.utils._array_api import check_same_namespace
except ImportError:  # scikit-learn 1.8

    def check_same_namespace(X: Any, estimator: Any, *, attribute: str, method: str) -> None:
        """Accept any namespace, as linear classifiers did before scikit-learn 1.9."""


__all__ = [
    "FLOATS",
    "NUMPY",
    "ArrayNamespace",
    "check_same_namespace",
    "is_float_array",
    "is_integer_labels",
    "to_tensor",
]

FLOATS = (np.dtype(np.float64), np.dtype(np.float32))  # dtypes that are used without conversion


@dataclass(frozen=True)
class ArrayNamespace:
    """Array library and device of the user's arrays, to which results are converted.

    Parameters
    ----------
    xp : namespace or None
        Array library; None for NumPy and everything that is converted to NumPy.
    device : device or None
        Device of the arrays.
    """

    xp: Any = None
    device: Any = None

    @classmethod
    def of(cls, X: Any) -> "ArrayNamespace":
        """Return the namespace of ``X``; NumPy's without array API dispatch."""
        if not get_config()["array_api_dispatch"]:
            return NUMPY
        if isinstance(X, Tensor) and X.layout is not torch.strided:
            return NUMPY  # sparse tensors are converted to SciPy's arrays
        xp, is_array_api, device = get_namespace_and_device(X)
        if not is_array_api or xp.__name__.endswith(".numpy"):
            return NUMPY
        return cls(xp, device)

    @property
    def is_torch(self) -> bool:
        """True if results are tensors."""
        return self.xp is not None and self.xp.__name__.endswith("torch")

    @property
    def float_dtypes(self) -> list[Any]:
        """Dtypes that `validate_data` keeps; it converts all others to the first."""
        xp = np if self.xp is None else self.xp
        return [xp.float64, xp.float32]

    def view(self, X: Any) -> Any:
        """View rows without gradients, as a NumPy or SciPy array unless results are tensors."""
        if type(X) is np.ndarray:
            return X
        if isinstance(X, np.memmap):
            return np.asarray(X)
        if not (self.is_torch and isinstance(X, Tensor)):
            return view_as_numpy(X)
        return X.detach()

    def detach(self, array: Any) -> Any:
        """Detach a tensor that comes with the rows; convert it to NumPy unless results are tensors.

        Anything but a tensor is returned unchanged.
        """
        if not isinstance(array, Tensor):
            return array
        return array.detach() if self.is_torch else to_numpy(array)

    def convert(self, array: Any) -> Any:
        """Convert an array to this namespace and device; numbers and None are unchanged."""
        array = self.detach(array)
        if self.xp is None or array is None or np.isscalar(array):
            return array
        return move_to(array, xp=self.xp, device=self.device)

    def from_tensor(self, tensor: Tensor) -> Any:
        """Convert a tensor to an array of this namespace, sharing memory where possible."""
        if self.is_torch:
            return tensor.to(self.device)
        array = tensor.cpu().numpy()
        return array if self.xp is None else self.xp.asarray(array, device=self.device)


NUMPY = ArrayNamespace()


def is_float_array(X: Any) -> bool:
    """Return True if X is a non-empty 2d NumPy array of floats.

    Validation of such an array can only fail for an entry that is not finite.
    """
    return type(X) is np.ndarray and X.dtype in FLOATS and X.ndim == 2 and X.size > 0


def is_integer_labels(y: Any, n_samples: int) -> bool:
    """Return True if y is an integer or boolean array of shape (n_samples,).

    Such labels need no validation.
    """
    return type(y) is np.ndarray and y.dtype.kind in "biu" and y.shape == (n_samples,)


def to_tensor(array: Any) -> Tensor:
    """View an array as a tensor; copy it only if torch cannot view it.

    Parameters
    ----------
    array : array of any library, sparse array or number
        Input, not modified. Sparse arrays become dense; arrays with negative or odd strides or a
        foreign byte order are copied.
    """
    if isinstance(array, Tensor):
        return array.detach()
    if sp.issparse(array):
        array = array.toarray()
    elif not isinstance(array, np.ndarray):
        plain = isinstance(array, (list, tuple)) or np.isscalar(array)
        array = np.asarray(array if plain else move_to(array, xp=np, device="cpu"))
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)  # torch has no longer floats
    return as_tensor(array)
