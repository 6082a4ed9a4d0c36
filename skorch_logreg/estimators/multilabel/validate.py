"""Validate the estimator, its solver, the rows and the targets of a multi-label fit."""

from collections.abc import Callable
from typing import Any

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from skorch_logreg.checkpoint import require_no_checkpoint
from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.estimators.cv.classifier import TorchLogisticClassifierCV
from skorch_logreg.estimators.multilabel import indicator
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs.arrays import ArrayNamespace
from skorch_logreg.inputs.dask import collect
from skorch_logreg.inputs.datasets import is_torch_dataset
from skorch_logreg.inputs.labels import Targets
from skorch_logreg.inputs.options import Options
from skorch_logreg.inputs.validate import FitInput, validate
from skorch_logreg.solvers.minibatch import trains_in_epochs

__all__ = ["can_train_together", "check_solver", "checked_estimator", "validate_labels"]


def checked_estimator(model: Any, *others: type) -> Any:
    """Return the estimator of `MultiLabel`, validated.

    Types in ``others`` are allowed in addition to TorchLogisticClassifier.
    """
    estimator: Any = TorchLogisticClassifier() if model.estimator is None else model.estimator
    is_cv = isinstance(estimator, TorchLogisticClassifierCV)
    can_be = isinstance(estimator, (TorchLogisticClassifier, *others))
    if not can_be:
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
    label_mask: Any,
    column: Callable[[Any], Targets] = indicator.encode_column,
    reset: bool = True,
    allow_nd: bool = False,
    resolved: Options | None = None,
) -> FitInput:
    """Validate the input of a fit of many labels, before any other computation.

    ``model`` is the MultiLabel, ``column`` is that of `indicator.read`, and ``reset``, ``allow_nd``
    and ``resolved``, which is ``chosen``, are those of `validate`.
    """
    if label_mask is not None and is_torch_dataset(X):
        raise ParameterError(
            f"label_mask is given beside {type(X).__name__}, whose rows may come in another order: "
            "give X, y and label_mask as arrays."
        )

    def read_labels(y: Any, rows: Any) -> indicator.Indicator:
        mask = collect(ArrayNamespace.of(X).detach(label_mask))
        soft = bool(getattr(estimator, "soft_labels", False))
        labels = indicator.read(y, mask, rows, soft, column)
        model._thresholds(labels.kind, labels.n_labels)
        return labels

    return validate(
        X, y, sample_weight,
        model=model, parameters=estimator, chosen=resolved, reset=reset, allow_nd=allow_nd,
        caller=f"MultiLabel({type(estimator).__name__}) here", read_labels=read_labels,
    )  # fmt: skip


# optimisers whose update of an entry depends only on the gradients of that entry
_ELEMENTWISE_OPTIMIZERS = (
    torch.optim.ASGD,
    torch.optim.Adadelta,
    torch.optim.Adagrad,
    torch.optim.Adam,
    torch.optim.AdamW,
    torch.optim.Adamax,
    torch.optim.NAdam,
    torch.optim.RAdam,
    torch.optim.RMSprop,
    torch.optim.Rprop,
    torch.optim.SGD,
)


def check_solver(solver: Any) -> None:
    """Refuse settings of a solver that are only supported for a single model.

    Raises
    ------
    ParameterError
        If it holds out rows, has a checkpoint or keeps the result of an interrupted fit.
    """
    require_no_checkpoint(solver)
    if getattr(solver, "validation_fraction", 0.0):
        raise ParameterError(
            f"validation_fraction={solver.validation_fraction} of {type(solver).__name__} holds "
            "out rows of one model, and MultiLabel has one a label: leave "
            "validation_fraction=0.0; or fit a TorchLogisticClassifier, which is one."
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
