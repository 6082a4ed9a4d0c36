"""Validate the parameters, the rows and the targets of a multi-label fit."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, optim
from torch.optim.lr_scheduler import ReduceLROnPlateau

from skorch_logreg.checkpoint import require_no_checkpoint
from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.estimators.cv.classifier import TorchLogisticClassifierCV
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs import indicator, options
from skorch_logreg.inputs.arrays import ArrayNamespace
from skorch_logreg.inputs.dask import collect
from skorch_logreg.inputs.datasets import is_torch_dataset
from skorch_logreg.inputs.labels import Targets
from skorch_logreg.inputs.options import Options
from skorch_logreg.inputs.out_of_core import require_in_memory
from skorch_logreg.inputs.validate import FitInput, validate
from skorch_logreg.inputs.weights import class_weights_of, with_class_weight
from skorch_logreg.names import first_names, is_series
from skorch_logreg.solvers.minibatch import trains_in_epochs


def checked_estimator(model: Any, *others: type) -> Any:
    """Return the estimator of `MultiLabel`, validated.

    Types in ``others`` are allowed in addition to TorchLogisticClassifier.
    """
    estimator: Any = TorchLogisticClassifier() if model.estimator is None else model.estimator
    is_cv = isinstance(estimator, TorchLogisticClassifierCV)
    is_supported = isinstance(estimator, (TorchLogisticClassifier, *others))
    if not is_supported:
        raise ParameterError(
            f"estimator={estimator!r} cannot be solved for many labels at once; expected a "
            "TorchLogisticClassifier, or to `fit` a TorchLogisticClassifierCV or a "
            "NeuralLogisticClassifier. Transformers go before MultiLabel into a Pipeline, other "
            "classifiers into sklearn.multioutput.MultiOutputClassifier."
        )
    estimator._validate_params()
    if estimator.threshold != 0.5:
        raise ParameterError(
            f"The estimator has threshold={estimator.threshold}, but it is MultiLabel's that "
            "decides: give it there."
        )
    if is_cv and model.C is not None:
        raise ParameterError(
            f"C={model.C} is given, but {type(estimator).__name__} chooses it: leave C=None."
        )
    if is_cv and not estimator.refit:
        raise ParameterError("MultiLabel needs the refit of its estimator: leave refit=True.")
    return estimator


def validate_labels(
    model: Any,
    estimator: Any,
    X: Any,
    y: Any,
    sample_weight: Any,
    *,
    label_mask: Any = None,
    column: Callable[[Any], Targets] = indicator.encode_column,
    reset: bool = True,
    resolved: Options | None = None,
) -> FitInput:
    """Validate the input of a fit of many labels, before any other computation.

    ``model`` is the MultiLabel, ``column`` is that of `indicator.read`, and ``reset`` and
    ``resolved``, which is ``chosen``, are those of `validate`.
    """
    if label_mask is not None and is_torch_dataset(X):
        raise ParameterError(
            f"label_mask is given with {type(X).__name__}, whose rows may come in another order: "
            "give X, y and label_mask as arrays."
        )
    if resolved is None:
        require_in_memory(X, f"MultiLabel({type(estimator).__name__}) here")
    inputs = validate(
        X, y, sample_weight, model=model, parameters=estimator, chosen=resolved, reset=reset,
        encodes=False,
    )  # fmt: skip
    mask = collect(ArrayNamespace.of(X).detach(label_mask))
    soft = bool(getattr(estimator, "soft_labels", False))
    labels = indicator.read(inputs.y, mask, inputs.X, soft, column)
    model._thresholds(labels.kind, labels.n_labels)
    return replace(inputs, y=None, labels=labels)


# optimisers whose update of an entry depends only on the gradients of that entry
_ELEMENTWISE_OPTIMIZERS = (
    optim.ASGD, optim.Adadelta, optim.Adagrad, optim.Adam, optim.AdamW, optim.Adamax, optim.NAdam,
    optim.RAdam, optim.RMSprop, optim.Rprop, optim.SGD,
)  # fmt: skip


def check_solver(solver: Any) -> None:
    """Raise an error for settings that are only supported for a single model."""
    require_no_checkpoint(solver)
    if getattr(solver, "validation_fraction", 0.0):
        raise ParameterError(
            f"validation_fraction={solver.validation_fraction} of {type(solver).__name__} holds "
            "out rows of one model, and MultiLabel has one a label: leave "
            "validation_fraction=0.0; or fit the estimator by itself."
        )


def can_train_together(solver: Any) -> bool:
    """Return True if labels can be trained in one call without an effect on each other."""
    if not trains_in_epochs(solver):
        return True
    optimizer = solver.optimizer([torch.nn.Parameter(torch.zeros(1, device="cpu"))])
    scheduler = solver.scheduler(optimizer)
    return type(optimizer) in _ELEMENTWISE_OPTIMIZERS and not isinstance(
        scheduler, ReduceLROnPlateau
    )


def broadcast_to_labels(
    name: str, value: Any, n_labels: int, *, lower: float | None = None, upper: float
) -> Tensor:
    """Validate one number or an array of numbers and broadcast it to (n_labels,), float64.

    ``lower`` is an exclusive bound, or None for an inclusive bound of 0; ``upper`` is inclusive.
    """
    if is_series(value) and list(value.index) != list(range(n_labels)):
        raise ParameterError(
            f"{name} is a Series with the index {first_names(value.index)}; expected a list or an "
            "array in the order of the labels."
        )
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


def resolve_for_labels(estimator: Any, C: Any) -> Options:
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
    own: Any, default: Any, labels: indicator.Indicator, sample_weight: Tensor | None
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Resolve class weights into sample weights and class weights of each label.

    ``own`` is `class_weight` of `MultiLabel`, also a list with an entry for each label; None stands
    for the ``default``, that of the estimator. If a dict names the classes of a multiclass y, the
    sample weights are multiplied by it. Return sample weights (n_samples,), weights of absence and
    presence (n_labels, 2), and a mask (n_labels,) of the labels that are to be balanced instead;
    None where there are none.
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
