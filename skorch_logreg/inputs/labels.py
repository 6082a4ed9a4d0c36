"""Encoding of labels as class indices or class probabilities."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.utils._array_api import get_namespace, get_namespace_and_device, move_to
from sklearn.utils.multiclass import check_classification_targets
from torch import Tensor

from skorch_logreg.inputs.arrays import to_tensor

_COUNTED = 1 << 16  # range of integer labels up to which counting is faster than sorting


@dataclass(frozen=True)
class Targets:
    """Labels encoded as class indices.

    Parameters
    ----------
    classes : array of shape (n_classes,)
        Sorted distinct labels, of y's library and dtype.
    index : Tensor of shape (n_samples,), int64
    """

    classes: Any
    index: Tensor
    is_soft: ClassVar[bool] = False

    @property
    def n_classes(self) -> int:
        """Number of distinct labels."""
        return int(self.classes.shape[0])

    def take(self, rows: np.ndarray) -> "Targets":
        """Copy the labels of some rows."""
        return replace(self, index=self.index[rows])


def encode(y: Any) -> Targets:
    """Find the classes of validated labels of any sortable type, and encode the labels.

    Sorting a million labels takes as long as two passes over thirty columns. Integers of a short
    range, the common case, are counted instead.
    """
    if isinstance(y, np.ndarray):
        short = _count(y)
        if short is not None:
            return short
    check_classification_targets(y)
    xp, _ = get_namespace(y)
    classes = xp.unique_values(y)
    if isinstance(y, Tensor):
        return Targets(classes, torch.searchsorted(classes, y))
    labels, distinct = (
        (y, classes) if isinstance(y, np.ndarray) else move_to(y, classes, xp=np, device="cpu")
    )
    if len(distinct) == 2:
        index = (labels == distinct[1]).astype(np.int64)
    else:
        index = np.searchsorted(distinct, labels)
    return Targets(classes, to_tensor(index))


def encode_known(y: Any, classes: Any) -> Targets:
    """Encode labels with known, sorted classes, not all of them necessarily in y."""
    check_classification_targets(y)
    labels, known = (np.asarray(move_to(a, xp=np, device="cpu")) for a in (y, classes))
    index = np.searchsorted(known, labels).clip(max=len(known) - 1)
    strange = known[index] != labels
    if strange.any():
        raise ValueError(
            f"y holds {np.unique(labels[strange])!s}, but the classes are {known!s}: those of "
            "the first call to partial_fit, or of fit."
        )
    return Targets(classes, to_tensor(index))


def _count(y: np.ndarray) -> Targets | None:
    """Encode booleans and integers of a short range by counting; None for other labels."""
    if y.dtype.kind not in "biu" or y.ndim != 1 or y.size == 0:
        return None
    low, high = int(y.min()), int(y.max())
    if high - low > min(_COUNTED, y.size) or max(high, -low) > 1 << 62:
        return None
    offset = y.astype(np.int64, copy=False)
    if low:
        offset = offset - low
    present = np.bincount(offset) > 0
    classes = (np.flatnonzero(present) + low).astype(y.dtype)
    if len(classes) > y.size // 2:
        check_classification_targets(y)  # warns of too many classes
    if not present.all():
        offset = (np.cumsum(present) - 1)[offset]
    return Targets(classes, to_tensor(offset))


# tolerance of a row's sum: rounding of float32 probabilities, or of decimals in a file
_ROUNDING = 1e-6


@dataclass(frozen=True)
class SoftTargets:
    """Class probabilities of every row.

    Parameters
    ----------
    classes : array of shape (n_classes,)
        Sorted distinct labels.
    class_probability : Tensor of shape (n_samples,) or (n_samples, n_classes), float64
        Probabilities of the second of two classes, or of all classes; rows sum to 1.
    """

    classes: Any
    class_probability: Tensor
    is_soft: ClassVar[bool] = True

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return int(self.classes.shape[0])

    def take(self, rows: np.ndarray) -> "SoftTargets":
        """Copy the labels of some rows."""
        return replace(self, class_probability=self.class_probability[rows])


def encode_targets(
    y: Any, soft_labels: bool, label_smoothing: float, known: Any = None
) -> Targets | SoftTargets:
    """Encode labels as class indices, or as class probabilities if they are soft or smoothed.

    Parameters
    ----------
    y : array of shape (n_samples,) or (n_samples, n_classes)
        Validated labels; two axes only for soft labels.
    soft_labels : bool
        Whether y holds probabilities.
    label_smoothing : float
        Share of every row that is spread evenly over all classes.
    known : array of shape (n_classes,) or None
        Known classes, not all of them necessarily in y; None: find them in y.
    """
    if soft_labels:
        found = _probabilities(y)
        if known is not None and found.n_classes != len(known):
            raise ValueError(
                f"y holds probabilities of {found.n_classes} classes, but there are {len(known)}."
            )
        class_probability = smooth_labels(found.class_probability, label_smoothing, found.n_classes)
        found = SoftTargets(found.classes, class_probability)
        if known is None:
            _refuse_empty(found)
        return found
    hard = encode(y) if known is None else encode_known(y, known)
    if not label_smoothing or hard.n_classes < 2:
        return hard
    class_probability = hard.index.to(torch.float64)
    if hard.n_classes > 2:
        class_probability = class_probability.new_zeros(len(class_probability), hard.n_classes)
        class_probability.scatter_(1, hard.index[:, None], 1.0)
    return SoftTargets(
        hard.classes, smooth_labels(class_probability, label_smoothing, hard.n_classes)
    )


def smooth_labels(class_probability: Tensor, label_smoothing: float, n_classes: int) -> Tensor:
    """Compute smoothed probabilities ``(1 - e) q + e / K``, in new memory."""
    return class_probability * (1 - label_smoothing) + label_smoothing / n_classes


def class_probabilities(class_probability: Tensor) -> Tensor:
    """Return the probabilities (n_samples, n_classes) of all classes."""
    return (
        torch.stack([1 - class_probability, class_probability], dim=1)
        if class_probability.ndim == 1
        else class_probability
    )


def _probabilities(y: Any) -> SoftTargets:
    """Validate soft labels, without smoothing."""
    if sp.issparse(y):
        raise ValueError("y is sparse; with soft_labels=True it must be dense probabilities.")
    try:
        is_object = isinstance(y, np.ndarray) and y.dtype.kind == "O"
        class_probability = to_tensor(y.astype(np.float64) if is_object else y).to(torch.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"y must hold probabilities with soft_labels=True, got dtype {y.dtype}: {error}"
        ) from error
    shape = tuple(class_probability.shape)
    if class_probability.ndim > 2 or (class_probability.ndim == 2 and shape[1] < 2):
        raise ValueError(
            f"y has shape {shape}; with soft_labels=True it is (n_samples,), probabilities of the "
            "second of two classes, or (n_samples, n_classes) with 2 classes or more."
        )
    wrong = ~((class_probability >= 0) & (class_probability <= 1))
    if bool(wrong.any()):
        place = tuple(wrong.nonzero()[0].tolist())
        raise ValueError(
            f"y{list(place)} is {float(class_probability[place])}; with soft_labels=True y holds "
            "probabilities, from 0 to 1."
        )
    if class_probability.ndim == 2:
        total = class_probability.sum(dim=1, keepdim=True)
        apart = ((total - 1).abs() > _ROUNDING)[:, 0]
        if bool(apart.any()):
            row = int(apart.nonzero()[0, 0])
            raise ValueError(
                f"y[{row}] sums to {float(total[row])}; with soft_labels=True every row of y "
                "holds the probabilities of all classes, which sum to 1."
            )
        class_probability = class_probability / total
        class_probability = class_probability[:, 1] if shape[1] == 2 else class_probability
    n_classes = 2 if class_probability.ndim == 1 else shape[1]
    if isinstance(y, np.ndarray):
        return SoftTargets(np.arange(n_classes), class_probability)
    xp, _, device = get_namespace_and_device(y)
    return SoftTargets(xp.arange(n_classes, device=device), class_probability)


def _refuse_empty(labels: SoftTargets) -> None:
    """Raise an error for classes of probability 0 in all rows, which have no finite intercept."""
    class_probability = labels.class_probability
    total = class_probability.sum(dim=0)
    if class_probability.ndim == 1:
        total = torch.stack([(1 - class_probability).sum(), total])
    empty = (total == 0).nonzero()[:, 0].tolist()
    if empty and labels.n_classes == 2:
        raise ValueError(
            "This solver needs samples of at least 2 classes in the data, but every row of y "
            f"belongs to class {1 - empty[0]} alone; label_smoothing above 0 gives each a share."
        )
    if empty:
        raise ValueError(
            f"No row of y has a share of class {empty[0]}: leave its column out, or give a "
            "label_smoothing above 0."
        )
