"""Row containers: dense, sparse, chunked, on Dask or in a process group."""

from skorch_logreg.data.arrays import CONTAINERS, from_arrays
from skorch_logreg.data.chunks import ChunkParts, Chunks, look_through, scratch_folders
from skorch_logreg.data.computed_rows import ComputedRows
from skorch_logreg.data.dask import DaskParts
from skorch_logreg.data.dense import DenseBlock
from skorch_logreg.data.first_pass import FirstPassSample, as_it_is
from skorch_logreg.data.lazy_rows import RemoteRows
from skorch_logreg.data.memory import InMemory
from skorch_logreg.data.partitioned import PLACES, PartitionedData, from_parts
from skorch_logreg.data.process_group import Rank, RankParts, RankRows
from skorch_logreg.data.protocol import Block, Data, Partitions
from skorch_logreg.data.sources import ArrayChunks, NpyChunks, ParquetChunks
from skorch_logreg.data.sparse import SparseBlock
from skorch_logreg.data.tensors import as_tensor

__all__ = [
    "CONTAINERS",
    "PLACES",
    "ArrayChunks",
    "Block",
    "ChunkParts",
    "Chunks",
    "ComputedRows",
    "DaskParts",
    "Data",
    "DenseBlock",
    "FirstPassSample",
    "InMemory",
    "NpyChunks",
    "ParquetChunks",
    "PartitionedData",
    "Partitions",
    "Rank",
    "RankParts",
    "RankRows",
    "RemoteRows",
    "SparseBlock",
    "as_it_is",
    "as_tensor",
    "from_arrays",
    "from_parts",
    "look_through",
    "scratch_folders",
]
