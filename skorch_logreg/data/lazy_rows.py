"""Arrays with one entry per row that are stored, and evaluated, where the rows are."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import attrgetter
from typing import Any, Self

import torch
from torch import Tensor

from skorch_logreg.data.protocol import Partitions
from skorch_logreg.data.tensors import as_tensor


@dataclass(eq=False)
class Node:
    """An array with one entry per row, stored or still to be computed."""

    like: Tensor  # array without rows, of the same type and trailing shape
    source: Any = None  # a `Call`, a `Product` or a handle of stored values; None: not yet written

    def __getstate__(self) -> dict[str, Any]:
        """Pickle no handle: tasks get the stored values."""
        source = self.source if isinstance(self.source, Call) else None
        return {"like": self.like, "source": source}


@dataclass(frozen=True, eq=False)
class Call:
    """A function of nodes that is still to be called."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class LazyRows:
    """Several arrays to compute in every partition; common subexpressions are evaluated once.

    ``held`` are handles of the stored values that they need.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = list(nodes)
        self._known: dict[Node, None] = {}
        for node in nodes:
            self._collect(node)
        self._stored = [node for node in self._known if not isinstance(node.source, Call | None)]
        self.held = [node.source for node in self._stored]
        self._is_new = [node not in self._stored for node in self._nodes]

    def _collect(self, node: Node) -> None:
        if node not in self._known:
            self._known[node] = None
            if isinstance(node.source, Call):
                map_nested((node.source.args, node.source.kwargs), Node, self._collect)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle only what a task needs."""
        return {name: vars(self)[name] for name in ("_nodes", "_stored", "_is_new")}

    @property
    def n_new(self) -> int:
        """Number of arrays that are not stored yet."""
        return sum(self._is_new)

    def keep(self, handles: list[Any]) -> None:
        """Set the handles of the arrays that were not stored before."""
        for node, handle in zip(compress(self._nodes, self._is_new), handles, strict=True):
            node.source = handle

    def made(self, held: list[Any], n_rows: int) -> list[Tensor]:
        """Evaluate all arrays for a partition of ``n_rows`` rows."""
        known = dict(zip(self._stored, map(as_tensor, held), strict=True))

        def empty(node: Node) -> Tensor:
            return node.like.new_empty(n_rows, *node.like.shape[1:])

        return [evaluated(node, known, empty) for node in self._nodes]

    def new(self, values: list[Tensor]) -> list[Any]:
        """Select the values of arrays that are not stored yet."""
        return [value.numpy() for value in compress(values, self._is_new)]


def evaluated(node: Node, known: dict[Node, Tensor], source: Callable[[Node], Tensor]) -> Tensor:
    """Evaluate a node, once; ``source`` returns the values of one that is not a `Call`."""
    if node not in known:
        call = node.source
        if isinstance(call, Call):
            args, kwargs = map_nested(
                (call.args, call.kwargs), Node, lambda other: evaluated(other, known, source)
            )
            known[node] = call.function(*args, **kwargs)
        else:
            known[node] = source(node)
    return known[node]


def map_nested(tree: Any, kind: Any, function: Callable[[Any], Any]) -> Any:
    """Apply a function to all instances of a type in nested arguments."""
    if isinstance(tree, kind):
        return function(tree)
    if isinstance(tree, (tuple, list)):
        return type(tree)(map_nested(part, kind, function) for part in tree)
    if isinstance(tree, dict):
        return {name: map_nested(part, kind, function) for name, part in tree.items()}
    return tree


