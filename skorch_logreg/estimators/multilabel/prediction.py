"""Predictions of many labels from coefficients or a network."""

from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils import gen_batches
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, cat, nn, where

from skorch_logreg import fitting
from skorch_logreg.estimators.multilabel import indicator
from skorch_logreg.estimators.multilabel.per_label import broadcast_to_labels
from skorch_logreg.estimators.neural import networks
from skorch_logreg.estimators.neural.classifier import NeuralLogisticClassifier
from skorch_logreg.estimators.prediction import LogisticPrediction, _affine
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs.arrays import NUMPY, ArrayNamespace, check_same_namespace
from skorch_logreg.inputs.chunks import is_chunked, iterate_chunks
from skorch_logreg.inputs.dask import lazy_for_dask
from skorch_logreg.inputs.rows import validate_rows

__all__ = ["LabelPrediction"]


def _has_coefficients(model: Any) -> bool:
    """Return True if the labels have coefficients instead of a network."""
    return not isinstance(model.estimator, NeuralLogisticClassifier)


class LabelPrediction(LogisticPrediction):
    """Predictions of ``n_labels_`` binary models, in the form of the fitted y.

    The form is stored in ``target_kind_`` and ``target_dtype_``, see `indicator.Indicator`.
    """

    n_labels_: int
    target_kind_: str
    target_dtype_: str
    memory_budget: int | None
    estimator: Any

    sparsify = available_if(_has_coefficients)(LogisticPrediction.sparsify)
    densify = available_if(_has_coefficients)(LogisticPrediction.densify)

    @lazy_for_dask
    def decision_function(self, X: Any) -> Any:
        """Compute the logits ``X coef' + intercept`` of rows, as `TorchLogisticClassifier` does.

        Returns
        -------
        logits : array of shape (n_samples, n_labels)
            (n_samples,) after a fit to a 1-D y of two classes.
        """
        logits, namespace = self._logits(X, "decision_function")
        return namespace.from_tensor(logits[:, 0] if self.target_kind_ == "binary" else logits)

    @lazy_for_dask
    def predict(self, X: Any) -> Any:
        """Predict which labels are present in rows, as `TorchLogisticClassifier` takes them.

        Returns
        -------
        labels : array or sparse array of shape (n_samples, n_labels), or array (n_samples,)
            An indicator of the kind and type of the y that was fitted: 1 where the probability
            is at least `threshold`. After a fit to a 1-D y its classes.
        """
        if is_chunked(X):
            namespace, blocks = NUMPY, iterate_chunks(self, X)
        else:
            X, namespace = self._rows(X, "predict")
            at_once = fitting.at_once(self.n_labels_, self.memory_budget)
            blocks = (X[rows, ...] for rows in gen_batches(X.shape[0], at_once))
        thresholds = self._thresholds(self.target_kind_, self.n_labels_)
        parts = [
            self._labels_from_logits(self._compute_logits(rows), thresholds, namespace)
            for rows in blocks
        ]
        if len(parts) == 1:
            return parts[0]
        if sp.issparse(parts[0]):
            return sp.vstack(parts, format="csr")
        return np.concatenate(parts) if namespace.xp is None else namespace.xp.concat(parts)

    @lazy_for_dask
    def predict_proba(self, X: Any) -> Any:
        """Compute the probability of every label, of rows as `TorchLogisticClassifier` takes them.

        Returns
        -------
        probabilities : array of shape (n_samples, n_labels)
            Probability that each label is present. After a fit to a 1-D y, of shape
            (n_samples, n_classes) with rows that sum to 1.
        """
        if self._target_kind() == "binary":
            return super().predict_proba(X)
        logits, namespace = self._logits(X, "predict_proba")
        if self.target_kind_ == "multiclass":
            return namespace.from_tensor(nn.functional.logsigmoid(logits).softmax(dim=1))
        return namespace.from_tensor(logits.sigmoid_())

    @lazy_for_dask
    def predict_log_proba(self, X: Any) -> Any:
        """Compute the logarithm of `predict_proba`, finite even if that underflows to 0."""
        if self._target_kind() == "binary":
            return super().predict_log_proba(X)
        logits, namespace = self._logits(X, "predict_log_proba")
        found = nn.functional.logsigmoid(logits)
        return namespace.from_tensor(
            found.log_softmax(1) if self.target_kind_ == "multiclass" else found
        )

    def _target_kind(self) -> str:
        check_is_fitted(self)
        return self.target_kind_

    def _rows(self, X: Any, method: str) -> tuple[Any, ArrayNamespace]:
        """Validate rows to predict; return them with their array namespace."""
        check_is_fitted(self)
        network = self._network()
        if network is None:
            check_same_namespace(
                ArrayNamespace.of(X).view(X), self, attribute="coef_", method=method
            )
        check_params: dict[str, Any] = {"dtype": "numeric"}
        if network is not None:
            check_params = {"allow_nd": getattr(self.estimator, "module", None) is not None}
        return validate_rows(self, X, reset=False, **check_params), ArrayNamespace.of(X)

    def _logits(self, X: Any, method: str) -> tuple[Tensor, ArrayNamespace]:
        if is_chunked(X):
            return cat([self._compute_logits(rows) for rows in iterate_chunks(self, X)]), NUMPY
        X, namespace = self._rows(X, method)
        return self._compute_logits(X), namespace

    def _compute_logits(self, X: Any) -> Tensor:
        """Compute the logits (n_rows, n_labels) of validated rows."""
        network = self._network()
        if network is None:
            return _affine(X, self.coef_, self.intercept_)
        return networks.logits(network, X)

    def _network(self) -> Any:
        """Return the fitted network; None if the labels have coefficients."""
        return vars(self).get("module_")

    @property
    def module_(self) -> Any:
        """Fitted network, or a linear module sharing memory with ``coef_`` and ``intercept_``."""
        network = self._network()
        return super().module_ if network is None else network

    @module_.setter
    def module_(self, network: nn.Module) -> None:
        vars(self)["module_"] = network

    @module_.deleter
    def module_(self) -> None:
        del vars(self)["module_"]

    def _labels_from_logits(
        self, logits: Tensor, thresholds: Tensor, namespace: ArrayNamespace
    ) -> Any:
        """Convert logits (n_rows, n_labels), which are overwritten, to predictions."""
        if self.target_kind_ == "multiclass":
            return self._labels(logits.argmax(dim=1), namespace)
        positive = logits >= 0
        other = thresholds != 0.5
        if bool(other.any()):
            lower = thresholds.to(logits)
            above = logits.sigmoid_() >= lower
            positive = where(other.to(logits.device), above, positive)
        if self.target_kind_ == "binary":
            return self._labels(positive[:, 0], namespace)
        return indicator.write(positive, self.target_kind_, self.target_dtype_, namespace)

    def _thresholds(self, kind: str, n_labels: int) -> Tensor:
        """Return the threshold of every label, (n_labels,)."""
        found = broadcast_to_labels("threshold", self.threshold, n_labels, upper=1)
        if kind == "multiclass" and bool((found != 0.5).any()):
            raise ParameterError(
                f"threshold={self.threshold} is for labels, but y is one column of {n_labels} "
                "classes, where the largest logit decides: leave it at 0.5. With another "
                "threshold: Only binary classification is supported."
            )
        return found
