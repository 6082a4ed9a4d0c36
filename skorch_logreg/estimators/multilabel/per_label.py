"""Parameters that may differ between labels: C, threshold and class weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.utils import compute_class_weight
from torch import Tensor

from skorch_logreg.estimators.multilabel.indicator import Indicator
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs.labels import Targets
from skorch_logreg.inputs.options import Options
from skorch_logreg.inputs.weights import with_class_weight

__all__ = ["ClassWeights", "EstimatorWithC", "class_weights", "broadcast_to_labels", "c_per_label"]

_Weights = Mapping[Any, float] | str | None


def broadcast_to_labels(
    name: str, value: Any, n_labels: int, *, lower: float | None = None, upper: float
) -> Tensor:
    """Validate one number or an array of numbers and broadcast it to (n_labels,), float64.

    ``lower`` is an exclusive bound, or None for an inclusive bound of 0; ``upper`` is inclusive.
    """
    found = np.asarray(value)
    if found.dtype.kind not in "biuf":
        raise ParameterError(f"{name} must be a number or hold numbers, got {value!r}.")
    if found.ndim and found.shape != (n_labels,):
        raise ParameterError(
            f"{name} has shape {found.shape}, expected one number or (n_labels,) = ({n_labels},)."
        )
    each = np.broadcast_to(found, n_labels).astype(np.float64)
    wrong = np.flatnonzero(~((each >= 0 if lower is None else each > lower) & (each <= upper)))
    if len(wrong):
        entry_name = f"{name}[{wrong[0]}]" if found.ndim else name
        bounds = f"[0, {upper:g}]" if lower is None else f"({lower:g}, {upper:g}]"
        raise ParameterError(f"{entry_name} is {each[wrong[0]]}; it must be in {bounds}.")
    return torch.from_numpy(each)


class EstimatorWithC:
    """Parameters that `options.resolve` reads, with the C of `MultiLabel`, if it is not None."""

    def __init__(self, estimator: Any, C: Any) -> None:
        self.penalty, self.l1_ratio = estimator.penalty, estimator.l1_ratio
        self.solver, self.dual = estimator.solver, estimator.dual
        self.n_jobs = estimator.n_jobs
        self.C = estimator.C
        if C is not None and np.size(C):
            each = broadcast_to_labels("C", C, np.size(C), lower=0, upper=np.inf)
            # C=inf means no penalty: liblinear refuses it for any label, other solvers drop
            # the penalty if it holds for all labels
            self.C = float(each.max() if self.solver == "liblinear" else each.min())


def c_per_label(C: Any, estimator: Any, resolved: Options, n_labels: int) -> Tensor:
    """Return the C of every label, (n_labels,); that of ``resolved`` if C is None."""
    if C is None or estimator.penalty is None:
        return torch.full((n_labels,), resolved.C, dtype=torch.float64)
    return broadcast_to_labels("C", C, n_labels, lower=0, upper=np.inf)


def class_weights(
    own: Any, default: _Weights, labels: Indicator, sample_weight: Tensor | None
) -> tuple[Tensor | None, "ClassWeights | None"]:
    """Resolve class weights into sample weights and class weights of each label.

    ``own`` is `class_weight` of `MultiLabel`, also a list with an entry for each label; None stands
    for the ``default``, that of the estimator. If a dict names the classes of a multiclass y, the
    returned sample weights are multiplied by it.
    """
    own = default if own is None else own
    if labels.kind == "multiclass" and isinstance(own, Mapping):
        return with_class_weight(own, Targets(labels.classes, labels.values), sample_weight), None
    return sample_weight, ClassWeights.of(own, default, labels.n_labels, labels.class_pair)


@dataclass(frozen=True)
class ClassWeights:
    """Weights (n_labels, 2) of absence and presence for each label.

    Where ``balanced`` (n_labels,) is True, both get the same total weight instead.
    """

    weights: Tensor
    balanced: Tensor

    @classmethod
    def of(cls, own: Any, default: _Weights, n_labels: int, classes: Any) -> "ClassWeights | None":
        """Collect the class weights, as in `class_weights`; None if there are none.

        ``classes`` are the two keys of a dict for absence and presence.
        """
        each = list(own) if isinstance(own, (list, tuple)) else None
        if each is None:
            each = [own] * n_labels
        elif len(each) != n_labels:
            raise ParameterError(
                f"class_weight is a list of {len(each)}, expected n_labels = {n_labels} entries."
            )
        each = [default if entry is None else entry for entry in each]
        if all(entry is None for entry in each):
            return None
        read: dict[int, tuple[float, float]] = {}
        for entry in each:
            if id(entry) not in read:
                read[id(entry)] = _pair(entry, classes)
        weights = torch.tensor([read[id(entry)] for entry in each], dtype=torch.float64)
        balanced = torch.tensor([isinstance(entry, str) for entry in each])
        return cls(weights, balanced)

    def balance(self, absent: Tensor, present: Tensor) -> Tensor:
        """Compute balanced weights from the totals (n_labels,) of absence and presence."""
        totals = torch.stack([absent, present], dim=1)
        equal = totals.sum(dim=1, keepdim=True) / (2 * totals)
        equal = torch.where(totals > 0, equal, 0.0)
        return torch.where(self.balanced[:, None], equal, self.weights)


def _pair(entry: Any, classes: Any) -> tuple[float, float]:
    """Return the weights of absence and presence; 1 if they are to be balanced."""
    if entry is None or (isinstance(entry, str) and entry == "balanced"):
        return 1.0, 1.0
    if not isinstance(entry, Mapping):
        raise ParameterError(
            f"class_weight holds {entry!r}; expected a dict, 'balanced' or None for each label."
        )
    labels = np.asarray(classes)
    absent, present = compute_class_weight(entry, classes=labels, y=labels)
    for weight in (absent, present):
        if not 0 <= weight < np.inf:
            raise ParameterError(
                f"class_weight gives a class the weight {weight}; class weights must be finite "
                "and non-negative."
            )
    return float(absent), float(present)
