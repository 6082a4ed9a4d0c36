"""Ways out: a fitted model as scikit-learn's own, or as a graph that needs no Python."""

from os import PathLike
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import check_is_fitted

from skorch_logreg.estimators import onnx_graph
from skorch_logreg.estimators.arrays import to_tensor
from skorch_logreg.estimators.options import SOLVERS, check_threshold_classes
from skorch_logreg.estimators.prediction import LogisticPrediction

__all__ = [
    "ExportMixin",
    "to_numpy_copy",
    "to_logistic_regression",
    "sklearn_parameters",
    "with_threshold",
]


class ExportMixin(LogisticPrediction):
    """A linear model that can leave this package."""

    def to_sklearn(self) -> Any:
        """Copy the model into scikit-learn's own LogisticRegression.

        Returns
        -------
        model : LogisticRegression or FixedThresholdClassifier
            Fitted, in NumPy, and free of this package: copies of the fitted attributes, and the
            parameters that both have, with the C and l1_ratio that were chosen. Where `threshold`
            is not 0.5, the `sklearn.model_selection.FixedThresholdClassifier` around it.

        Raises
        ------
        NotFittedError
            Before `fit`.

        Notes
        -----
        It predicts what this model predicts, but for a tie at 0.5. Fitted anew it is a
        LogisticRegression: that has no `penalty_factor`, `bounds`, penalty objects, or shares of
        classes, and a `solver` that it does not know becomes "lbfgs", or "saga" with L1.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skorch_logreg import TorchLogisticClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> TorchLogisticClassifier(C=0.5).fit(X, y).to_sklearn()
        LogisticRegression(C=0.5)
        """
        check_is_fitted(self)
        check_threshold_classes(self.threshold, len(self.classes_))
        chosen, names = {}, ["coef_", "intercept_", "classes_"]
        if hasattr(self, "C_"):  # iterations are then those of all candidates
            chosen = {"C": float(np.ravel(self.C_)[0]), "l1_ratio": _first(vars(self)["l1_ratio_"])}
        else:
            names.append("n_iter_")
        fitted = {name: to_numpy_copy(getattr(self, name)) for name in names}
        model = to_logistic_regression(self, sklearn_parameters(self) | chosen, fitted)
        return with_threshold(model, self.threshold)

    def to_onnx(self, path: str | PathLike[str] | None = None, *, dtype: Any = None) -> Any:
        """Write the model as an ONNX graph, which runs wherever there is a runtime for it.

        Needs ``pip install "skorch-logreg[onnx]"``.

        Parameters
        ----------
        path : str, path or None, default=None
            File to write it to as well.
        dtype : {"float32", "float64"} or None, default=None
            Of the rows and of all arithmetic; None: that of `coef_`.

        Returns
        -------
        model : onnx.ModelProto
            From "X" (n_samples, n_features) it makes "label", as `predict`, with today's
            `threshold`, and "probabilities", as `predict_proba`. Of operators of ONNX itself
            alone, opset 17.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ParameterError
            If classes are neither numbers nor strings, or `dtype` is another.
        ImportError
            If onnx is not installed.

        Notes
        -----
        A runtime rounds in its own way: probabilities differ in the last digits, and so may the
        label of a row that lies on the threshold up to these.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skorch_logreg import TorchLogisticClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> model = TorchLogisticClassifier().fit(X, y).to_onnx()
        >>> [output.name for output in model.graph.output]
        ['label', 'probabilities']
        """
        check_is_fitted(self)
        kind, classes, thresholds = self._decision()
        proto = onnx_graph.classifier(
            kind,
            to_tensor(self.coef_).cpu().numpy(),
            to_tensor(self.intercept_).cpu().numpy(),
            to_numpy_copy(classes),
            np.asarray(thresholds),
            dtype,
        )
        if path is not None:
            onnx_graph.save(proto, path)
        return proto

    def _decision(self) -> tuple[str, Any, Any]:
        """How logits are decided on: its kind, the answers, and a threshold a logit."""
        check_threshold_classes(self.threshold, len(self.classes_))
        kind = "binary" if len(self.classes_) == 2 else "multinomial"
        return kind, self.classes_, [self.threshold]


def sklearn_parameters(model: Any) -> dict[str, Any]:
    """Parameters that scikit-learn's LogisticRegression has as well, in its own terms."""
    from sklearn.linear_model import LogisticRegression  # takes long

    shared = LogisticRegression().get_params(deep=False).keys()
    found = {name: value for name, value in vars(model).items() if name in shared}
    if hasattr(found["penalty"], "of_features"):
        found["penalty"] = "deprecated"
    if found["solver"] == "auto" or found["solver"] not in SOLVERS:
        l1 = found.get("l1_ratio") or found["penalty"] in ("l1", "elasticnet")
        found["solver"] = "saga" if l1 else "lbfgs"
    return found


def to_logistic_regression(model: Any, given: dict[str, Any], fitted: dict[str, Any]) -> Any:
    """Make a fitted LogisticRegression of parameters and attributes, with the model's features."""
    from sklearn.linear_model import LogisticRegression

    made = LogisticRegression(**given)
    features = ("n_features_in_", "feature_names_in_")
    fitted |= {name: getattr(model, name) for name in features if hasattr(model, name)}
    for name, value in fitted.items():
        setattr(made, name, value)
    return made


def with_threshold(model: Any, threshold: float) -> Any:
    """Have a fitted classifier of two classes decide at a threshold of its own."""
    if threshold == 0.5:
        return model
    from sklearn.model_selection import FixedThresholdClassifier

    return FixedThresholdClassifier(
        model,
        threshold=float(threshold),
        pos_label=model.classes_[1],
        response_method="predict_proba",
    )


def to_numpy_copy(array: Any) -> Any:
    """Copy an array of any library to NumPy; a sparse one stays sparse."""
    if isinstance(array, np.ndarray) or sp.issparse(array):
        return array.copy()
    return to_tensor(array).cpu().numpy().copy()


def _first(l1_ratio: Any) -> float:
    """Return the one value of either layout; None, where none were given, is 0."""
    return float(np.ravel(l1_ratio)[0] or 0.0)
