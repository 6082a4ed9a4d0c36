"""What a fit of labels was asked for, and what it was given."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples
from torch import Tensor

from skorch_logreg.estimators import options, out_of_core, weights
from skorch_logreg.estimators.arrays import ArrayNamespace, to_tensor
from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.estimators.cv.classifier import TorchLogisticClassifierCV
from skorch_logreg.estimators.dask import collect
from skorch_logreg.estimators.multilabel import indicator
from skorch_logreg.estimators.multilabel.indicator import Indicator
from skorch_logreg.estimators.targets import Targets
from skorch_logreg.estimators.validate import validate_rows
from skorch_logreg.exceptions import ParameterError

__all__ = ["Given", "checked_estimator"]


def checked_estimator(model: Any, *others: type) -> Any:
    """Return the estimator of `MultiLabel`, validated; errors say what can be done instead.

    Parameters
    ----------
    model : MultiLabel
    *others : type
        What it may be instead of a TorchLogisticClassifier.
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
class Given:
    """Rows and labels, validated.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
    labels : Indicator
    weight : Tensor of shape (n_samples,), float64, or None
        Sample weights.
    thresholds : Tensor of shape (n_labels,)
    namespace : ArrayNamespace
        Where results go.
    device : torch.device or None
        That the estimator asks for.
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
        label_mask: Any,
        *,
        column: Callable[[Any], Targets] = indicator.of_column,
        anew: bool = True,
        allow_nd: bool = False,
        chosen: options.Options | None = None,
    ) -> "Given":
        """Validate; errors come before any work.

        Parameters
        ----------
        model : MultiLabel
            Gets ``n_features_in_``.
        estimator : classifier
            Of the model.
        X, y, sample_weight, label_mask
            As in `MultiLabel.fit`.
        column : callable
            As in `indicator.read`.
        anew : bool, default=True
            Whether X may have other features than before.
        allow_nd : bool, default=False
            Whether X may have more than two axes.
        chosen : Options or None
            Of a fit whose rows may be elsewhere.
        """
        device = options.resolve_device(estimator.device)
        namespace = ArrayNamespace.of(X)
        sample_weight = namespace.convert(sample_weight)
        y, label_mask = namespace.detach(y), namespace.detach(label_mask)
        if chosen is not None and out_of_core.is_out_of_core(X):
            y, label_mask, sample_weight = map(collect, (y, label_mask, sample_weight))
            X = out_of_core.prepare(model, X, _num_samples(y), chosen, device, anew)
        else:
            out_of_core.require_in_memory(X, f"MultiLabel({type(estimator).__name__}) here")
            beside = () if y is not None else (None,)  # which scikit-learn refuses
            X = validate_rows(model, X, *beside, reset=anew, allow_nd=allow_nd)
        options.check_device_takes(device, X)
        soft = bool(getattr(estimator, "soft_labels", False))
        labels = indicator.read(y, label_mask, X, soft, column)
        thresholds = model._thresholds(labels.kind, labels.n_labels)
        weight = weights.check_sample_weight(sample_weight, X, namespace)
        if weight is not None:
            weight = to_tensor(weight).to(torch.float64)
        return cls(X, labels, weight, thresholds, namespace, device)

    def counting(self) -> "Given":
        """Rows of a weight above 0: others would take part in the making of mini-batches."""
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
