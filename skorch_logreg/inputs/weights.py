"""Validation of sample weights, class weights, penalty factors and offsets."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from sklearn.utils import compute_class_weight
from sklearn.utils._array_api import move_to
from sklearn.utils.validation import _check_sample_weight
from torch import Tensor

from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs.arrays import ArrayNamespace, copy_numbers, to_tensor
from skorch_logreg.inputs.labels import Targets, class_probabilities
from skorch_logreg.names import in_order, place_of

_ALL_ZERO = "Sample weights must contain at least one non-zero number."


def check_sample_weight(sample_weight: Any, X: Any, namespace: ArrayNamespace) -> Tensor | None:
    """Validate sample weights, with scikit-learn's messages.

    They are float64 even for float32 data, so that integers beyond 2^24 are exact. Negative weights
    are refused because the objective would not be convex.
    """
    if sample_weight is None:
        return None
    checked = _check_sample_weight(
        sample_weight, X, dtype=namespace.float_dtypes[0], ensure_non_negative=True
    )
    return check_total(to_tensor(checked).to(torch.float64))  # scikit-learn 1.8 does not


def check_offset(offset: Any, n_samples: int, n_classes: int) -> Tensor | None:
    """Validate the offset of the logits, as a Tensor (n_samples, 1, 1 or n_classes), float64."""
    if offset is None:
        return None
    found = copy_numbers(offset, "offset")
    expected = (n_samples,) if n_classes == 2 else (n_samples, n_classes)
    if tuple(found.shape) != expected:
        raise ParameterError(f"offset has shape {tuple(found.shape)}, expected {expected}.")
    if not bool(found.isfinite().all()):
        place = (~found.isfinite()).nonzero()[0].tolist()
        raise ParameterError(f"offset{place} is {float(found[tuple(place)])}; it must be finite.")
    return found.reshape(n_samples, 1, -1)


def require_no_offset(offset: Any, what: str) -> None:
    """Raise an error for an offset where it is not supported."""
    if offset is not None:
        raise ParameterError(f"offset is given, but {what} has no place for it; leave offset=None.")


def with_class_weight(
    class_weight: Mapping[Any, float] | str, targets: Targets, weight: Tensor | None
) -> Tensor:
    """Multiply sample weights (n_samples,) or (n_samples, m) by class weights, into new memory.

    "balanced" counts weights, not rows: ``sum(s) / (n_classes * sum(s of the class))``. A
    ValueError is raised for classes that y lacks, or if no row has a weight.
    """
    index = targets.index
    if weight is None:
        weight = index.new_ones(len(index), dtype=torch.float64)
    index = index.to(weight.device)
    total = weight.new_zeros(targets.n_classes, *weight.shape[1:]).index_add_(0, index, weight)
    return check_total(weight * class_weights_of(class_weight, targets.classes, total)[index])


def reweight(proba: Tensor, rows: Tensor, by_class: Tensor) -> tuple[Tensor, Tensor]:
    """Multiply rows by the class weights ``by_class``; return their probabilities and weights."""
    weighted = class_probabilities(proba) * by_class
    total = weighted.sum(dim=1)
    own = weighted / torch.where(total > 0, total, 1.0)[:, None]
    return own[:, 1] if proba.ndim == 1 else own, rows * total


def class_weights_of(
    class_weight: Mapping[Any, float] | str, classes: Any, total: Tensor
) -> Tensor:
    """Return the weights of classes with ``total`` weights (n_classes,) or (n_classes, m)."""
    if isinstance(class_weight, str):
        return torch.where(total > 0, total.sum(dim=0) / (len(total) * total), 0.0)
    labels = move_to(classes, xp=np, device="cpu")
    found = compute_class_weight(class_weight, classes=labels, y=labels)
    for label, weight in zip(labels, found, strict=True):
        if not 0 <= weight < np.inf:
            raise ParameterError(
                f"class_weight gives class {label!s} the weight {weight}; class weights "
                "must be finite and non-negative."
            )
    by_class = to_tensor(found).to(total.device, torch.float64)
    return by_class if total.ndim == 1 else by_class[:, None]


def check_total(weight: Tensor) -> Tensor:
    """Return the weights; raise an error unless their sum, or that of each model, is a number > 0.

    Those that are multiplied by class weights may overflow, and a scalar may be nan.
    """
    if not bool(weight.sum(dim=0).isfinite().all()):
        raise ParameterError(
            "Sample weights, times class weights, must have a finite sum; the largest is "
            f"{float(weight.max())}."
        )
    if not bool((weight > 0).any(dim=0).all()):
        raise ValueError(_ALL_ZERO)
    return weight


def check_penalty_factor(penalty_factor: Any, n_features: int, names: Any = None) -> Tensor | None:
    """Validate penalty factors (n_features,), or a dict of some by ``names``, in new memory."""
    if penalty_factor is None:
        return None
    penalty_factor = in_order(penalty_factor, names, "penalty_factor", 1.0)
    factor = copy_numbers(penalty_factor, "penalty_factor")
    if factor.shape != (n_features,):
        raise ParameterError(
            f"penalty_factor has shape {tuple(factor.shape)}, expected "
            f"(n_features,) = ({n_features},)."
        )
    wrong = ~(factor >= 0)
    if bool(wrong.any()):
        place = int(wrong.nonzero()[0, 0])
        raise ParameterError(
            f"penalty_factor[{place_of(place, names)}] is {float(factor[place])}; factors must be "
            "non-negative (0: not penalised, inf: excluded)."
        )
    return factor
