"""Data: how rows multiply, and where they live."""

from skorch_logreg.data.chunked import Chunked, Chunks, from_chunks
from skorch_logreg.data.dense import DenseBlock
from skorch_logreg.data.distributed import Distributed, as_it_is, from_parts
from skorch_logreg.data.memory import CONTAINERS, InMemory, from_arrays
from skorch_logreg.data.on_dask import DaskParts
from skorch_logreg.data.on_disk import ScratchParts
from skorch_logreg.data.on_ranks import Rank, RankParts, RankRows
from skorch_logreg.data.partitioned import Survey
from skorch_logreg.data.protocol import Block, Data
from skorch_logreg.data.remote import Parts, RemoteRows
from skorch_logreg.data.small import SmallBlock
from skorch_logreg.data.sources import ArrayChunks, NpyChunks, ParquetChunks
from skorch_logreg.data.sparse import SparseBlock
from skorch_logreg.data.tensors import as_tensor, take_columns

__all__ = [
    "CONTAINERS",
    "ArrayChunks",
    "Block",
    "Chunked",
    "Chunks",
    "DaskParts",
    "Data",
    "DenseBlock",
    "Distributed",
    "InMemory",
    "NpyChunks",
    "ParquetChunks",
    "Parts",
    "Rank",
    "RankParts",
    "RankRows",
    "RemoteRows",
    "ScratchParts",
    "SmallBlock",
    "SparseBlock",
    "Survey",
    "as_it_is",
    "as_tensor",
    "from_arrays",
    "from_chunks",
    "from_parts",
    "take_columns",
]
