"""A caller's arrays to tensors and back: the one file that knows scikit-learn's array API.

``array_api_dispatch`` decides where results go: without it they are arrays of NumPy, whatever X
is; with it they are of X's library and on X's device. Tensors are taken as they are either way.
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
        """Accept any namespace: before 1.9 linear classifiers did not check."""


__all__ = [
    "FLOATS",
    "NUMPY",
    "ArrayNamespace",
    "is_float_array",
    "check_same_namespace",
    "is_integer_labels",
    "to_tensor",
]

FLOATS = (np.dtype(np.float64), np.dtype(np.float32))


@dataclass(frozen=True)
class ArrayNamespace:
    """Where a caller's arrays live, so that results can go there.

    Parameters
    ----------
    xp : namespace or None
        The array library; None for NumPy and everything that becomes NumPy.
    device : device or None
        Its device.
    """

    xp: Any = None
    device: Any = None

    @classmethod
    def of(cls, X: Any) -> "ArrayNamespace":
        """Find out where ``X`` lives."""
        if not get_config()["array_api_dispatch"]:
            return NUMPY
        if isinstance(X, Tensor) and X.layout is not torch.strided:
            return NUMPY  # as for SciPy's arrays, which they become
        xp, is_array_api, device = get_namespace_and_device(X)
        if not is_array_api or xp.__name__.endswith(".numpy"):
            return NUMPY
        return cls(xp, device)

    @property
    def is_torch(self) -> bool:
        """Whether tensors live here."""
        return self.xp is not None and self.xp.__name__.endswith("torch")

    @property
    def float_dtypes(self) -> list[Any]:
        """What `validate_data` keeps; all else becomes the first."""
        xp = np if self.xp is None else self.xp
        return [xp.float64, xp.float32]

    def view(self, X: Any) -> Any:
        """View rows without gradients: as NumPy or SciPy has them, unless tensors live here."""
        if type(X) is np.ndarray:
            return X
        if isinstance(X, np.memmap):
            return np.asarray(X)
        if not (self.is_torch and isinstance(X, Tensor)):
            return view_as_numpy(X)
        return X.detach()

    def detach(self, array: Any) -> Any:
        """Take what stands beside the rows: tensors without gradients, else as arrays of NumPy."""
        if not isinstance(array, Tensor):
            return array
        return array.detach() if self.is_torch else to_numpy(array)

    def convert(self, array: Any) -> Any:
        """Bring an array, a number or None here."""
        array = self.detach(array)
        if self.xp is None or array is None or np.isscalar(array):
            return array
        return move_to(array, xp=self.xp, device=self.device)

    def from_tensor(self, tensor: Tensor) -> Any:
        """Return ``tensor`` as an array that lives here; its memory where that is possible."""
        if self.is_torch:
            return tensor.to(self.device)
        array = tensor.cpu().numpy()
        return array if self.xp is None else self.xp.asarray(array, device=self.device)


NUMPY = ArrayNamespace()


def is_float_array(X: Any) -> bool:
    """Whether X is an array of which validation would only say that an entry is not finite."""
    return type(X) is np.ndarray and X.dtype in FLOATS and X.ndim == 2 and X.size > 0


def is_integer_labels(y: Any, n_samples: int) -> bool:
    """Whether y is an array of so many integers or booleans, which needs no validation."""
    return type(y) is np.ndarray and y.dtype.kind in "biu" and y.shape == (n_samples,)


def to_tensor(array: Any) -> Tensor:
    """View an array as a tensor; copied only where torch cannot view it.

    Parameters
    ----------
    array : array of any library, sparse array or number
        Read only. Sparse arrays become dense; negative or odd strides and foreign byte orders
        are copied.
    """
    if isinstance(array, Tensor):
        return array.detach()
    if sp.issparse(array):
        array = array.toarray()
    elif not isinstance(array, np.ndarray):
        plain = isinstance(array, (list, tuple)) or np.isscalar(array)
        array = np.asarray(array if plain else move_to(array, xp=np, device="cpu"))
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)  # torch has no longer ones
    return as_tensor(array)
