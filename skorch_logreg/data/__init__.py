"""Data: how rows multiply, and where they live."""

from skorch_logreg.data.dense import DenseBlock
from skorch_logreg.data.memory import CONTAINERS, InMemory, from_arrays
from skorch_logreg.data.protocol import Block, Data
from skorch_logreg.data.small import SmallBlock
from skorch_logreg.data.sparse import SparseBlock

__all__ = [
    "CONTAINERS",
    "Block",
    "Data",
    "DenseBlock",
    "InMemory",
    "SmallBlock",
    "SparseBlock",
    "from_arrays",
]
