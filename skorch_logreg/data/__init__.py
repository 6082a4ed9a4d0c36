"""Data: how rows multiply, and where they live."""

from skorch_logreg.data.dense import DenseBlock
from skorch_logreg.data.memory import CONTAINERS, InMemory, from_arrays
from skorch_logreg.data.protocol import Block, Data
from skorch_logreg.data.small import SmallBlock
from skorch_logreg.data.sparse import SparseBlock
from skorch_logreg.data.tensors import as_tensor, take_columns

__all__ = [
    "CONTAINERS",
    "Block",
    "Data",
    "DenseBlock",
    "InMemory",
    "SmallBlock",
    "SparseBlock",
    "as_tensor",
    "from_arrays",
    "take_columns",
]
