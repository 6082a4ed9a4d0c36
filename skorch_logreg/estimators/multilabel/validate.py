"""Validate the estimator, rows and targets of a multi-label fit."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples
from torch import Tensor

from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.estimators.cv.classifier import TorchLogisticClassifierCV
from skorch_logreg.estimators.multilabel import indicator
from skorch_logreg.estimators.multilabel.indicator import Indicator
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs import options, out_of_core, weights
from skorch_logreg.inputs.arrays import ArrayNamespace, to_tensor
from skorch_logreg.inputs.dask import collect
from skorch_logreg.inputs.labels import Targets
from skorch_logreg.inputs.rows import validate_rows

__all__ = ["ValidatedInput", "checked_estimator"]


def checked_estimator(model: Any, *others: type) -> Any:
    """Return the estimator of `MultiLabel`, validated.

    Parameters
    ----------
    model : MultiLabel
        Model whose estimator to validate.
    *others : type
        Types that are allowed in addition to TorchLogisticClassifier.

    Raises
    ------
    ParameterError
        If the estimator or one of its parameters is not supported.
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


@dataclass(frozen=True)
class ValidatedInput:
    """Validated rows, targets and weights.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
        Rows.
    labels : Indicator
        Targets.
    weight : Tensor of shape (n_samples,), float64, or None
        Sample weights.
    thresholds : Tensor of shape (n_labels,)
        Probability from which on a label is predicted.
    home : ArrayNamespace
        Array namespace and device of the results.
    device : torch.device or None
        Device that the estimator asks for.
    """

    X: Any
    labels: Indicator
    weight: Tensor | None
    thresholds: Tensor
    namespace: ArrayNamespace
    device: torch.device | None

    @classmethod
    def of(
        cls,
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
        resolved: options.Options | None = None,
    ) -> "ValidatedInput":
        """Validate the input of a fit, before any other computation.

        Parameters
        ----------
        model : MultiLabel
            Model to fit; sets its ``n_features_in_``.
        estimator : classifier
            Validated estimator of the model.
        X, y, sample_weight, label_mask
            As in `MultiLabel.fit`.
        column : callable
            As in `indicator.read`.
        reset : bool, default=True
            Whether to set ``n_features_in_``; else X is checked against it.
        allow_nd : bool, default=False
            Whether X may have more than two axes.
        resolved : Options or None
            Penalty and solver, if out-of-core rows are allowed.
        """
        device = options.resolve_device(estimator.device)
        namespace = ArrayNamespace.of(X)
        sample_weight = namespace.convert(sample_weight)
        y, label_mask = namespace.detach(y), namespace.detach(label_mask)
        if resolved is not None and out_of_core.is_out_of_core(X):
            y, label_mask, sample_weight = map(collect, (y, label_mask, sample_weight))
            X = out_of_core.prepare(model, X, _num_samples(y), resolved, device, reset=reset)
        else:
            out_of_core.require_in_memory(X, f"MultiLabel({type(estimator).__name__}) here")
            y_args = () if y is not None else (None,)  # scikit-learn raises for y=None
            X = validate_rows(model, X, *y_args, reset=reset, allow_nd=allow_nd)
        options.check_device_takes(device, X)
        soft = bool(getattr(estimator, "soft_labels", False))
        labels = indicator.read(y, label_mask, X, soft, column)
        thresholds = model._thresholds(labels.kind, labels.n_labels)
        weight = weights.check_sample_weight(sample_weight, X, namespace)
        if weight is not None:
            weight = to_tensor(weight).to(torch.float64)
        return cls(X, labels, weight, thresholds, namespace, device)

    def without_zero_weights(self) -> "ValidatedInput":
        """Drop rows of weight 0, which would change the composition of mini-batches."""
        if self.weight is None or bool((self.weight > 0).all()):
            return self
        rows = (self.weight > 0).nonzero()[:, 0]
        index = rows.cpu().numpy()
        return replace(
            self,
            X=_safe_indexing(self.X, index),
            labels=self.labels.take(index),
            weight=self.weight[rows],
        )
