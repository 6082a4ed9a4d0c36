"""Fitted classifier with cached logits, for scorers that take an estimator."""

from typing import Any, Self

from torch import Tensor

from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.estimators.ordinal import OrdinalLogisticClassifier
from skorch_logreg.inputs.arrays import ArrayNamespace


class _CachedLogits:
    """Mixin of a fitted classifier with cached logits for one array.

    It represents a model of a batch for scorers, which take an estimator. Predictions for the
    same object ``X`` use the cached logits; those for other arrays are computed from `coef_`.
    """

    _cached: tuple[Any, Tensor] | None = None

    @classmethod
    def of(
        cls,
        template: Any,
        fitted: dict[str, Any],
        X: Any,
        logits: Tensor | None,
        **parameters: Any,
    ) -> Self:
        """Build a fitted model with the template's parameters, except for those that are given.

        The logits of X, (n_rows, 1) or (n_rows, n_classes), have the type of its probabilities;
        None caches nothing, for scorers that may change the model or X.
        """
        model = cls.__new__(cls)
        shape = {"n_features_in_": fitted["coef_"].shape[1]}
        model.__dict__.update(vars(template) | parameters | shape | fitted)
        model._cached = None if logits is None else (X, logits)
        return model

    def _logits(self, X: Any, method: str) -> tuple[Tensor, ArrayNamespace]:
        if self._cached is not None and X is self._cached[0]:
            return self._cached[1], ArrayNamespace.of(X)
        found: tuple[Tensor, ArrayNamespace] = super()._logits(X, method)  # type: ignore[misc]
        return found

    def _state(self) -> dict[str, Any]:
        """Return the state of a classifier without the cached rows and logits."""
        state: dict[str, Any] = super()._state()  # type: ignore[misc]
        return {name: value for name, value in state.items() if name != "_cached"}


class CachedLogitsClassifier(_CachedLogits, TorchLogisticClassifier):
    """`TorchLogisticClassifier` with cached logits."""


class CachedLogitsOrdinal(_CachedLogits, OrdinalLogisticClassifier):
    """`OrdinalLogisticClassifier` with cached log-odds or log-probabilities."""
