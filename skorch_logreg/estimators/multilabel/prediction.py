"""Predictions of many labels from coefficients or a network, and their export."""

from collections.abc import Mapping
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils import gen_batches
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, cat, nn, where

from skorch_logreg import fitting
from skorch_logreg.estimators import export
from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.estimators.multilabel.validation import broadcast_to_labels
from skorch_logreg.estimators.neural import networks
from skorch_logreg.estimators.neural.classifier import NeuralLogisticClassifier
from skorch_logreg.estimators.prediction import LogisticPrediction, checked_logits
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs import indicator
from skorch_logreg.inputs.arrays import NUMPY, ArrayNamespace, check_same_namespace
from skorch_logreg.inputs.chunks import is_chunked, iterate_chunks
from skorch_logreg.inputs.dask import lazy_for_dask
from skorch_logreg.inputs.rows import validate_rows
from skorch_logreg.names import index_of
from skorch_logreg.penalties.l2 import rows_by_name
from skorch_logreg.pipelines import to_dense_numpy


def _has_coefficients(model: Any) -> bool:
    """Return True if the labels have coefficients instead of a network."""
    return not isinstance(model.estimator, NeuralLogisticClassifier)


class LabelPrediction(export.ExportMixin):
    """Predictions of ``n_labels_`` binary models, in the form of the fitted y, and their export.

    The form is stored in ``target_kind_`` and ``target_dtype_``, see `indicator.Indicator`.
    """

    n_labels_: int
    target_kind_: str
    target_dtype_: str
    memory_budget: int | None
    estimator: Any
    C: Any
    class_weight: Any
    classes_: Any
    n_iter_: Any
    n_passes_: int

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
        check_is_fitted(self)
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
        logits, namespace = self._logits(X, "predict_proba")
        if self.target_kind_ == "binary":
            found = self._loss.predict_proba(logits)
        elif self.target_kind_ == "multiclass":
            found = nn.functional.logsigmoid(logits).softmax(dim=1)
        else:
            found = logits.sigmoid_()
        return namespace.from_tensor(found)

    @lazy_for_dask
    def predict_log_proba(self, X: Any) -> Any:
        """Compute the logarithm of `predict_proba`, finite even if that underflows to 0."""
        logits, namespace = self._logits(X, "predict_log_proba")
        if self.target_kind_ == "binary":
            return namespace.from_tensor(self._loss.log_proba(logits))
        found = nn.functional.logsigmoid(logits)
        is_multiclass = self.target_kind_ == "multiclass"
        return namespace.from_tensor(found.log_softmax(dim=1) if is_multiclass else found)

    def _rows(self, X: Any, method: str) -> tuple[Any, ArrayNamespace]:
        """Validate rows to predict; return them with their array namespace."""
        namespace = ArrayNamespace.of(X)
        if self._network() is None:
            check_same_namespace(namespace.view(X), self, attribute="coef_", method=method)
            return validate_rows(self, X, reset=False, dtype="numeric"), namespace
        allow_nd = getattr(self.estimator, "module", None) is not None
        return validate_rows(self, X, reset=False, allow_nd=allow_nd), namespace

    def _logits(self, X: Any, method: str) -> tuple[Tensor, ArrayNamespace]:
        check_is_fitted(self)
        if is_chunked(X):
            return cat([self._compute_logits(rows) for rows in iterate_chunks(self, X)]), NUMPY
        X, namespace = self._rows(X, method)
        return self._compute_logits(X), namespace

    def _compute_logits(self, X: Any) -> Tensor:
        """Compute the logits (n_rows, n_labels) of validated rows."""
        network = self._network()
        if network is None:
            return checked_logits(X, self.coef_, self.intercept_)
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

    to_onnx = available_if(_has_coefficients)(export.ExportMixin.to_onnx)
    onnx_parser = available_if(_has_coefficients)(export.ExportMixin.onnx_parser)
    onnx_shape_calculator = available_if(_has_coefficients)(
        export.ExportMixin.onnx_shape_calculator
    )
    onnx_converter = available_if(_has_coefficients)(export.ExportMixin.onnx_converter)

    @available_if(_has_coefficients)
    def label_estimator(self, label: Any) -> TorchLogisticClassifier:
        """Return the model of one label as a fitted TorchLogisticClassifier.

        Parameters
        ----------
        label : int or str
            Number of the label, or its name in `label_names_`.

        Returns
        -------
        model : TorchLogisticClassifier
            Copy of the label's coefficients in NumPy with its C, l1_ratio, class_weight and
            threshold. `n_passes_` is that of all labels, and `duality_gap_` is nan. After a fit to
            a 1-D y of three classes or more, a dict of class weights is not copied, because its
            keys are not the classes of this model; give analyses the weights of the rows as
            `sample_weight`.

        Examples
        --------
        >>> from sklearn.datasets import make_multilabel_classification
        >>> from skorch_logreg import MultiLabel
        >>> X, Y = make_multilabel_classification(n_classes=3, random_state=0)
        >>> MultiLabel(C=[0.1, 1.0, 10.0]).fit(X, Y).label_estimator(2)
        TorchLogisticClassifier(C=10.0)
        """
        check_is_fitted(self)
        numbers = np.arange(self.n_labels_)
        names = numbers if isinstance(label, Integral) else getattr(self, "label_names_", numbers)
        place = index_of(label, names, "label")
        rows = slice(place, place + 1)
        given, shared = self._template(), TorchLogisticClassifier().get_params(deep=False)
        found = {
            name: value for name, value in given.get_params(deep=False).items() if name in shared
        }
        found |= self._own_parameters(place)
        if self.target_kind_ == "multiclass" and isinstance(found.get("class_weight"), Mapping):
            found["class_weight"] = None  # its keys are not the classes of this model
        ridge: Any = given.penalty
        center: Any = getattr(ridge, "center", None)
        if np.ndim(center) == 2 and np.shape(center)[0] > 1:
            own = to_dense_numpy(rows_by_name(center))[place]
            found["penalty"] = replace(ridge, center=own)
        thresholds = self._thresholds(self.target_kind_, self.n_labels_)
        model = TorchLogisticClassifier(**found | {"threshold": float(thresholds[rows])})
        fitted = {
            name: export.to_numpy_copy(getattr(self, name)[rows])
            for name in ("coef_", "intercept_", "n_iter_", "optimality_", "converged_")
        }
        fitted |= {name: fitted[name].item() for name in ("optimality_", "converged_")}
        fitted |= {"n_passes_": self.n_passes_, "duality_gap_": float("nan")}
        pair = self.classes_ if self.target_kind_ == "binary" else np.arange(2)
        return export.set_fitted(model, self, fitted | {"classes_": export.to_numpy_copy(pair)})

    @available_if(_has_coefficients)
    def to_sklearn(self) -> Any:
        """Copy the labels' models into scikit-learn's own LogisticRegressions.

        Returns
        -------
        model : MultiOutputClassifier, OneVsRestClassifier, LogisticRegression or \
                FixedThresholdClassifier
            Fitted model in NumPy that does not depend on this package. For an indicator y a
            MultiOutputClassifier, with a FixedThresholdClassifier for every label whose
            `threshold` is not 0.5: it predicts dense indicators, and its `predict_proba` is a
            list with an array per label. For a 1-D y of three or more classes an
            OneVsRestClassifier, for one of two classes one of the others.

        Raises
        ------
        NotFittedError
            Before `fit`.

        Notes
        -----
        See `TorchLogisticClassifier.to_sklearn`. Not available for a network.

        Examples
        --------
        >>> from sklearn.datasets import make_multilabel_classification
        >>> from skorch_logreg import MultiLabel
        >>> X, Y = make_multilabel_classification(n_classes=3, random_state=0)
        >>> MultiLabel(C=0.1).fit(X, Y).to_sklearn()
        MultiOutputClassifier(estimator=LogisticRegression(C=0.1))
        """
        kind, classes, thresholds = self._decision()
        pair = np.arange(2) if kind == "one-vs-rest" else export.to_numpy_copy(classes)
        models = [self._label(label, pair) for label in range(self.n_labels_)]
        models = [export.with_threshold(*each) for each in zip(models, thresholds, strict=True)]
        if kind == "binary":
            return models[0]
        from sklearn.linear_model import LogisticRegression
        from sklearn.multiclass import OneVsRestClassifier
        from sklearn.multioutput import MultiOutputClassifier
        from sklearn.preprocessing import LabelBinarizer

        template = LogisticRegression(**self._parameters(None))
        if kind == "indicator":
            model = MultiOutputClassifier(template)
            model.classes_ = [each.classes_ for each in models]
        else:
            model = OneVsRestClassifier(template)
            binarizer = LabelBinarizer(sparse_output=True).fit(export.to_numpy_copy(classes))
            model.label_binarizer_, model.classes_ = binarizer, binarizer.classes_
        return export.set_fitted(model, self, {"estimators_": models})

    def _label(self, label: int, pair: np.ndarray) -> Any:
        """Return the model of one label as a binary LogisticRegression."""
        from sklearn.linear_model import LogisticRegression

        row, names = slice(label, label + 1), ("coef_", "intercept_", "n_iter_")
        fitted = {name: export.to_numpy_copy(getattr(self, name)[row]) for name in names}
        fitted["classes_"] = pair
        return export.set_fitted(LogisticRegression(**self._parameters(label)), self, fitted)

    def _parameters(self, label: int | None) -> dict[str, Any]:
        """Return the parameters of a label; with None, the estimator's where labels differ."""
        return export.sklearn_parameters(self._template()) | self._own_parameters(label)

    def _template(self) -> Any:
        return TorchLogisticClassifier() if self.estimator is None else self.estimator

    def _own_parameters(self, label: int | None) -> dict[str, Any]:
        """Return the parameters of a label that differ from the estimator's."""
        found: dict[str, Any] = {}
        weights = self.class_weight
        if isinstance(weights, (list, tuple)):
            weights = None if label is None else weights[label]
        if weights is not None:
            found["class_weight"] = weights
        for name, own in (
            ("C", self.C),
            ("C", getattr(self, "C_", None)),
            ("l1_ratio", getattr(self, "l1_ratio_", None)),
        ):
            if own is not None and (np.ndim(own) == 0 or label is not None):
                found[name] = float(np.broadcast_to(own, self.n_labels_)[label or 0])
        return found

    def _decision(self) -> tuple[str, Any, Any]:
        check_is_fitted(self)
        thresholds = self._thresholds(self.target_kind_, self.n_labels_).tolist()
        kind = {"binary": "binary", "multiclass": "one-vs-rest"}.get(self.target_kind_, "indicator")
        pair = np.arange(2).astype(self.target_dtype_)
        return kind, pair if kind == "indicator" else self.classes_, thresholds
