"""NumPy arrays as tensors over the same memory."""

import numpy as np
import torch
from torch import Tensor


class _Writable:
    """Lets torch see a read-only array without its warning; nothing ever writes into it."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        interface = dict(array.__array_interface__)
        interface["data"] = (interface["data"][0], False)
        self.__array_interface__ = interface


def as_tensor(array: np.ndarray) -> Tensor:
    """View an array as a tensor; only strides and byte orders that torch lacks are copied."""
    if not array.flags.writeable:
        array = np.asarray(_Writable(array))
    try:
        return torch.from_numpy(array)
    except ValueError:
        return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C"))
