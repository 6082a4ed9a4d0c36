"""Data sets of torch and their loaders, read into memory, in every pass, or batch by batch."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.utils import check_array
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

from skorch_logreg.data import as_tensor
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs import weights
from skorch_logreg.inputs.arrays import to_numpy, to_tensor
from skorch_logreg.inputs.labels import class_probabilities, encode, encode_targets, smooth_labels
from skorch_logreg.minibatch import Batch, TrainingRequest, TrainingResult, train
from skorch_logreg.solvers import MiniBatch
from skorch_logreg.solvers.minibatch import changed_settings, trains_in_epochs

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
                f"{name} is given in addition to a data set of torch, which yields (X, y) or (X, "
                f"y, weight); pass {name}=None."
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
    """Read X, y and weights, or None, of a map-style data set or its loader.

    With ``allow_rereading``, rows of more than ``max_memory_bytes`` become DatasetChunks of
    ``chunk_bytes``, which are read again in every pass, if the loader yields every row once, in any
    order.
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
        batch: Any = loader.batch_sampler  # it may have come with a sampler of its own
        if type(batch) is not BatchSampler or batch.drop_last:
            return None
        sampler: Any = batch.sampler
        once = type(sampler) is SequentialSampler or (
            type(sampler) is RandomSampler
            and not sampler.replacement
            and sampler.num_samples == len(sampler.data_source)
        )
        if not (once and sampler.data_source is loader.dataset):
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


@dataclass(frozen=True)
class Stream:
    """Batches of a loader, and the classes and weights of all rows from a first reading.

    ``first`` are X and y of the first two rows, or the only one; ``class_weight`` (n_classes,) is
    None if all weights are 1; ``weight`` (1,) is the total weight of all rows.
    """

    loader: DataLoader[Any]
    first: tuple[np.ndarray, np.ndarray]
    classes: np.ndarray
    class_weight: Tensor | None
    weight: Tensor
    n_samples: int
    soft_labels: bool
    label_smoothing: float

    @classmethod
    def of(cls, model: Any, X: Any, solver: MiniBatch) -> "Stream":
        """Read and validate all batches once, with the parameters of a classifier."""
        loader, first, n_samples = _make_loader(X, solver), None, 0
        seen, totals = [], []
        for X, y, weight in batches(loader):
            rows, y, weight = _check_batch(X, y, weight, model.soft_labels)
            first = (rows[:2], y[:2]) if first is None else first
            if rows.shape[1:] != first[0].shape[1:]:
                raise ValueError(
                    f"A batch has rows of shape {rows.shape[1:]}, the first has "
                    f"{first[0].shape[1:]}."
                )
            n_samples += len(rows)
            if model.soft_labels:
                seen.append(np.arange(2 if y.ndim == 1 else y.shape[1]))
                labels = encode_targets(y, True, 0.0, seen[-1])
                proba = class_probabilities(labels.class_probability)
                totals.append(weight @ proba.numpy())
            else:
                labels = encode(y)
                seen.append(labels.classes)
                totals.append(np.bincount(labels.index, weights=weight))
        if first is None:
            raise ValueError(EMPTY)
        classes, index = np.unique(np.concatenate(seen), return_inverse=True)
        by_class = torch.from_numpy(np.bincount(index, weights=np.concatenate(totals)))
        whole = weights.check_total(by_class).sum(dim=0, keepdim=True)
        by_class = smooth_labels(by_class / whole, model.label_smoothing, len(classes)) * whole
        factors = None
        if model.class_weight is not None:
            factors = weights.class_weights_of(model.class_weight, classes, by_class)
            whole = (by_class * factors).sum(dim=0, keepdim=True)
        settings = model.soft_labels, model.label_smoothing
        return cls(loader, first, classes, factors, whole, n_samples, *settings)

    def encode(self, y: Any, weight: Any) -> tuple[Tensor, Tensor | None]:
        """Return targets (rows, 1) or (rows, 1, n_classes), and weights (rows, 1) or None."""
        settings = self.soft_labels, self.label_smoothing, self.classes
        labels = encode_targets(to_ndarray(y), *settings)
        targets: Tensor = labels.class_probability if labels.is_soft else labels.index
        rows: Any = None if weight is None else to_tensor(to_ndarray(weight)).to(torch.float64)
        if self.class_weight is not None:
            rows = torch.ones(len(y), dtype=torch.float64) if rows is None else rows
            if labels.is_soft:
                targets, rows = weights.reweight(targets, rows, self.class_weight)
            else:
                rows = rows * self.class_weight[targets]
        if len(self.classes) == 2:
            targets = targets.to(torch.float64)
        return targets[:, None], None if rows is None else rows[:, None]

    def train(self, request: TrainingRequest) -> TrainingResult:
        """Train a network on the batches of the loader."""
        head = request.head.weight
        mean_weight = self.weight / self.n_samples

        def to_device(tensor: Tensor, keep: bool = False) -> Tensor:  # asynchronous if pinned
            dtype = head.dtype if not keep or tensor.is_floating_point() else None
            return tensor.to(head.device, dtype, non_blocking=True)

        def epoch(number: int) -> Iterator[Batch]:
            for X, y, weight in batches(self.loader):
                rows = X.detach() if isinstance(X, Tensor) else as_tensor(np.asarray(X))
                targets, weight = self.encode(y, weight)
                weight = None if weight is None else to_device(weight / mean_weight)
                yield Batch(to_device(rows), to_device(targets, keep=True), weight)

        return train(request, epoch, request.objective(self.weight.to(head.device)))


def _make_loader(X: Any, solver: MiniBatch) -> DataLoader[Any]:
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
    in_memory = ("validation_fraction", "finish", "checkpoint")
    for name, value, plain in changed_settings(solver, *in_memory):
        raise ParameterError(
            f"{name}={value!r} needs rows in memory, but these stream; leave {name}={plain}, or "
            "pass arrays."
        )
    return loader


def _check_batch(X: Any, y: Any, weight: Any, soft_labels: bool) -> tuple[Any, Any, np.ndarray]:
    """Validate the rows, labels and weights of a batch; weights are 1 if there are none."""
    rows = check_array(
        X if sp.issparse(X) else to_ndarray(X),
        dtype=[np.float64, np.float32],
        allow_nd=True,
        input_name="X",
    )
    y = to_ndarray(y)
    counts = np.ones(len(rows)) if weight is None else to_ndarray(weight).astype(np.float64)
    if not (y.shape[:1] == counts.shape == rows.shape[:1] and (y.ndim == 1 or soft_labels)):
        raise ValueError(
            f"A batch has X of shape {rows.shape}, y of shape {y.shape} and weights of "
            f"shape {counts.shape}; expected (rows, ...), (rows,) and (rows,)."
        )
    if not (np.isfinite(counts) & (counts >= 0)).all():
        raise ValueError("A batch has weights that are negative, NaN or infinite.")
    return rows, y, counts