class RecordedRows(ABC):
    """An array with one entry per row whose values are not in memory.

    torch's functions and methods return another such array: operations on each row are recorded,
    and run where a sum over rows needs them. A sum over rows, or a slice of them, is computed at
    once and returned as a tensor. Operations with any other result that has not one entry per row
    raise an error.

    Parameters
    ----------
    node : Node
        Expression of the array.

    References
    ----------
    PyTorch documentation, Extending PyTorch: ``__torch_function__`` of a type that does not
    subclass Tensor.
    """

    node: Node

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of rows."""

    @abstractmethod
    def _with(self, node: Node) -> Self:
        """Return another array with the same rows."""

    @abstractmethod
    def _collect(self, rows: slice) -> Tensor:
        """Compute some rows."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole array."""
        return len(self), *self.node.like.shape[1:]

    def __bool__(self) -> bool:
        raise TypeError("rows that are not at hand are neither true nor false")

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Self:
        kwargs, found = kwargs or {}, list[Self]()

        def node(rows: Self) -> Node:
            found.append(rows)
            return rows.node

        args, kwargs = map_nested(args, cls, node), map_nested(kwargs, cls, node)
        empty = attrgetter("like")
        like = function(*map_nested(args, Node, empty), **map_nested(kwargs, Node, empty))
        if not isinstance(like, Tensor) or like.ndim == 0 or len(like):
            raise TypeError(
                f"{getattr(function, '__name__', function)} of rows that are not at hand is not as "
                "long as they are; sum it with `Data.reduce`."
            )
        source = None if function is torch.empty_like else Call(function, args, kwargs)
        return found[0]._with(Node(like, source))

    def __getattr__(self, name: str) -> Any:
        """Return a method of tensors; in-place methods replace this array's node."""
        if name in {"dtype", "device", "ndim"}:  # an array without rows has them in common
            return getattr(self.node.like, name)
        writes = name.endswith("_")
        if name.startswith("_") or not hasattr(Tensor, name.rstrip("_")) and name != "copy_":
            raise AttributeError(f"rows that are not at hand have no {name!r}")
        function = _copied if name == "copy_" else getattr(Tensor, name.rstrip("_"))

        def method(*args: Any, **kwargs: Any) -> Any:
            result = self.__torch_function__(function, (), (self, *args), kwargs)
            if not writes:
                return result
            self.node = result.node
            return self

        return method

    def __getitem__(self, index: Any) -> Any:
        """Return columns as another such array, or a slice of rows as a tensor."""
        first, *others = index if isinstance(index, tuple) else (index,)
        if first is Ellipsis or (isinstance(first, slice) and first == slice(None)):
            return (
                self.__torch_function__(Tensor.__getitem__, (), (self, index)) if others else self
            )
        if not isinstance(first, slice) or others:
            raise TypeError("of rows that are not at hand a slice can be taken")
        return self._collect(first)


def _operator(name: str) -> Callable[..., RecordedRows]:
    function = getattr(Tensor, name)
    return lambda self, *other: self.__torch_function__(function, (), (self, *other))


for _name in ("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "neg"):
    setattr(RecordedRows, f"__{_name}__", _operator(f"__{_name}__"))


class RemoteRows(RecordedRows):
    """An array with one entry per row, stored in partitions where the rows are.

    Parameters
    ----------
    parts : Partitions
    node : Node
        Expression of the array.
    """

    def __init__(self, parts: Partitions, node: Node) -> None:
        self.parts, self.node = parts, node

    def __len__(self) -> int:
        return sum(self.parts.lengths)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle a placeholder: tasks may refer to the array and cannot use it."""
        return Unavailable, ()

    def _with(self, node: Node) -> "RemoteRows":
        return RemoteRows(self.parts, node)

    def _collect(self, rows: slice) -> Tensor:
        return torch.cat(collect_rows([self], rows, _slice))

    def sum(self, dim: Any = None, **kwargs: Any) -> Any:
        """Sum over rows, as a tensor, or over another axis, as another remote array."""
        if dim not in (None, 0):
            return self.__torch_function__(Tensor.sum, (), (self, dim), kwargs)
        total = torch.stack(collect_rows([self], slice(0, None), _sum)).sum(dim=0)
        return total if dim == 0 else total.sum()


class Unavailable:
    """Placeholder for remote rows, or data of them, in another process."""


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
    lazy_rows, lengths = LazyRows([array.node for array in arrays]), parts.lengths

    def task(X: Any, index: int, held: list[Any]) -> tuple[Any, list[Any]]:
        return function(lazy_rows.made(held, lengths[index]), slices[index]), []

    return parts.collect(task, lazy_rows.held, reads=False)


def _slice(arrays: list[Tensor], rows: slice) -> Tensor:
    return arrays[0][rows].clone()


def _sum(arrays: list[Tensor], rows: slice) -> Tensor:
    return arrays[0].sum(dim=0)


def _copied(rows: Tensor, other: Tensor) -> Tensor:
    return torch.empty_like(rows).copy_(other)
