"""Rows of a data set of torch for a solver that needs them all."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler, Subset

from skorch_logreg.estimators.streams import EMPTY, batches, to_ndarray

__all__ = ["DatasetChunks", "read"]

_ROWS = 4096  # that are asked of a data set at a time
_IN_MEMORY = 1 << 30  # bytes of rows up to which they are kept
_CHUNK = 64 << 20  # bytes of those that are read in every pass


def read(X: Any, allow_rereading: bool = False) -> tuple[Any, Any, Any]:
    """Read all rows of a map-style data set or its loader.

    Parameters
    ----------
    X : Dataset or DataLoader
    allow_rereading : bool, default=False
        Whether the rows of a large data set may stay where they are, to be read in every pass:
        where a loader gives all of them, in whatever order.

    Returns
    -------
    X : ndarray or DatasetChunks
    y, sample_weight : ndarray
        The last None where the data set has none.
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
    """Rows of a map-style data set of torch, read again in every pass; see `ArrayChunks`.

    Parameters
    ----------
    dataset : Dataset
    collate : callable
        Of its loader.
    rows : int
        Rows of a chunk.
    """

    dataset: Any
    collate: Any
    rows: int = _ROWS

    @classmethod
    def of(cls, loader: DataLoader[Any]) -> "DatasetChunks | None":
        """Take the data set of a loader that gives each of its rows once; None for others."""
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
        """Count the chunks."""
        return -(-len(self.dataset) // self.rows)

    def loader(self, rows: range | None = None) -> DataLoader[Any]:
        """Return a loader of some rows in their order, or of all."""
        some = self.dataset if rows is None else Subset(self.dataset, rows)
        return DataLoader(some, batch_size=_ROWS, collate_fn=self.collate)

    def chunk(self, index: int) -> np.ndarray:
        """Read rows."""
        first = index * self.rows
        rows = range(first, min(first + self.rows, len(self.dataset)))
        return np.concatenate([to_ndarray(X) for X, _, _ in batches(self.loader(rows))])
