"""Trees as JSON and arrays, and ``.npz`` files of them without pickled data."""

import math
import struct
import zipfile
import zlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

_DTYPES = {
    str(dtype): dtype
    for dtype in (
        *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
        *(torch.uint16, torch.uint32, torch.uint64, torch.complex64, torch.complex128),
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    )
}


def encode(tree: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Encode a tree for JSON: as itself if JSON has it, else as an object named after its type.

    Its arrays and tensors are added to ``arrays`` and encoded by their names there.
    """

    def keep(array: np.ndarray) -> str:
        name = f"array_{len(arrays)}"
        arrays[name] = array
        return name

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
            return [encode(item, arrays) for item in tree]
        case tuple():
            return {"tuple": [encode(item, arrays) for item in tree]}
        case dict():
            return {"dict": [[encode(k, arrays), encode(v, arrays)] for k, v in tree.items()]}
        case Tensor():
            shape, strides = list(tree.shape), list(tree.stride())
            flat = tree.detach()
            for axis, stride in enumerate(strides):
                if stride == 0:  # expanded: store one entry
                    flat = flat.narrow(axis, 0, min(shape[axis], 1))
            flat = flat.cpu().contiguous()
            if flat.dtype is torch.bfloat16:  # a type that NumPy lacks
                flat = flat.view(torch.int16)
            return {"tensor": [keep(flat.numpy()), str(tree.dtype), shape, strides]}
        case np.ndarray() if not tree.dtype.hasobject:
            return {"array": keep(tree)}
    raise TypeError(f"a checkpoint holds no {type(tree).__name__}")


class Decoder:
    """Decoder of trees that `encode` has encoded.

    ``sums``, if given, are the checksums of the arrays, and ``limit`` is the number of bytes that
    all tensors may take, including gaps and repetitions of their strides.
    """

    def __init__(self, arrays: Any, sums: Any = None, limit: float | None = None) -> None:
        self._arrays, self._sums = arrays, sums
        self._left = math.inf if limit is None else limit

    def decode(self, encoded: Any) -> Any:
        """Decode one value."""
        match encoded:
            case None | bool() | int() | float() | str():
                return encoded
            case list():
                return [self.decode(item) for item in encoded]
            case {"bits": text}:
                return struct.unpack(">d", bytes.fromhex(text))[0]
            case {"tuple": items}:
                return tuple(self.decode(item) for item in items)
            case {"dict": pairs}:
                return {self.decode(key): self.decode(item) for key, item in pairs}
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
        tensor = stored.new_empty_strided(stored.shape, strides).copy_(stored)
        return tensor.expand(shape)

    def _read(self, name: str) -> np.ndarray:
        array: np.ndarray = self._arrays[name]
        if self._sums is not None and checksum(array) != self._sums[name]:
            raise ValueError(f"{name} is not what was written")
        return array


def checksum(array: np.ndarray) -> int:
    """Return a checksum of the entries in the order in which they are written.

    Those of the zip format do not protect: any program that rewrites the file updates them.
    """
    order: Any = "F" if array.flags.fnc else "C"
    return zlib.crc32(array.ravel(order=order).view(np.uint8).data)


def check_headers(archive: zipfile.ZipFile, n_bytes: int) -> None:
    """Check the headers of an ``.npz`` file whose arrays may take ``n_bytes`` bytes.

    `numpy.savez` does not compress, so that arrays take at most the length of the file. A header
    that claims more raises an exception of any type, as does a member that is encrypted, occurs
    twice, has another length than its array or has to be unpickled.
    """
    infos = archive.infolist()
    if len({info.filename.removesuffix(".npy") for info in infos}) < len(infos):
        raise ValueError("a name is there twice")
    if sum(info.file_size for info in infos) > n_bytes:
        raise ValueError("it would unpack to more than its length, or than its fit writes")
    for info in infos:
        with archive.open(info) as file:
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
            raise ValueError(f"{info.filename} is not an array of {dtype} and shape {shape}")
