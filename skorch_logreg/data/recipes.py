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


_Recipe = Call | _Held | _Empty


class Recipes:
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
        self._known: dict[int, _Recipe] = {}
        self._recipes = [self._recipe(node) for node in nodes]
        pairs = zip(nodes, self._recipes, strict=True)
        self._new = [node for node, recipe in pairs if not isinstance(recipe, _Held)]

    def __getstate__(self) -> list[_Recipe]:
        """Take along what the work needs."""
        return self._recipes

    def __setstate__(self, recipes: list[_Recipe]) -> None:
        self._recipes = recipes

    def _recipe(self, node: Node) -> _Recipe:
        if id(node) not in self._known:
            source = node.source
            if source is None:
                recipe: _Recipe = _Empty(tuple(node.like.shape[1:]), node.like.dtype)
            elif isinstance(source, Call):
                recipe = Call(
                    source.function,
                    mapped(source.args, Node, self._recipe),
                    mapped(source.kwargs, Node, self._recipe),
                )
            else:
                recipe = _Held(len(self.held))
                self.held.append(source)
            self._known[id(node)] = recipe
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
        part = _Part(held, n_rows)
        return [part.make(recipe) for recipe in self._recipes]

    def new(self, values: list[Tensor]) -> list[Any]:
        """Those of the values that are not held as yet."""
        pairs = zip(values, self._recipes, strict=True)
        return [value.numpy() for value, recipe in pairs if not isinstance(recipe, _Held)]


class _Part:
    """What is made for one part; no closure, whose cycle would keep it longer than it is used."""

    def __init__(self, held: list[Any], n_rows: int) -> None:
        self._held, self._n_rows = held, n_rows
        self._known: dict[int, Tensor] = {}

    def make(self, recipe: _Recipe) -> Tensor:
        """Make an array, or return it where it was made before."""
        if id(recipe) not in self._known:
            if isinstance(recipe, _Held):
                made = as_tensor(self._held[recipe.place])
            elif isinstance(recipe, _Empty):
                made = torch.empty(self._n_rows, *recipe.shape, dtype=recipe.dtype)
            else:
                args = mapped(recipe.args, _Recipe, self.make)
                made = recipe.function(*args, **mapped(recipe.kwargs, _Recipe, self.make))
            self._known[id(recipe)] = made
        return self._known[id(recipe)]


def mapped(tree: Any, kind: Any, function: Callable[[Any], Any]) -> Any:
    """Replace all that is of a kind in nested arguments."""
    if isinstance(tree, kind):
        return function(tree)
    if isinstance(tree, (tuple, list)):
        return type(tree)(mapped(part, kind, function) for part in tree)
    if isinstance(tree, dict):
        return {name: mapped(part, kind, function) for name, part in tree.items()}
    return tree
