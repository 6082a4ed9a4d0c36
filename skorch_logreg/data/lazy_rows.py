"""How arrays are made from what their parts hold, as it travels to the rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from skorch_logreg.data.tensors import as_tensor


@dataclass(eq=False)
class Node:
    """An array that is held, or will be.

    Parameters
    ----------
    like : Tensor of shape (0, ...)
        No row of it, which tells shape and type.
    source : object or None
        A handle, or a `Call` that is still to be done; None: nothing was written yet.
    """

    like: Tensor
    source: Any = None


@dataclass(frozen=True, eq=False)
class Call:
    """A function of nodes that is still to be done."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Held:
    """One of the values that come with the work."""

    place: int


@dataclass(frozen=True, eq=False)
class _Empty:
    """Rows that the work writes."""

    shape: tuple[int, ...]
    dtype: torch.dtype


_Expression = Call | _Held | _Empty


class LazyRows:
    """How each of several arrays is made; what they share is made once.

    Parameters
    ----------
    nodes : sequence of Node

    Attributes
    ----------
    held : list
        Handles of what they are made from, in the order in which the work has them.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.held: list[Any] = []
        self._known: dict[int, _Expression] = {}
        self._expressions = [self._expression(node) for node in nodes]
        pairs = zip(nodes, self._expressions, strict=True)
        self._new = [node for node, expression in pairs if not isinstance(expression, _Held)]

    def __getstate__(self) -> list[_Expression]:
        """Take along what the work needs."""
        return self._expressions

    def __setstate__(self, expressions: list[_Expression]) -> None:
        self._expressions = expressions

    def _expression(self, node: Node) -> _Expression:
        if id(node) not in self._known:
            source = node.source
            if source is None:
                expression: _Expression = _Empty(tuple(node.like.shape[1:]), node.like.dtype)
            elif isinstance(source, Call):
                expression = Call(
                    source.function,
                    map_nested(source.args, Node, self._expression),
                    map_nested(source.kwargs, Node, self._expression),
                )
            else:
                expression = _Held(len(self.held))
                self.held.append(source)
            self._known[id(node)] = expression
        return self._known[id(node)]

    @property
    def n_new(self) -> int:
        """Count the arrays that are not held as yet."""
        return len(self._new)

    def keep(self, handles: list[Any]) -> None:
        """Note where these are held from now on."""
        for node, handle in zip(self._new, handles, strict=True):
            node.source = handle

    def made(self, held: list[Any], n_rows: int) -> list[Tensor]:
        """Make all arrays, of a part of so many rows."""
        part = _PartEvaluation(held, n_rows)
        return [part.make(expression) for expression in self._expressions]

    def new(self, values: list[Tensor]) -> list[Any]:
        """Those of the values that are not held as yet."""
        pairs = zip(values, self._expressions, strict=True)
        return [value.numpy() for value, expression in pairs if not isinstance(expression, _Held)]


class _PartEvaluation:
    """What is made for one part; no closure, whose cycle would keep it longer than it is used."""

    def __init__(self, held: list[Any], n_rows: int) -> None:
        self._held, self._n_rows = held, n_rows
        self._known: dict[int, Tensor] = {}

    def make(self, expression: _Expression) -> Tensor:
        """Make an array, or return it where it was made before."""
        if id(expression) not in self._known:
            if isinstance(expression, _Held):
                made = as_tensor(self._held[expression.place])
            elif isinstance(expression, _Empty):
                made = torch.empty(self._n_rows, *expression.shape, dtype=expression.dtype)
            else:
                args = map_nested(expression.args, _Expression, self.make)
                made = expression.function(
                    *args, **map_nested(expression.kwargs, _Expression, self.make)
                )
            self._known[id(expression)] = made
        return self._known[id(expression)]


def map_nested(tree: Any, kind: Any, function: Callable[[Any], Any]) -> Any:
    """Replace all that is of a kind in nested arguments."""
    if isinstance(tree, kind):
        return function(tree)
    if isinstance(tree, (tuple, list)):
        return type(tree)(map_nested(part, kind, function) for part in tree)
    if isinstance(tree, dict):
        return {name: map_nested(part, kind, function) for name, part in tree.items()}
    return tree
