"""Views of torch tensors as NumPy or SciPy arrays."""

from typing import Any

import scipy.sparse as sp
import torch
from torch import Tensor

__all__ = ["to_numpy", "view_as_numpy"]

_COMPRESSED = {torch.sparse_csr: sp.csr_array, torch.sparse_csc: sp.csc_array}


def view_as_numpy(array: Any) -> Any:
    """View a tensor as a NumPy or SciPy array, if these support its device and type.

    Parameters
    ----------
    array : object
        Tensor, not modified; anything else is returned unchanged.

    Returns
    -------
    array : ndarray, csr_array, csc_array or Tensor
        For a strided tensor on the CPU, an array that shares its memory; for one on another
        device, or of bfloat16, which NumPy does not have, a tensor without gradients. For a
        sparse tensor, a SciPy array, in which half precision becomes float32 or float64.

    Raises
    ------
    ValueError
        If a tensor is on the device "meta", nested, quantized, or sparse only in some axes.
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

    Parameters
    ----------
    array : object
        Tensor, not modified; anything else is returned unchanged.
    """
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
    kind = _COMPRESSED.get(tensor.layout)
    if kind is sp.csr_array:
        parts = tensor.values(), tensor.col_indices(), tensor.crow_indices()
    elif kind is sp.csc_array:
        parts = tensor.values(), tensor.row_indices(), tensor.ccol_indices()
    else:
        tensor = tensor.to_sparse_coo()
        parts = tensor._values(), *tensor._indices()
    if parts[0].ndim > 1:
        raise ValueError(
            f"The sparse tensor of shape {shape} has dense axes; expected none, as in "
            "tensor.to_dense().to_sparse()."
        )
    if parts[0].dtype in (torch.float16, torch.bfloat16):  # SciPy does not support half precision
        wide = torch.float64 if parts[0].dtype == torch.float16 else torch.float32
        parts = parts[0].to(wide), *parts[1:]
    values, *indices = (part.cpu().numpy() for part in parts)
    if kind is not None:
        return kind((values, *indices), shape=shape)
    found = sp.coo_array((values, tuple(indices)), shape=shape)
    return found.tocsr() if len(shape) == 2 else found
