"""Arrays with one entry per row that are stored where the rows are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from skorch_logreg.data.lazy_rows import Call, LazyRows, Node, map_nested

# attributes that an array without rows has in common with the whole
_LIKE_ATTRIBUTES = frozenset({"dtype", "device", "ndim"})


class Partitions(Protocol):
    """A place of rows, divided into partitions.

    A *held* value is stored with its partition; here it is represented by a handle.

    Attributes
    ----------
    is_read_again : bool
        True if every pass reads or computes the rows, so that they may change.
    """

    is_read_again: ClassVar[bool]

    @property
    def lengths(self) -> list[int]:
        """Number of rows of every partition."""

    def scatter(self, values: Sequence[Any]) -> Any:
        """Store one value per partition, and return a handle of them."""

    def run(
        self, work: "Task", held: Sequence[Any], n_kept: int, reads: bool
    ) -> tuple[tuple[Tensor, ...], list[Any]]:
        """Sum the terms of ``work(X or None, index, held values)`` over all partitions.

        The task returns terms and ``n_kept`` values, which the partition stores: their handles are
        returned. X is passed if ``reads`` is True.
        """

    def collect(self, work: "Task", held: Sequence[Any], reads: bool) -> list[Any]:
        """Return the terms of every partition, in order."""

    def may_hold(self, n_bytes: int) -> bool:
        """Return True if there is room for values of so many bytes in total."""

    def holding(self, handle: Any) -> "Partitions":
        """Return partitions whose X are the values of a handle."""


Task = Callable[[Any, int, list[Any]], tuple[Any, list[Any]]]


class RemoteRows:
    """An array with one entry per row, stored in partitions where the rows are.

    torch's functions and methods return another such array: operations on each row are recorded,
    and run where the rows are when a sum needs them. A sum over rows, or a slice of them, is
    computed at once and returned as a tensor. Operations with any other result that has not one
    entry per row raise an error.

    Parameters
    ----------
    parts : Partitions
    node : Node
        Expression of the array.

    References
    ----------
    PyTorch documentation, Extending PyTorch: ``__torch_function__`` of a type that does not
    subclass Tensor.
    """

    def __init__(self, parts: Partitions, node: Node) -> None:
        self.parts, self.node = parts, node

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole array."""
        return sum(self.parts.lengths), *self.node.like.shape[1:]

    def __len__(self) -> int:
        return self.shape[0]

    def __bool__(self) -> bool:
        raise TypeError("rows that live elsewhere are neither true nor false")

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle a placeholder: tasks may refer to the array and cannot use it."""
        return _UnavailableRows, ()

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> "RemoteRows":
        kwargs, found = kwargs or {}, list[RemoteRows]()

        def node(rows: RemoteRows) -> Node:
            found.append(rows)
            return rows.node

        args, kwargs = map_nested(args, cls, node), map_nested(kwargs, cls, node)
        like = function(*map_nested(args, Node, _no_row), **map_nested(kwargs, Node, _no_row))
        if not isinstance(like, Tensor) or like.ndim == 0 or len(like):
            raise TypeError(
                f"{getattr(function, '__name__', function)} of rows that live elsewhere is not as "
                "long as they are; sum it with `Data.reduce`."
            )
        source = None if function is torch.empty_like else Call(function, args, kwargs)
        return cls(found[0].parts, Node(like, source))

    def __getattr__(self, name: str) -> Any:
        """Return a method of tensors; in-place methods replace this array's node."""
        if name in _LIKE_ATTRIBUTES:
            return getattr(self.node.like, name)
        writes = name.endswith("_")
        if name.startswith("_") or not hasattr(Tensor, name.rstrip("_")) and name != "copy_":
            raise AttributeError(f"rows that live elsewhere have no {name!r}")
        function = _copied if name == "copy_" else getattr(Tensor, name.rstrip("_"))

        def method(*args: Any, **kwargs: Any) -> RemoteRows:
            result = self.__torch_function__(function, (), (self, *args), kwargs)
            if not writes:
                return result
            self.node = result.node
            return self

        return method

    def __getitem__(self, index: Any) -> Any:
        """Return columns as another remote array, or a slice of rows as a tensor."""
        first, *others = index if isinstance(index, tuple) else (index,)
        if first is Ellipsis or (isinstance(first, slice) and first == slice(None)):
            return (
                self.__torch_function__(Tensor.__getitem__, (), (self, index)) if others else self
            )
        if not isinstance(first, slice) or others:
            raise TypeError("of rows that live elsewhere a slice can be taken")
        return torch.cat(collect_rows([self], first, _slice))

    def sum(self, dim: Any = None, **kwargs: Any) -> Any:
        """Sum over rows, as a tensor, or over another axis, as another remote array."""
        if dim not in (None, 0):
            return self.__torch_function__(Tensor.sum, (), (self, dim), kwargs)
        lazy_rows = LazyRows([self.node])
        lengths = self.parts.lengths
        task = _RowArraysTask(lazy_rows, lengths, [slice(None)] * len(lengths), _total)
        (total,), _ = self.parts.run(task, lazy_rows.held, 0, reads=False)
        return total if dim == 0 else total.sum()


def _operator(name: str) -> Callable[..., RemoteRows]:
    function = getattr(Tensor, name)
    return lambda self, *other: RemoteRows.__torch_function__(function, (), (self, *other))


for _name in ("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "neg"):
    setattr(RemoteRows, f"__{_name}__", _operator(f"__{_name}__"))


class _UnavailableRows:
    """Placeholder for remote rows in another process."""


def collect_rows(
    arrays: Sequence[RemoteRows], rows: slice, function: Callable[[list[Tensor], slice], Any]
) -> list[Any]:
    """Evaluate ``function(arrays, rows)`` in every partition, for its share of a slice of rows."""
    parts, slices, begin = arrays[0].parts, [], 0
    start, stop, step = rows.indices(len(arrays[0]))
    for length in parts.lengths:
        first = start - begin if start >= begin else (start - begin) % step
        slices.append(slice(first, max(min(stop - begin, length), 0), step))
        begin += length
    lazy_rows = LazyRows([array.node for array in arrays])
    task = _RowArraysTask(lazy_rows, parts.lengths, slices, function)
    return parts.collect(task, lazy_rows.held, reads=False)


@dataclass(frozen=True)
class _RowArraysTask:
    """Task that reads arrays with one entry per row, and not X."""

    lazy_rows: LazyRows
    lengths: list[int]
    slices: list[slice]
    function: Callable[[list[Tensor], slice], Any]

    def __call__(self, X: Any, index: int, held: list[Any]) -> tuple[Any, list[Any]]:
        arrays = self.lazy_rows.made(held, self.lengths[index])
        return self.function(arrays, self.slices[index]), []


def _slice(arrays: list[Tensor], rows: slice) -> Tensor:
    return arrays[0][rows].clone()


def _total(arrays: list[Tensor], rows: slice) -> tuple[Tensor]:
    return (arrays[0].sum(dim=0),)


def _no_row(node: Node) -> Tensor:
    return node.like


def _copied(rows: Tensor, other: Tensor) -> Tensor:
    return torch.empty_like(rows).copy_(other)
