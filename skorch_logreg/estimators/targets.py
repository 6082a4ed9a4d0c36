"""Encoding of labels as class indices."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.utils._array_api import get_namespace, move_to
from sklearn.utils.multiclass import check_classification_targets
from torch import Tensor

from skorch_logreg.estimators.arrays import to_tensor

__all__ = ["Targets", "encode", "encode_known"]

_COUNTED = 1 << 16  # range of integer labels up to which counting is faster than sorting


@dataclass(frozen=True)
class Targets:
    """Labels encoded as class indices.

    Parameters
    ----------
    classes : array of shape (n_classes,)
        Sorted distinct labels, of y's library and dtype.
    index : Tensor of shape (n_samples,), int64
        Index of every row's label in ``classes``.
    """

    classes: Any
    index: Tensor

    @property
    def n_classes(self) -> int:
        """Number of distinct labels."""
        return int(self.classes.shape[0])


def encode(y: Any) -> Targets:
    """Find the classes of ``y`` and encode the labels.

    Parameters
    ----------
    y : array of shape (n_samples,)
        Validated labels of any sortable type.

    Raises
    ------
    ValueError
        If the labels are not classes, with scikit-learn's message.

    Notes
    -----
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
    """Encode labels with known classes.

    Parameters
    ----------
    y : array of shape (n_samples,)
        Validated labels.
    classes : array of shape (n_classes,)
        Sorted classes, not all of them necessarily in y.

    Raises
    ------
    ValueError
        If y holds other labels.
    """
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
