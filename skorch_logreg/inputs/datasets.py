"""Data sets and loaders of torch as input: choice of the loader, reading, label encoding."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.utils import check_array
from sklearn.utils.multiclass import check_classification_targets
from torch import Tensor
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
from skorch_logreg.inputs.arrays import to_numpy, to_tensor
from skorch_logreg.inputs.labels import (
    SoftTargets,
    class_probabilities,
    encode_targets,
    smooth_labels,
)
from skorch_logreg.inputs.weights import reweight
from skorch_logreg.solvers import MiniBatch
from skorch_logreg.solvers.minibatch import trains_in_epochs

__all__ = [
    "DatasetChunks",
    "DatasetSummary",
    "EMPTY",
    "batches",
    "is_streamed",
    "is_torch_dataset",
    "make_encoder",
    "make_loader",
    "read",
    "require_no_labels",
    "to_ndarray",
]

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


def make_loader(X: Any, solver: MiniBatch) -> DataLoader[Any]:
    """Return the loader of the batches that a solver trains on, and check its settings."""
    if isinstance(X, DataLoader):
        if solver.batch_size is not None:
            raise ParameterError(
                f"batch_size={solver.batch_size} is given, but a DataLoader makes its own "
                "batches; leave batch_size=None."
            )
        if X.batch_size is None and X.batch_sampler is None:
            raise ParameterError("The DataLoader has batch_size=None; give it one.")
        loader = X
    elif solver.batch_size is None:
        raise ParameterError(
            "batch_size=None takes all rows at once, which an IterableDataset does not give; "
            f"set it, as in {type(solver).__name__}(batch_size=32)."
        )
    else:
        loader = DataLoader(X, batch_size=solver.batch_size)
    for name, plain in (("validation_fraction", 0.0), ("finish", None), ("checkpoint", None)):
        if getattr(solver, name) != plain:
            raise ParameterError(
                f"{name}={getattr(solver, name)!r} needs rows in memory, but these stream; leave "
                f"{name}={plain}, or pass arrays."
            )
    return loader


@dataclass(frozen=True)
class DatasetSummary:
    """Classes, weights and size of a data set, from one reading before the first epoch.

    Parameters
    ----------
    first : tuple of X and y
        First two rows, or the only one.
    classes : ndarray of shape (n_classes,)
        Sorted labels.
    by_class : ndarray of shape (n_classes,)
        Total weight of each class, weighted by class probabilities if labels are soft.
    n_samples : int
    """

    first: tuple[np.ndarray, np.ndarray]
    classes: np.ndarray
    by_class: np.ndarray
    n_samples: int

    @classmethod
    def of(cls, loader: DataLoader[Any], soft_labels: bool) -> "DatasetSummary":
        """Read and validate all batches."""
        first: Any = None
        seen, totals = [], []
        n_samples = 0
        for X, y, weight in batches(loader):
            rows = check_array(
                X if sp.issparse(X) else to_ndarray(X),
                dtype=[np.float64, np.float32],
                allow_nd=True,
                input_name="X",
            )
            y = to_ndarray(y)
            first = (rows[:2], y[:2]) if first is None else first
            if rows.shape[1:] != first[0].shape[1:]:
                raise ValueError(
                    f"A batch has rows of shape {rows.shape[1:]}, the first has "
                    f"{first[0].shape[1:]}."
                )
            counts = np.ones(len(rows)) if weight is None else to_ndarray(weight).astype(np.float64)
            if not (y.shape[:1] == counts.shape == rows.shape[:1] and (y.ndim == 1 or soft_labels)):
                raise ValueError(
                    f"A batch has X of shape {rows.shape}, y of shape {y.shape} and weights of "
                    f"shape {counts.shape}; expected (rows, ...), (rows,) and (rows,)."
                )
            if not (np.isfinite(counts) & (counts >= 0)).all():
                raise ValueError("A batch has weights that are negative, NaN or infinite.")
            if soft_labels:
                seen.append(np.arange(2 if y.ndim == 1 else y.shape[1]))
                soft_targets = encode_targets(y, True, 0.0, seen[-1])
                assert isinstance(soft_targets, SoftTargets)
                totals.append(counts @ class_probabilities(soft_targets.class_probability).numpy())
            else:
                check_classification_targets(y)
                labels, index = np.unique(y, return_inverse=True)
                seen.append(labels)
                totals.append(np.bincount(index, weights=counts))
            n_samples += len(rows)
        if first is None:
            raise ValueError(EMPTY)
        classes, index = np.unique(np.concatenate(seen), return_inverse=True)
        by_class = np.bincount(index, weights=np.concatenate(totals))
        if not by_class.any():
            raise ValueError("Sample weights must contain at least one non-zero number.")
        return cls(first, classes, by_class, n_samples)


@dataclass(frozen=True)
class BatchEncoder:
    """Callable that encodes the labels and weights of a batch for the training loop.

    ``by_class`` holds the class weights (n_classes,) in float64; None: all are 1.
    """

    classes: np.ndarray
    by_class: Tensor | None
    soft_labels: bool
    label_smoothing: float

    def __call__(self, y: Any, weight: Any) -> tuple[Tensor, Tensor | None]:
        """Return targets (rows, 1) or (rows, 1, n_classes), and weights (rows, 1) or None."""
        labels = encode_targets(to_ndarray(y), self.soft_labels, self.label_smoothing, self.classes)
        rows = None if weight is None else to_tensor(to_ndarray(weight)).to(torch.float64)
        if isinstance(labels, SoftTargets):
            class_probability = labels.class_probability
            if self.by_class is not None:
                rows = (
                    torch.ones(len(class_probability), dtype=torch.float64)
                    if rows is None
                    else rows
                )
                class_probability, rows = reweight(class_probability, rows, self.by_class)
            targets = class_probability
        else:
            targets = labels.index
            if self.by_class is not None:
                own = self.by_class[targets]
                rows = own if rows is None else rows * own
        if len(self.classes) == 2:
            targets = targets.to(torch.float64)
        return targets[:, None], None if rows is None else rows[:, None]


def make_encoder(
    summary: DatasetSummary, class_weight: Any, soft_labels: bool, label_smoothing: float
) -> tuple[BatchEncoder, Tensor]:
    """Return the encoder of batches, and the total weight (1,) of all rows."""
    by_class = torch.from_numpy(summary.by_class)
    whole = by_class.sum(dim=0, keepdim=True)
    n_classes = len(summary.classes)
    by_class = smooth_labels(by_class / whole, label_smoothing, n_classes) * whole
    factors = None
    if class_weight is not None:
        factors = weights.class_weights_of(class_weight, summary.classes, by_class)
        whole = (by_class * factors).sum(dim=0, keepdim=True)
    return BatchEncoder(summary.classes, factors, soft_labels, label_smoothing), whole


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


_ROWS = 4096  # rows a batch that is read from a data set


def read(
    X: Any,
    allow_rereading: bool = False,
    *,
    max_memory_bytes: int = 1 << 30,
    chunk_bytes: int = 64 << 20,
) -> tuple[Any, Any, Any]:
    """Read all rows of a map-style data set or its loader.

    Parameters
    ----------
    X : Dataset or DataLoader
    allow_rereading : bool, default=False
        Whether the rows of a large data set may be read again in every pass instead of being kept
        in memory. This needs a loader that yields every row once, in any order.
    max_memory_bytes, chunk_bytes : int
        Size of the rows up to which they are kept in memory, and of a chunk of more rows.

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
