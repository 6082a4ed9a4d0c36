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
from skorch_logreg.exceptions import ParameterError

try:
    from sklearn.utils._array_api import check_same_namespace as check_same_namespace
except ImportError:  # scikit-learn 1.8

    def check_same_namespace(X: Any, estimator: Any, *, attribute: str, method: str) -> None:
        """Accept any namespace, as linear classifiers did before scikit-learn 1.9."""


FLOATS = (np.dtype(np.float64), np.dtype(np.float32))  # dtypes that are used without conversion


def are_missing(values: np.ndarray) -> np.ndarray:
    """Return a mask of the entries that are None, nan, or another missing value of pandas."""
    if values.dtype.kind != "O":
        return values != values  # nan and NaT are not equal to themselves

    def is_missing(value: Any) -> bool:
        try:
            return value is None or bool(value != value)
        except TypeError:  # pandas' NA is neither true nor false
            return True

    return np.array([is_missing(value) for value in values], dtype=bool)


def view_as_numpy(array: Any) -> Any:
    """View a tensor as a NumPy or SciPy array, if these support its device and type.

    A strided tensor on another device, or of bfloat16, is returned without gradients; anything but
    a tensor is returned unchanged. Sparse tensors become SciPy arrays, in float32 or float64 if
    they are of half precision. A ValueError is raised for tensors on the device "meta", nested or
    quantized ones, and those that are sparse only in some axes.
    """
    if not isinstance(array, Tensor):
        return array
    tensor = array.detach()
    if tensor.device.type == "meta":
        raise ValueError("The tensor is on the device 'meta', which holds no numbers.")
    if tensor.is_nested or tensor.is_quantized:
        kind = "nested" if tensor.is_nested else "quantized"
        raise ValueError(
            f"The tensor is {kind}; expected strided or sparse numbers, such as those of "
            f"{'torch.nested.to_padded_tensor' if tensor.is_nested else 'dequantize()'}."
        )
    if tensor.layout is not torch.strided:
        return _sparse(tensor)
    if tensor.is_floating_point() and tensor.itemsize == 1:
        tensor = tensor.to(torch.bfloat16)  # exact; torch has no arithmetic for 8-bit floats
    if tensor.device.type != "cpu" or tensor.dtype == torch.bfloat16:
        return tensor
    return tensor.resolve_conj().resolve_neg().numpy()


def to_numpy(array: Any) -> Any:
    """Convert a tensor to a NumPy or SciPy array, as a view where possible.

    Anything but a tensor is returned unchanged; a LazyFrame of polars is refused.
    """
    if type(array).__name__ == "LazyFrame":
        raise ParameterError("A LazyFrame holds no values; pass its collect().")
    found = view_as_numpy(array)
    if not isinstance(found, Tensor):
        return found
    wide = found.float() if found.dtype == torch.bfloat16 else found
    return wide.cpu().resolve_conj().resolve_neg().numpy()


def _sparse(tensor: Tensor) -> Any:
    """Convert a sparse tensor to a SciPy array."""
    shape = tuple(tensor.shape)
    if len(shape) > 2:
        raise ValueError(f"Found sparse tensor with dim {len(shape)}, while dim <= 2 is required.")
    if tensor.layout is torch.sparse_csr:
        kind, parts = sp.csr_array, (tensor.values(), tensor.col_indices(), tensor.crow_indices())
    elif tensor.layout is torch.sparse_csc:
        kind, parts = sp.csc_array, (tensor.values(), tensor.row_indices(), tensor.ccol_indices())
    else:
        tensor = tensor.to_sparse_coo()
        kind, parts = sp.coo_array, (tensor._values(), *tensor._indices())
    if parts[0].ndim > 1:
        raise ValueError(
            f"The sparse tensor of shape {shape} has dense axes; expected none, as in "
            "tensor.to_dense().to_sparse()."
        )
    if parts[0].dtype in (torch.float16, torch.bfloat16):  # SciPy does not support half precision
        wide = torch.float64 if parts[0].dtype == torch.float16 else torch.float32
        parts = parts[0].to(wide), *parts[1:]
    values, *indices = (part.cpu().numpy() for part in parts)
    if kind is not sp.coo_array:
        return kind((values, *indices), shape=shape)
    found = kind((values, tuple(indices)), shape=shape)
    return found.tocsr() if len(shape) == 2 else found


@dataclass(frozen=True)
class ArrayNamespace:
    """Array library and device of the user's arrays, to which results are converted.

    ``xp`` is None for NumPy and everything that is converted to NumPy.
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
        if isinstance(X, Tensor):
            return X.detach() if self.is_torch else view_as_numpy(X)
        if type(X).__name__ == "LazyFrame":
            raise ParameterError("X is a LazyFrame, which holds no rows; pass X.collect().")
        return np.asarray(X) if isinstance(X, np.memmap) else X

    def detach(self, array: Any) -> Any:
        """Detach a tensor that comes with the rows; convert it to NumPy unless results are tensors.

        Anything but a tensor is returned unchanged.
        """
        is_tensor = self.is_torch and isinstance(array, Tensor)
        return array.detach() if is_tensor else to_numpy(array)

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


def copy_numbers(value: Any, name: str, what: str = "numbers") -> Tensor:
    """Copy the numbers of a parameter to the CPU in float64."""
    try:
        if np.iscomplexobj(value):
            raise ValueError("complex data not supported")
        plain = hasattr(value, "__dlpack__") and not isinstance(value, np.ndarray)
        numbers = to_tensor(value if plain else np.asarray(value, dtype=np.float64))
        return numbers.to("cpu", torch.float64, copy=True)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"{name} must hold {what}: {error}") from error


def to_tensor(array: Any) -> Tensor:
    """View an array of any library, or a number, as a tensor; copy it only if torch cannot view it.

    Sparse arrays become dense.
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
