"""Archives of tensors and JSON: an ``.npz`` file without pickled data."""

import math
import struct
import zipfile
import zlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Archive", "Reader", "Writer"]

_DTYPES = {
    str(dtype): dtype
    for dtype in (
        *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    )
}
_SUFFIX = ".npy"


class Archive:
    """An ``.npz`` file of ``n_bytes`` bytes whose headers are checked before an array is read.

    `numpy.savez` does not compress, so that an archive unpacks to at most its own length. A file
    whose headers claim more was not written by it. Methods may raise any exception of zipfile.
    """

    def __init__(self, file: Any, n_bytes: int) -> None:
        self._zip = zipfile.ZipFile(file)
        self._n_bytes = n_bytes
        self._infos = self._zip.infolist()

    @property
    def names(self) -> list[str]:
        """Names of the members, without their suffix."""
        return [info.filename.removesuffix(_SUFFIX) for info in self._infos]

    def check(self) -> None:
        """Check the headers of all members.

        Raises an exception if the headers claim more than the file's length, or a member is
        encrypted, has another length than its array, occurs twice or has to be unpickled.
        """
        if len(set(self.names)) < len(self._infos):
            raise ValueError("a name is there twice")
        if self.size > self._n_bytes:
            raise ValueError("it would unpack to more than its own length")
        for info in self._infos:
            self._check(info)

    @property
    def size(self) -> int:
        """Number of bytes of all arrays."""
        return sum(info.file_size for info in self._infos)

    def __getitem__(self, name: str) -> np.ndarray:
        """Read one array."""
        with self._zip.open(name + _SUFFIX) as file:
            return np.asarray(np.lib.format.read_array(file, allow_pickle=False))

    def _check(self, info: zipfile.ZipInfo) -> None:
        with self._zip.open(info) as file:
            version = np.lib.format.read_magic(file)
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, _, dtype = read_header(file)
            n_header = file.tell()
        if dtype.hasobject or any(length < 0 for length in shape):
            raise ValueError(f"{info.filename} has entries of {dtype} and shape {shape}")
        if n_header + math.prod(shape) * dtype.itemsize != info.file_size:
            raise ValueError(f"{info.filename} is no array of {dtype} and shape {shape}")


class Writer:
    """Encoder of trees as JSON, with their arrays stored separately.

    Attributes
    ----------
    arrays : dict of str to ndarray
        Arrays of the encoded trees, by name.
    sums : dict of str to int
        Checksums of the arrays. Those of the zip format do not protect: any program that
        rewrites the file updates them.
    """

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self.sums: dict[str, int] = {}

    def value(self, tree: Any) -> Any:
        """Encode one value: as itself if JSON has it, else as an object named after its type."""
        match tree:
            case None | bool() | str():
                return tree
            case int():
                return int(tree)
            case float():
                # JSON writes the shortest decimals that are read as the same number
                finite = math.isfinite(tree)
                return float(tree) if finite else {"bits": struct.pack(">d", tree).hex()}
            case list():
                return [self.value(item) for item in tree]
            case tuple():
                return {"tuple": [self.value(item) for item in tree]}
            case dict():
                return {"dict": [[self.value(k), self.value(v)] for k, v in tree.items()]}
            case Tensor():
                return {"tensor": self._tensor(tree)}
            case np.ndarray() if not tree.dtype.hasobject:
                return {"array": self._keep(tree)}
        raise TypeError(f"a checkpoint holds no {type(tree).__name__}")

    def _tensor(self, tensor: Tensor) -> list[Any]:
        tensor = tensor.detach()
        shape, strides = list(tensor.shape), list(tensor.stride())
        for axis, stride in enumerate(strides):
            if stride == 0:  # expanded: store one entry
                tensor = tensor.narrow(axis, 0, min(shape[axis], 1))
        flat = tensor.cpu().contiguous()
        if flat.dtype is torch.bfloat16:  # a type that NumPy lacks
            flat = flat.view(torch.int16)
        return [self._keep(flat.numpy()), str(tensor.dtype), shape, strides]

    def _keep(self, array: np.ndarray) -> str:
        name = f"array_{len(self.arrays)}"
        self.arrays[name], self.sums[name] = array, _sum(array)
        return name


class Reader:
    """Decoder of trees from JSON and arrays.

    Parameters
    ----------
    arrays : Archive or dict of str to ndarray
    sums : dict of str to int, or None
        Checksums of the arrays, as in `Writer`; None: they are not checked.
    limit : int or None
        Number of bytes that all tensors may take, including gaps and repetitions of their
        strides; None: unlimited.
    """

    def __init__(self, arrays: Any, sums: Any = None, limit: int | None = None) -> None:
        self._arrays, self._sums = arrays, sums
        self._left = math.inf if limit is None else limit

    def value(self, encoded: Any) -> Any:
        """Decode one value."""
        match encoded:
            case None | bool() | int() | float() | str():
                return encoded
            case list():
                return [self.value(item) for item in encoded]
            case {"bits": text}:
                return struct.unpack(">d", bytes.fromhex(text))[0]
            case {"tuple": items}:
                return tuple(self.value(item) for item in items)
            case {"dict": pairs}:
                return {self.value(key): self.value(item) for key, item in pairs}
            case {"tensor": [name, dtype, shape, strides]}:
                return self._tensor(name, _DTYPES[dtype], shape, strides)
            case {"array": name}:
                return self._read(name)
        raise ValueError(encoded)

    def _tensor(
        self, name: str, dtype: torch.dtype, shape: list[int], strides: list[int]
    ) -> Tensor:
        if not all(type(n) is int and n >= 0 for n in [*shape, *strides]):
            raise ValueError(name)
        pairs = list(zip(shape, strides, strict=True))
        span = 1 + sum((length - 1) * stride for length, stride in pairs if length > 0)
        self._left -= max(span, math.prod(shape)) * dtype.itemsize
        if self._left < 0:
            raise ValueError("it would unpack to more than its fit writes")
        stored = torch.from_numpy(self._read(name))
        stored = stored.view(dtype) if dtype is torch.bfloat16 else stored
        once = tuple(min(n, 1) if stride == 0 else n for n, stride in pairs)
        if stored.dtype is not dtype or stored.shape != once:
            raise ValueError(name)
        tensor = torch.empty_strided(stored.shape, strides, dtype=dtype).copy_(stored)
        return tensor.expand(shape)

    def _read(self, name: str) -> np.ndarray:
        array: np.ndarray = self._arrays[name]
        if self._sums is not None and _sum(array) != self._sums[name]:
            raise ValueError(f"{name} is not what was written")
        return array


def _sum(array: np.ndarray) -> int:
    """Return a checksum of the entries in the order in which they are written."""
    order: Any = "F" if array.flags.fnc else "C"
    return zlib.crc32(array.ravel(order=order).view(np.uint8).data)
