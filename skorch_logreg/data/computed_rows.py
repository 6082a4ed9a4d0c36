"""Arrays with one entry per row of X that are computed in every pass, because they are large."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from skorch_logreg.data.lazy_rows import Node, RecordedRows, evaluated
from skorch_logreg.data.protocol import Block, Kernel


@dataclass(frozen=True, eq=False)
class Product:
    """Logits of parameters (m, K, p + 1), plus an offset (n, 1, 1 or K)."""

    params: Tensor
    offset: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Written:
    """Values that a kernel writes into some of its arrays of rows."""

    kernel: Kernel
    arrays: tuple[Any, ...]


class ComputedRows(RecordedRows):
    """An array (n, m, K) of rows in memory that is not stored.

    With many classes an array of logits may be much larger than X. A pass multiplies a block of
    rows with the parameters once more, which costs at most half of what else it does.

    Parameters
    ----------
    data : InMemory
        Rows from which it is computed.
    node : Node
        Expression of the array.
    """

    def __init__(self, data: Any, node: Node) -> None:
        self.data, self.node = data, node

    @classmethod
    def product(cls, data: Any, params: Tensor, offset: Tensor | None = None) -> "ComputedRows":
        """Return the logits of parameters."""
        like = params.new_empty(0, *params.shape[:2], dtype=data.products)
        return cls(data, Node(like, Product(params, offset)))

    def beside(self, rows: Tensor) -> "ComputedRows":
        """Return a stored array with as many rows, for operations with this one."""
        return self._with(Node(rows[:0], rows))

    def __len__(self) -> int:
        return int(self.data.n_samples)

    def _with(self, node: Node) -> "ComputedRows":
        return ComputedRows(self.data, node)

    def __getitem__(self, index: Any) -> Any:
        """Select models by their parameters, or columns or rows as other such arrays do."""
        match self.node.source, index:
            case Product(params=params, offset=offset), (
                slice(start=None, stop=None, step=None),
                Tensor() as models,
            ):
                return self.product(self.data, params[models], offset)
        return super().__getitem__(index)

    def index_copy_(self, dim: int, index: Tensor, part: "ComputedRows") -> "ComputedRows":
        """Replace models by their parameters: one product in a pass, as in a resumed fit."""
        match self.node.source, part.node.source:
            case Product(params=params, offset=offset), Product(params=of_part) if dim == 1:
                joint = params.index_copy(0, index, of_part)
                self.node = self.product(self.data, joint, offset).node
                return self
        replaced: ComputedRows = super().__getattr__("index_copy_")(dim, index, part)
        return replaced

    def _collect(self, rows: slice) -> Tensor:
        index = torch.arange(len(self))[rows]
        out = self.node.like.new_empty(len(index), *self.node.like.shape[1:])
        if not len(index):
            return out

        def kernel(block: Block, index: Tensor, out: Tensor) -> tuple[Tensor, ...]:
            out.copy_(rows_of_block([self], block, index)[0])
            return ()

        self.data.taken(rows).reduce(kernel, index, out)
        return out


def rows_of_block(arrays: Sequence[Any], block: Block, rows: slice | Tensor) -> list[Tensor]:
    """Return the rows of a block of several arrays, which are stored or computed.

    Common subexpressions are evaluated once.
    """
    known = dict[Node, Tensor]()

    def values(array: Any) -> Tensor:
        if isinstance(array, ComputedRows):
            return evaluated(array.node, known, of_source)
        return array[rows]

    def of_source(node: Node) -> Tensor:
        match node.source:
            case Tensor():
                return node.source[rows]
            case Product(params=params, offset=offset):
                logits = block.matmul(params)
                return logits if offset is None else logits.add_(offset[rows])
            case Written(kernel=kernel, arrays=given):
                for other in given:
                    if isinstance(other, ComputedRows) and other.node.source is node.source:
                        known[other.node] = _empty(other.node, block)
                kernel(block, *map(values, given))
                return known[node]
        return _empty(node, block)

    found = [values(array) for array in arrays]
    known.clear()  # these functions refer to each other, so that only the next collection frees it
    return found


def keep_writes(arrays: tuple[Any, ...], kernel: Kernel) -> None:
    """Record that a kernel has written into those arrays that have no values yet."""
    written = Written(kernel, arrays)
    for array in arrays:
        if isinstance(array, ComputedRows) and array.node.source is None:
            array.node.source = written


def _empty(node: Node, block: Block) -> Tensor:
    return node.like.new_empty(len(block.weight), *node.like.shape[1:])
