"""Reading of torch data sets for solvers that need all rows."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler, Subset

from skorch_logreg.estimators.streams import EMPTY, batches, to_ndarray

__all__ = ["DatasetChunks", "read"]

_ROWS = 4096  # rows a batch that is read from a data set
_IN_MEMORY = 1 << 30  # bytes of rows up to which they are kept in memory
_CHUNK = 64 << 20  # bytes of a chunk of larger data sets, which are read in every pass


def read(X: Any, allow_rereading: bool = False) -> tuple[Any, Any, Any]:
    """Read all rows of a map-style data set or its loader.

    Parameters
    ----------
    X : Dataset or DataLoader
    allow_rereading : bool, default=False
        Whether the rows of a large data set may be read again in every pass instead of being kept
        in memory. This needs a loader that yields every row once, in any order.

    Returns
    -------
    X : ndarray or DatasetChunks
    y, sample_weight : ndarray
        Labels and weights; the weights are None if the data set has none.
    """
    loader = X if isinstance(X, DataLoader) else DataLoader(X, batch_size=_ROWS)
    chunks = DatasetChunks.of(loader) if allow_rereading else None
    rows: list[Any] = []
    labels: list[Any] = []
    n_bytes, first = 0, None
    for item, *others in batches(loader if chunks is None else chunks.loader()):
        part = to_ndarray(item)
        n_bytes += part.nbytes
        first = part if first is None else first
        rows.append(part)
        labels.append(others)
        if chunks is not None and n_bytes > _IN_MEMORY:
            rows.clear()
    if first is None:
        raise ValueError(EMPTY)
    y, weight = (
        None if parts[0] is None else np.concatenate([to_ndarray(part) for part in parts])
        for parts in zip(*labels, strict=True)
    )
    if chunks is None or n_bytes <= _IN_MEMORY:
        return np.concatenate(rows), y, weight
    width = max(first.nbytes // len(first), 1)
    return replace(chunks, rows=max(_CHUNK // width, 1)), y, weight


@dataclass(frozen=True)
class DatasetChunks:
    """Chunks of rows of a map-style torch data set, read again in every pass.

    It has the interface of `skorch_logreg.data.ArrayChunks`.

    Parameters
    ----------
    dataset : Dataset
    collate : callable
        The loader's function that makes a batch of samples.
    rows : int
        Number of rows of a chunk.
    """

    dataset: Any
    collate: Any
    rows: int = _ROWS

    @classmethod
    def of(cls, loader: DataLoader[Any]) -> "DatasetChunks | None":
        """Return chunks for a loader that yields each row once; None for other loaders."""
        sampler = loader.sampler
        once = isinstance(sampler, SequentialSampler) or (
            isinstance(sampler, RandomSampler)
            and not sampler.replacement
            and sampler.num_samples == len(sampler.data_source)
        )
        own = type(loader.batch_sampler) is BatchSampler or loader.batch_sampler is None
        if not (once and own) or loader.drop_last:
            return None
        return cls(loader.dataset, loader.collate_fn)

    def __len__(self) -> int:
        """Return the number of chunks."""
        return -(-len(self.dataset) // self.rows)

    def loader(self, rows: range | None = None) -> DataLoader[Any]:
        """Return a loader of some rows, or of all, in order."""
        some = self.dataset if rows is None else Subset(self.dataset, rows)
        return DataLoader(some, batch_size=_ROWS, collate_fn=self.collate)

    def chunk(self, index: int) -> np.ndarray:
        """Read the rows of a chunk."""
        first = index * self.rows
        rows = range(first, min(first + self.rows, len(self.dataset)))
        return np.concatenate([to_ndarray(X) for X, _, _ in batches(self.loader(rows))])
