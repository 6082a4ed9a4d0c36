"""Data sets of torch and their loaders, as rows with labels and weights."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
)

from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs import weights
from skorch_logreg.inputs.arrays import to_numpy
from skorch_logreg.solvers.minibatch import trains_in_epochs

_ROWS = 4096  # rows a batch that is read from a data set
EMPTY = "Found array with 0 sample(s): the data set is empty."


def is_torch_dataset(X: Any) -> bool:
    """Return True if X is a data set or loader of torch, which yields y and weights itself."""
    return isinstance(X, (Dataset, DataLoader))


def is_streamed(X: Any, solver: Any) -> bool:
    """Return True if X is a data set whose batches a fit trains on as they are yielded."""
    if not is_torch_dataset(X):
        return False
    one_by_one = isinstance(X.dataset if isinstance(X, DataLoader) else X, IterableDataset)
    trains = trains_in_epochs(solver)
    if one_by_one and not trains:
        raise ParameterError(
            f"An IterableDataset gets mini-batches only, which solver={solver!r} does not take; "
            "choose one of skorch_logreg.solvers.SGD, Adam, AdamW or Optimizer."
        )
    return trains and (one_by_one or isinstance(X, DataLoader))


def require_no_labels(y: Any, sample_weight: Any, offset: Any = None) -> None:
    """Raise an error for labels, weights or an offset passed in addition to a data set."""
    for name, value in (("y", y), ("sample_weight", sample_weight)):
        if value is not None:
            raise ParameterError(
                f"{name} is given beside a data set of torch, which brings (X, y) or (X, y, "
                f"weight) itself; pass {name}=None."
            )
    weights.require_no_offset(offset, "a data set of torch")


def batches(loader: DataLoader[Any]) -> Iterator[tuple[Any, Any, Any]]:
    """Yield X, y and the weight or None of every batch of a loader."""
    lengths: tuple[int, ...] = (2, 3)
    for item in loader:
        if not (isinstance(item, (tuple, list)) and len(item) in lengths):
            raise ValueError(
                f"A batch is a {type(item).__name__} of {len(item)} parts; expected (X, y), or "
                "(X, y, weight), in all of them."
            )
        lengths = (len(item),)
        yield item[0], item[1], item[2] if len(item) == 3 else None


def to_ndarray(array: Any) -> np.ndarray:
    """Convert an array or tensor to a NumPy array."""
    return np.asarray(to_numpy(array))


def read(
    X: Any,
    allow_rereading: bool = False,
    *,
    max_memory_bytes: int = 1 << 30,
    chunk_bytes: int = 64 << 20,
) -> tuple[Any, Any, Any]:
    """Read all rows of a map-style data set or its loader.

    With ``allow_rereading``, rows of more than ``max_memory_bytes`` are read again in every pass,
    in chunks of ``chunk_bytes``, if the loader yields every row once, in any order.

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
        rows.append(to_ndarray(item))
        labels.append(others)
        first = rows[0] if first is None else first
        n_bytes += rows[-1].nbytes
        if chunks is not None and n_bytes > max_memory_bytes:
            rows.clear()
    if first is None:
        raise ValueError(EMPTY)
    y, weight = (
        None if parts[0] is None else np.concatenate([to_ndarray(part) for part in parts])
        for parts in zip(*labels, strict=True)
    )
    if chunks is None or n_bytes <= max_memory_bytes:
        return np.concatenate(rows), y, weight
    width = max(first.nbytes // len(first), 1)
    return replace(chunks, rows=max(chunk_bytes // width, 1)), y, weight


@dataclass(frozen=True)
class DatasetChunks:
    """Chunks of ``rows`` rows of a map-style torch data set, read again in every pass.

    It has the interface of `skorch_logreg.data.ArrayChunks`; ``collate`` is the loader's function
    that makes a batch of samples.
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
