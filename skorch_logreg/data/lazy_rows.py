"""Expressions of arrays with one entry per row, which are evaluated where the rows are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from skorch_logreg.data.tensors import as_tensor


@dataclass(eq=False)
class Node:
    """An array with one entry per row, stored or still to be computed.

    Parameters
    ----------
    like : Tensor of shape (0, ...)
        Array without rows, of the same type and trailing shape.
    source : object or None
        Handle of stored values, or a `Call` that computes them; None: not yet written.
    """

    like: Tensor
    source: Any = None


@dataclass(frozen=True, eq=False)
class Call:
    """A function of nodes that is still to be called."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Held:
    """Reference to one of the stored values that are passed to a task."""

    place: int


@dataclass(frozen=True, eq=False)
class _Empty:
    """An uninitialised array that the task writes."""

    shape: tuple[int, ...]
    dtype: torch.dtype


_Expression = Call | _Held | _Empty


class LazyRows:
    """Expressions of several arrays; common subexpressions are evaluated once.

    Parameters
    ----------
    nodes : sequence of Node

    Attributes
    ----------
    held : list
        Handles of the stored values that the expressions use, in the order in which tasks get
        them.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.held: list[Any] = []
        self._known: dict[int, _Expression] = {}
        self._expressions = [self._expression(node) for node in nodes]
        pairs = zip(nodes, self._expressions, strict=True)
        self._new = [node for node, expression in pairs if not isinstance(expression, _Held)]

    def __getstate__(self) -> list[_Expression]:
        """Pickle only the expressions, which is all that a task needs."""
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
        """Number of arrays that are not stored yet."""
        return len(self._new)

    def keep(self, handles: list[Any]) -> None:
        """Set the handles of the arrays that were not stored before."""
        for node, handle in zip(self._new, handles, strict=True):
            node.source = handle

    def made(self, held: list[Any], n_rows: int) -> list[Tensor]:
        """Evaluate all arrays for a partition of ``n_rows`` rows."""
        part = _PartEvaluation(held, n_rows)
        return [part.make(expression) for expression in self._expressions]

    def new(self, values: list[Tensor]) -> list[Any]:
        """Select the values of arrays that are not stored yet."""
        pairs = zip(values, self._expressions, strict=True)
        return [value.numpy() for value, expression in pairs if not isinstance(expression, _Held)]


class _PartEvaluation:
    """Evaluation of expressions for one partition, with a cache.

    Not a closure: its reference cycle would keep the arrays longer than they are used.
    """

    def __init__(self, held: list[Any], n_rows: int) -> None:
        self._held, self._n_rows = held, n_rows
        self._known: dict[int, Tensor] = {}

    def make(self, expression: _Expression) -> Tensor:
        """Evaluate an expression, or return its cached value."""
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
    """Apply a function to all instances of a type in nested arguments."""
    if isinstance(tree, kind):
        return function(tree)
    if isinstance(tree, (tuple, list)):
        return type(tree)(map_nested(part, kind, function) for part in tree)
    if isinstance(tree, dict):
        return {name: map_nested(part, kind, function) for name, part in tree.items()}
    return tree
