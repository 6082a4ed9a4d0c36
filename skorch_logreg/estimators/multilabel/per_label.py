"""Parameters that may differ between labels: C, threshold and class weights."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skorch_logreg.estimators.multilabel.indicator import Indicator
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs import options
from skorch_logreg.inputs.labels import Targets
from skorch_logreg.inputs.options import Options
from skorch_logreg.inputs.weights import class_weights_of, with_class_weight

__all__ = ["broadcast_to_labels", "c_per_label", "class_weights", "resolve"]

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


def resolve(estimator: Any, C: Any) -> Options:
    """Resolve the parameters of an estimator, with the C of `MultiLabel` if that is not None."""
    names = ("penalty", "l1_ratio", "solver", "dual", "n_jobs", "C")
    parameters = SimpleNamespace(**{name: getattr(estimator, name) for name in names})
    if C is not None and np.size(C):
        each = broadcast_to_labels("C", C, np.size(C), lower=0, upper=np.inf)
        # C=inf means no penalty: liblinear refuses it for any label, other solvers drop the
        # penalty if it holds for all labels
        parameters.C = float(each.max() if estimator.solver == "liblinear" else each.min())
    return options.resolve(parameters)


def c_per_label(C: Any, estimator: Any, resolved: Options, n_labels: int) -> Tensor:
    """Return the C of every label, (n_labels,); that of ``resolved`` if C is None."""
    if C is None or estimator.penalty is None:
        return torch.full((n_labels,), resolved.C, dtype=torch.float64)
    return broadcast_to_labels("C", C, n_labels, lower=0, upper=np.inf)


def class_weights(
    own: Any, default: _Weights, labels: Indicator, sample_weight: Tensor | None
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Resolve class weights into sample weights and class weights of each label.

    ``own`` is `class_weight` of `MultiLabel`, also a list with an entry for each label; None stands
    for the ``default``, that of the estimator. If a dict names the classes of a multiclass y, the
    returned sample weights are multiplied by it.

    Returns
    -------
    sample_weight : Tensor of shape (n_samples,) or None
    class_weight : Tensor of shape (n_labels, 2) or None
        Weights of absence and presence for each label; None if there are none.
    is_balanced : Tensor of shape (n_labels,), bool, or None
        True where absence and presence get the same total weight instead.
    """
    own = default if own is None else own
    if labels.kind == "multiclass" and isinstance(own, Mapping):
        targets = Targets(labels.classes, labels.values)
        return with_class_weight(own, targets, sample_weight), None, None
    each = list(own) if isinstance(own, (list, tuple)) else [own] * labels.n_labels
    if len(each) != labels.n_labels:
        raise ParameterError(
            f"class_weight is a list of {len(each)}, expected n_labels = {labels.n_labels} entries."
        )
    each = [default if entry is None else entry for entry in each]
    if all(entry is None for entry in each):
        return sample_weight, None, None
    distinct = {id(entry): entry for entry in each}
    read = {key: _pair(entry, labels.class_pair) for key, entry in distinct.items()}
    weights = torch.stack([read[id(entry)] for entry in each])
    return sample_weight, weights, torch.tensor([isinstance(entry, str) for entry in each])


def _pair(entry: Any, classes: np.ndarray) -> Tensor:
    """Return the weights of absence and presence; 1 if they are to be balanced."""
    ones = torch.ones(2, dtype=torch.float64)
    if entry is None or (isinstance(entry, str) and entry == "balanced"):
        return ones
    if not isinstance(entry, Mapping):
        raise ParameterError(
            f"class_weight holds {entry!r}; expected a dict, 'balanced' or None for each label."
        )
    return class_weights_of(entry, classes, ones)
