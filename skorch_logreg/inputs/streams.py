"""Batches of torch data sets that a fit trains on as they are yielded."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.utils import check_array
from sklearn.utils.multiclass import check_classification_targets
from torch import Tensor
from torch.utils.data import DataLoader

from skorch_logreg.data import as_tensor
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs.arrays import to_tensor
from skorch_logreg.inputs.datasets import EMPTY, batches, to_ndarray
from skorch_logreg.inputs.labels import class_probabilities, encode_targets, smooth_labels
from skorch_logreg.inputs.weights import check_nonzero, class_weights_of, reweight
from skorch_logreg.minibatch import Batch, TrainingRequest, TrainingResult, train
from skorch_logreg.solvers import MiniBatch
from skorch_logreg.solvers.minibatch import changed_settings


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
            classes, total = _class_totals(y, weight, model.soft_labels)
            seen.append(classes)
            totals.append(total)
        if first is None:
            raise ValueError(EMPTY)
        classes, index = np.unique(np.concatenate(seen), return_inverse=True)
        by_class = torch.from_numpy(np.bincount(index, weights=np.concatenate(totals)))
        whole = check_nonzero(by_class).sum(dim=0, keepdim=True)
        by_class = smooth_labels(by_class / whole, model.label_smoothing, len(classes)) * whole
        factors = None
        if model.class_weight is not None:
            factors = class_weights_of(model.class_weight, classes, by_class)
            whole = (by_class * factors).sum(dim=0, keepdim=True)
        settings = model.soft_labels, model.label_smoothing
        return cls(loader, first, classes, factors, whole, n_samples, *settings)

    def encode(self, y: Any, weight: Any) -> tuple[Tensor, Tensor | None]:
        """Return targets (rows, 1) or (rows, 1, n_classes), and weights (rows, 1) or None."""
        settings = self.soft_labels, self.label_smoothing, self.classes
        labels: Any = encode_targets(to_ndarray(y), *settings)
        targets: Tensor = labels.class_probability if labels.is_soft else labels.index
        rows: Any = None if weight is None else to_tensor(to_ndarray(weight)).to(torch.float64)
        if self.class_weight is not None:
            rows = torch.ones(len(y), dtype=torch.float64) if rows is None else rows
            if labels.is_soft:
                targets, rows = reweight(targets, rows, self.class_weight)
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
            for X, y, *rest in self.loader:
                rows = X.detach() if isinstance(X, Tensor) else as_tensor(np.asarray(X))
                targets, weight = self.encode(y, rest[0] if rest else None)
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


def _class_totals(
    y: np.ndarray, weight: np.ndarray, soft_labels: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes of a batch and their total weights."""
    if not soft_labels:
        check_classification_targets(y)
        classes, index = np.unique(y, return_inverse=True)
        return classes, np.bincount(index, weights=weight)
    classes = np.arange(2 if y.ndim == 1 else y.shape[1])
    labels: Any = encode_targets(y, True, 0.0, classes)
    return classes, weight @ class_probabilities(labels.class_probability).numpy()
