"""Arrays as long as the data that stay beside its rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from skorch_logreg.data.lazy_rows import Call, LazyRows, Node, map_nested

_LIKE_ATTRIBUTES = frozenset({"dtype", "device", "ndim"})  # by a part without rows as by all


class Partitions(Protocol):
    """Where rows live, part by part.

    Something *held* stays with its part, and is known here by a handle.

    Attributes
    ----------
    is_read_again : bool
        Whether every pass reads or computes the rows, so that they may change.
    """

    is_read_again: ClassVar[bool]

    @property
    def lengths(self) -> list[int]:
        """Rows of every part."""

    def scatter(self, values: Sequence[Any]) -> Any:
        """Hand every part something to hold, and return the handle."""

    def run(
        self, work: "Task", held: Sequence[Any], n_kept: int, reads: bool
    ) -> tuple[tuple[Tensor, ...], list[Any]]:
        """Sum the terms of ``work(X or None, index, held values)`` over all parts.

        It returns terms and ``n_kept`` values, which the part holds: their handles are
        returned.  X is at hand if it ``reads``.
        """

    def collect(self, work: "Task", held: Sequence[Any], reads: bool) -> list[Any]:
        """Return the terms of every part, in their order."""

    def may_hold(self, n_bytes: int) -> bool:
        """Whether there is room for something that is so large in all parts."""

    def holding(self, handle: Any) -> "Partitions":
        """Put something that the parts hold in the place of X."""


Task = Callable[[Any, int, list[Any]], tuple[Any, list[Any]]]


class RemoteRows:
    """An array as long as the data, in parts that lie where the rows do.

    torch's functions and methods give another: what they do to each row is noted, and done
    where the rows are when a sum asks for it.  A sum over rows, or a slice of them, is made at
    once and is a tensor here.  All else that is not as long as the data is refused.

    Parameters
    ----------
    parts : Partitions
    node : Node
        What it is made from.

    References
    ----------
    PyTorch documentation, Extending PyTorch: ``__torch_function__`` of a type that is no tensor.
    """

    def __init__(self, parts: Partitions, node: Node) -> None:
        self.parts, self.node = parts, node

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole."""
        return sum(self.parts.lengths), *self.node.like.shape[1:]

    def __len__(self) -> int:
        return self.shape[0]

    def __bool__(self) -> bool:
        raise TypeError("rows that live elsewhere are neither true nor false")

    def __reduce__(self) -> tuple[Any, ...]:
        """Stay here: work that travels may mention it, and cannot use it."""
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
        """Methods of tensors; one that would write in place puts its result in this place."""
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
        """Columns stay with the rows; a slice of rows comes here."""
        first, *others = index if isinstance(index, tuple) else (index,)
        if first is Ellipsis or (isinstance(first, slice) and first == slice(None)):
            return (
                self.__torch_function__(Tensor.__getitem__, (), (self, index)) if others else self
            )
        if not isinstance(first, slice) or others:
            raise TypeError("of rows that live elsewhere a slice can be taken")
        return torch.cat(collect_rows([self], first, _slice))

    def sum(self, dim: Any = None, **kwargs: Any) -> Any:
        """Sum over rows, here; or over another axis, beside them."""
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
    """What is left of rows where they are not."""


def collect_rows(
    arrays: Sequence[RemoteRows], rows: slice, function: Callable[[list[Tensor], slice], Any]
) -> list[Any]:
    """Bring ``function(arrays, rows)`` of every part here; each has its own share of the slice."""
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
    """Work that looks at arrays alone."""

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
