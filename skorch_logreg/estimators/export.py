"""Export of fitted linear models to scikit-learn and ONNX."""

from functools import partial
from os import PathLike
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.utils.validation import check_is_fitted

from skorch_logreg.estimators import onnx_graph
from skorch_logreg.estimators.persistence import feature_attributes
from skorch_logreg.estimators.prediction import LogisticPrediction
from skorch_logreg.inputs.arrays import to_tensor
from skorch_logreg.inputs.options import SOLVERS, check_threshold_classes
from skorch_logreg.penalties import FeaturePenalty


class ExportMixin(LogisticPrediction):
    """Mixin of linear classifiers with export to scikit-learn and ONNX."""

    def to_sklearn(self) -> Any:
        """Export the model to scikit-learn's LogisticRegression.

        Returns
        -------
        model : LogisticRegression or FixedThresholdClassifier
            Fitted model that does not depend on this package: it has NumPy copies of the fitted
            attributes and the common parameters, with the C and l1_ratio that were chosen. If
            `threshold` is not 0.5, it is wrapped in a
            `sklearn.model_selection.FixedThresholdClassifier`.

        Raises
        ------
        NotFittedError
            Before `fit`.

        Notes
        -----
        The exported model predicts what this model predicts, except for a tie at 0.5. If it is
        fitted again, it is an ordinary LogisticRegression, which does not support
        `penalty_factor`, `bounds`, penalty objects or soft labels. A `solver` that scikit-learn
        does not have becomes "lbfgs", or "saga" with L1.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skorch_logreg import TorchLogisticClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> TorchLogisticClassifier(C=0.5).fit(X, y).to_sklearn()
        LogisticRegression(C=0.5)
        """
        from sklearn.linear_model import LogisticRegression  # slow to import

        check_is_fitted(self)
        check_threshold_classes(self.threshold, len(self.classes_))
        chosen, names = {}, ["coef_", "intercept_", "classes_"]
        if hasattr(self, "C_"):  # n_iter_ is then that of all candidates, and left out
            l1_ratio = np.ravel(vars(self)["l1_ratio_"])[0]
            chosen = {"C": float(np.ravel(self.C_)[0]), "l1_ratio": float(l1_ratio or 0.0)}
        else:
            names.append("n_iter_")
        fitted = {name: to_numpy_copy(getattr(self, name)) for name in names}
        model = LogisticRegression(**sklearn_parameters(self) | chosen)
        return with_threshold(set_fitted(model, self, fitted), self.threshold)

    def to_onnx(self, path: str | PathLike[str] | None = None, *, dtype: Any = None) -> Any:
        """Export the model to an ONNX graph.

        It needs ``pip install "skorch-logreg[onnx]"``.

        Parameters
        ----------
        path : str, path or None, default=None
            File to which the graph is written; None: no file is written.
        dtype : {"float32", "float64"} or None, default=None
            Type of the rows and of all arithmetic; None: the type of `coef_`.

        Returns
        -------
        model : onnx.ModelProto
            Graph with the input "X" of shape (n_samples, n_features) and the outputs "label", as
            `predict` with the present `threshold`, and "probabilities", as `predict_proba`. It
            uses only operators of ONNX itself, opset 17.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ParameterError
            If classes are neither numbers nor strings, or `dtype` is not one of the above.
        ImportError
            If onnx is not installed.

        Notes
        -----
        Runtimes round differently: probabilities may differ in the last digits, and with them the
        label of a row whose probability is that close to the threshold.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skorch_logreg import TorchLogisticClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> model = TorchLogisticClassifier().fit(X, y).to_onnx()
        >>> [output.name for output in model.graph.output]
        ['label', 'probabilities']
        """
        proto = onnx_graph.classifier(*self._fitted_arrays(), dtype=dtype)
        if path is not None:
            import onnx

            onnx.save(proto, path)
        return proto

    def onnx_parser(self) -> Any:
        """Return a function that declares the outputs, for skl2onnx."""
        kind, _, intercept, classes, _ = self._fitted_arrays()
        n_labels = len(intercept) if kind == "indicator" else None
        return partial(onnx_graph.declare_outputs, classes=classes, n_labels=n_labels)

    def onnx_shape_calculator(self) -> Any:
        """Return a function of an operator that does nothing, for skl2onnx."""
        return lambda operator: None

    def onnx_converter(self) -> Any:
        """Return a function that adds the operators to a graph, for skl2onnx."""
        return partial(onnx_graph.add_operators, fitted=self._fitted_arrays())

    def _fitted_arrays(self) -> tuple[Any, ...]:
        """Return kind, coefficients, intercepts, classes and thresholds for ONNX."""
        check_is_fitted(self)
        kind, classes, thresholds = self._decision()
        coef, intercept = (to_tensor(a).cpu().numpy() for a in (self.coef_, self.intercept_))
        return kind, coef, intercept, to_numpy_copy(classes), np.asarray(thresholds)

    def _decision(self) -> tuple[str, Any, Any]:
        """Return the kind of the decision, the classes, and a threshold for each logit."""
        check_threshold_classes(self.threshold, len(self.classes_))
        kind = "binary" if len(self.classes_) == 2 else "multinomial"
        return kind, self.classes_, [self.threshold]


def sklearn_parameters(model: Any) -> dict[str, Any]:
    """Return the model's parameters that scikit-learn's LogisticRegression has, in its terms."""
    from sklearn.linear_model import LogisticRegression  # slow to import

    shared = LogisticRegression().get_params(deep=False).keys()
    found = {name: value for name, value in vars(model).items() if name in shared}
    if isinstance(found["penalty"], FeaturePenalty):
        found["penalty"] = "deprecated"
    if found["solver"] == "auto" or found["solver"] not in SOLVERS:
        l1 = found.get("l1_ratio") or found["penalty"] in ("l1", "elasticnet")
        found["solver"] = "saga" if l1 else "lbfgs"
    return found


def set_fitted(made: Any, model: Any, fitted: dict[str, Any]) -> Any:
    """Set fitted attributes, and those of the features of a model, of its copy; return that."""
    vars(made).update(feature_attributes(model) | fitted)
    return made


def with_threshold(model: Any, threshold: float) -> Any:
    """Wrap a fitted binary classifier to predict with a threshold, unless it is 0.5."""
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
    """Copy an array of any library to NumPy; a sparse array stays sparse."""
    if isinstance(array, np.ndarray) or sp.issparse(array):
        return array.copy()
    return to_tensor(array).cpu().numpy().copy()
