"""Encoding of labels as class indices or class probabilities."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.utils._array_api import get_namespace, get_namespace_and_device, move_to
from sklearn.utils.multiclass import check_classification_targets
from torch import Tensor

from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs.arrays import to_tensor

# tolerance of a row's sum: rounding of float32 probabilities, or of decimals in a file
_SUM_TOLERANCE = 10 * torch.finfo(torch.float32).eps


@dataclass(frozen=True)
class Targets:
    """Labels encoded as class indices, or as class probabilities if they are soft or smoothed."""

    classes: Any  # sorted distinct labels (n_classes,), of y's library and dtype
    index: Any = None  # Tensor (n_samples,), int64; None for soft labels
    # of the second of two classes (n_samples,), or (n_samples, n_classes); rows sum to 1, float64
    class_probability: Any = None

    @property
    def is_soft(self) -> bool:
        """True if the labels are class probabilities."""
        return self.class_probability is not None

    @property
    def n_classes(self) -> int:
        """Number of distinct labels."""
        return int(self.classes.shape[0])

    def take(self, rows: np.ndarray) -> "Targets":
        """Copy the labels of some rows."""
        index, proba = self.index, self.class_probability
        return replace(
            self,
            index=None if index is None else index[rows],
            class_probability=None if proba is None else proba[rows],
        )


def encode(y: Any, known: Any = None) -> Targets:
    """Encode validated labels of any sortable type with their classes, or ``known``, sorted ones.

    Sorting a million labels takes as long as two passes over thirty columns. Integers of a short
    range, the common case, are counted instead.
    """
    short = _count(y) if known is None and isinstance(y, np.ndarray) else None
    if short is not None:
        return short
    check_classification_targets(y)
    classes = get_namespace(y)[0].unique_values(y) if known is None else known
    if known is None and isinstance(y, Tensor):
        return Targets(classes, torch.searchsorted(classes, y))
    labels, distinct = (np.asarray(move_to(each, xp=np, device="cpu")) for each in (y, classes))
    if known is None and len(distinct) == 2:  # a comparison is faster than a search
        return Targets(classes, to_tensor((labels == distinct[1]).astype(np.int64)))
    index = np.searchsorted(distinct, labels).clip(max=len(distinct) - 1)
    strange = distinct[index] != labels
    if strange.any():
        raise ValueError(
            f"y holds {np.unique(labels[strange])!s}, but the classes are {distinct!s}: those of "
            "the first call to partial_fit, or of fit."
        )
    return Targets(classes, to_tensor(index))


def _count(y: np.ndarray) -> Targets | None:
    """Encode booleans and integers of a short range by counting; None for other labels."""
    if y.dtype.kind not in "biu" or y.ndim != 1 or y.size == 0:
        return None
    low, high = int(y.min()), int(y.max())
    if high - low > y.size or max(high, -low) > 1 << 62:
        return None
    offset = y.astype(np.int64, copy=False)
    offset = offset - low if low else offset
    present = np.bincount(offset) > 0
    classes = (np.flatnonzero(present) + low).astype(y.dtype)
    if len(classes) > y.size // 2:
        check_classification_targets(y)  # warns of too many classes
    if not present.all():
        offset = (np.cumsum(present) - 1)[offset]
    return Targets(classes, to_tensor(offset))


def encode_targets(y: Any, soft_labels: bool, label_smoothing: float, known: Any = None) -> Targets:
    """Encode labels as class indices, or as class probabilities if they are soft or smoothed.

    ``y`` is validated, and has two axes only if the labels are soft. ``label_smoothing`` is the
    share of every row that is spread evenly over all classes. ``known`` are the classes, not all of
    them necessarily in y; None: they are those in y.
    """
    if soft_labels:
        classes, proba = _probabilities(y)
        n_classes = int(classes.shape[0])
        if known is not None and n_classes != len(known):
            raise ValueError(
                f"y holds probabilities of {n_classes} classes, but there are {len(known)}."
            )
        proba = smooth_labels(proba, label_smoothing, n_classes)
        if known is None:
            _refuse_empty(proba)
        return Targets(classes, class_probability=proba)
    hard = encode(y, known)
    if not label_smoothing or hard.n_classes < 2:
        return hard
    proba = hard.index.to(torch.float64)
    if hard.n_classes > 2:
        proba = proba.new_zeros(len(proba), hard.n_classes)
        proba.scatter_(1, hard.index[:, None], 1.0)
    return replace(hard, class_probability=smooth_labels(proba, label_smoothing, hard.n_classes))


def smooth_labels(class_probability: Tensor, label_smoothing: float, n_classes: int) -> Tensor:
    """Compute smoothed probabilities ``(1 - e) q + e / K``, in new memory."""
    return class_probability * (1 - label_smoothing) + label_smoothing / n_classes


def class_probabilities(proba: Tensor) -> Tensor:
    """Return the probabilities (n_samples, n_classes) of all classes."""
    return torch.stack([1 - proba, proba], dim=1) if proba.ndim == 1 else proba


def read_probabilities(y: Any, allow_nan: bool = False) -> Tensor:
    """Convert dense soft labels to a Tensor; raise an error for a number outside [0, 1]."""
    try:
        is_object = isinstance(y, np.ndarray) and y.dtype.kind == "O"
        proba = to_tensor(y.astype(np.float64) if is_object else y)
    except (TypeError, ValueError) as error:
        raise ParameterError(
            f"y must hold probabilities with soft_labels=True, got dtype {y.dtype}: {error}"
        ) from error
    wrong = (proba < 0) | (proba > 1) if allow_nan else ~((proba >= 0) & (proba <= 1))
    if bool(wrong.any()):
        place = tuple(wrong.nonzero()[0].tolist())
        raise ParameterError(
            f"y{list(place)} is {float(proba[place])}; with soft_labels=True y holds "
            f"probabilities, from 0 to 1{' (nan: not known)' if allow_nan else ''}."
        )
    return proba


def _probabilities(y: Any) -> tuple[Any, Tensor]:
    """Validate soft labels; return the classes, and the probabilities as in `Targets`."""
    if sp.issparse(y):
        raise ValueError("y is sparse; with soft_labels=True it must be dense probabilities.")
    proba = read_probabilities(y).to(torch.float64)
    shape = tuple(proba.shape)
    if proba.ndim > 2 or (proba.ndim == 2 and shape[1] < 2):
        raise ValueError(
            f"y has shape {shape}; with soft_labels=True it is (n_samples,), probabilities of the "
            "second of two classes, or (n_samples, n_classes) with 2 classes or more."
        )
    if proba.ndim == 2:
        total = proba.sum(dim=1, keepdim=True)
        apart = ((total - 1).abs() > _SUM_TOLERANCE)[:, 0]
        if bool(apart.any()):
            row = int(apart.nonzero()[0, 0])
            raise ValueError(
                f"y[{row}] sums to {float(total[row])}; with soft_labels=True every row of y "
                "holds the probabilities of all classes, which sum to 1."
            )
        proba = proba / total
        proba = proba[:, 1] if shape[1] == 2 else proba
    n_classes = 2 if proba.ndim == 1 else shape[1]
    if isinstance(y, np.ndarray):
        return np.arange(n_classes), proba
    xp, _, device = get_namespace_and_device(y)
    return xp.arange(n_classes, device=device), proba


def _refuse_empty(proba: Tensor) -> None:
    """Raise an error for classes of probability 0 in all rows, which have no finite intercept."""
    total = proba.sum(dim=0)
    if proba.ndim == 1:
        total = torch.stack([(1 - proba).sum(), total])
    empty = (total == 0).nonzero()[:, 0].tolist()
    if empty and len(total) == 2:
        raise ValueError(
            "This solver needs samples of at least 2 classes in the data, but every row of y "
            f"belongs to class {1 - empty[0]} only; label_smoothing above 0 gives each a share."
        )
    if empty:
        raise ValueError(
            f"No row of y has a share of class {empty[0]}: leave its column out, or give a "
            "label_smoothing above 0."
        )
