"""Export the models of many labels to scikit-learn and to ONNX."""

from typing import Any

import numpy as np
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.estimators.export import (
    ExportMixin,
    set_fitted,
    sklearn_parameters,
    to_numpy_copy,
    with_threshold,
)
from skorch_logreg.estimators.multilabel.prediction import LabelPrediction, _has_coefficients

__all__ = ["LabelExportMixin"]


class LabelExportMixin(ExportMixin, LabelPrediction):
    """Mixin that exports the models of all labels."""

    C: Any
    class_weight: Any
    n_iter_: Any

    to_onnx = available_if(_has_coefficients)(ExportMixin.to_onnx)

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
        pair = np.arange(2) if kind == "one-vs-rest" else to_numpy_copy(classes)
        models = [self._label(label, pair) for label in range(self.n_labels_)]
        models = [with_threshold(*each) for each in zip(models, thresholds, strict=True)]
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
            model.label_binarizer_ = LabelBinarizer(sparse_output=True).fit(to_numpy_copy(classes))
            model.classes_ = model.label_binarizer_.classes_
        return set_fitted(model, self, {"estimators_": models})

    def _label(self, label: int, pair: np.ndarray) -> Any:
        """Return the model of one label as a binary LogisticRegression."""
        from sklearn.linear_model import LogisticRegression

        row = slice(label, label + 1)
        fitted = {name: to_numpy_copy(getattr(self, name)[row]) for name in ("coef_", "intercept_")}
        fitted |= {"n_iter_": to_numpy_copy(self.n_iter_[row]), "classes_": pair}
        return set_fitted(LogisticRegression(**self._parameters(label)), self, fitted)

    def _parameters(self, label: int | None) -> dict[str, Any]:
        """Return the parameters of a label; with None, the estimator's where labels differ."""
        found = sklearn_parameters(self.estimator or TorchLogisticClassifier())
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
