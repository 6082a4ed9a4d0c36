"""Conversion of arrays to tensors that share their memory, and copies of columns."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skorch_logreg.data.threads import map_blocks, thread_count

# entries of an array that fits into a core's cache (1 MiB in float64): with fewer at a time,
# calls and threads cost more than the work
CACHED_ENTRIES = 1 << 17
# entries of an array that a sum over pieces of rows makes (4 MiB in float64): with half, calls cost
# more, and with eight times the memory of a converted block breaks promise 19
PIECE_ENTRIES = 1 << 19
BLOCK_ELEMENTS = 1 << 22  # elements of a block of rows (32 MiB in float64), for one thread
SAMPLE_ROWS = 1000  # rows from which what need not be exact is estimated
_SIGNED = {torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64}


def pieces(start: int, stop: int, step: int) -> Iterator[slice]:
    """Divide ``start:stop`` into consecutive slices of ``step``; the last may be shorter."""
    return (slice(first, min(first + step, stop)) for first in range(start, stop, step))


class _Writable:
    """Wrapper that hides from torch that an array is read-only, to avoid its warning.

    Nothing writes into the array.
    """

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        interface = array.__array_interface__
        self.__array_interface__ = {**interface, "data": (interface["data"][0], False)}


def as_tensor(array: np.ndarray) -> Tensor:
    """Return a tensor that shares an array's memory.

    Only strides and byte orders that torch does not support are copied.
    """
    if not array.flags.writeable:
        array = np.asarray(_Writable(array))
    try:
        return torch.from_numpy(array)
    except ValueError:
        return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C"))


def float_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the type of a model's coefficients for rows stored in some type.

    float32 for float32 and bfloat16, which have the same range; float64 for all others, as in
    scikit-learn.
    """
    return torch.float32 if dtype in (torch.float32, torch.bfloat16) else torch.float64


def multiply_rows(
    rows: Tensor, coef: Tensor, constant: Tensor, out: Tensor, in_cache: bool = False
) -> Tensor:
    """Compute ``rows coef' + constant`` (n, k) of coefficients (k, p).

    Of few products, some BLAS compute the transposed ones in a tenth of the time where the columns
    of the rows are contiguous, and in half of it where they are not but a cache holds the rows.
    """
    few = 64 if rows.stride(0) == 1 else 16 if in_cache else 0
    if 1 < len(coef) < few:
        return torch.add(torch.mm(coef, rows.T).T, constant, out=out)
    return torch.addmm(constant, rows, coef.T, out=out)


def gather_columns(array: Tensor, columns: Tensor, out: Tensor | None = None) -> Tensor:
    """Copy scattered columns of rows, twice as fast as ``index_select`` does."""
    index, signed = columns.expand(len(array), -1), _SIGNED.get(array.dtype)
    if signed is None:
        return torch.gather(array, 1, index, out=out)
    # torch gathers wide unsigned integers as signed ones only; the bits are the same
    into = None if out is None else out.view(signed)
    return torch.gather(array.view(signed), 1, index, out=into).view(array.dtype)


def take_models(array: Any, models: Tensor) -> Any:
    """Copy the entries of some models in an array (n, m, ...).

    Gathering many of them takes a third of the time of indexing.
    """
    if not isinstance(array, Tensor) or array.numel() < CACHED_ENTRIES:
        return array[:, models]
    shape = array.shape[2:]
    each = torch.arange(shape.numel(), device=models.device)
    columns = (models[:, None] * len(each) + each).ravel()
    return gather_columns(array.flatten(1), columns).view(len(array), len(models), *shape)


def gather_in_threads(X: Tensor, columns: Tensor | None = None) -> Tensor:
    """Copy scattered columns of many rows, or all columns, by all threads."""
    width = X.shape[1] if columns is None else len(columns)
    out = torch.empty(len(X), width, dtype=X.dtype, device=X.device)

    def part(rows: slice) -> None:
        if columns is None:
            out[rows] = X[rows]
        else:
            gather_columns(X[rows], columns, out=out[rows])

    step = max(-(-len(X) // thread_count()), CACHED_ENTRIES // max(X.shape[1], 1))
    map_blocks(part, [*pieces(0, len(X), step)])
    return out
