"""Logistic regression with an offset of the logits."""

from typing import Any, Self

from sklearn.base import _fit_context

from skorch_logreg.estimators import fits, persistence
from skorch_logreg.estimators.cached_logits import CachedLogitsClassifier
from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.inputs.out_of_core import require_in_memory
from skorch_logreg.inputs.weights import check_offset


class OffsetLogisticClassifier(TorchLogisticClassifier):
    """Logistic regression whose `fit` takes an offset that is added to each row's logits.

    Parameters and attributes, except `has_offset_`, are those of `TorchLogisticClassifier`. It is
    a class of its own because `TorchLogisticClassifier.fit` has the signature of
    `sklearn.linear_model.LogisticRegression`. With metadata routing,
    ``set_fit_request(offset=True)`` passes an offset through pipelines and searches to `fit`, and
    ``set_score_request(offset=True)`` to `score`; scikit-learn's other scorers pass none.

    Attributes
    ----------
    has_offset_ : bool
        Whether the last fit had an offset. Predictions and analyses without it are then not those
        of the fitted rows; `predict` and the other predictions take that of their rows.

    See Also
    --------
    TorchLogisticClassifier : Logistic regression without an offset.

    Examples
    --------
    >>> import numpy as np
    >>> from skorch_logreg import OffsetLogisticClassifier
    >>> X, y = np.arange(8.0)[:, None], [0, 1, 0, 0, 1, 0, 1, 1]
    >>> plain = OffsetLogisticClassifier(tol=1e-8).fit(X, y)
    >>> moved = OffsetLogisticClassifier(tol=1e-8).fit(X, y, offset=np.full(8, 2.0))
    >>> (plain.intercept_ - moved.intercept_).round(6)
    array([2.])
    >>> proba = moved.predict_proba(X, offset=np.full(8, 2.0))
    >>> bool(np.allclose(proba, plain.predict_proba(X)))
    True
    """

    has_offset_: bool = False

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None, offset: Any = None) -> Self:
        """Fit the model.

        Parameters
        ----------
        X, y, sample_weight
            Rows, labels and weights of `TorchLogisticClassifier.fit`; `RankRows` are accepted only
            without an offset.
        offset : array-like of shape (n_samples,) or (n_samples, n_classes), or None, default=None
            Known log-odds of every row, added to its logits; with more than two classes those of
            each class. Mini-batch solvers and torch data sets do not support it.

        Returns
        -------
        self

        Raises
        ------
        ParameterError
            If `offset` has another shape, is not finite, or is not supported; also as in
            `TorchLogisticClassifier.fit`.
        """
        with persistence.isolated_fit(self):
            fits.fit(self, X, y, sample_weight, offset)
            self.has_offset_ = offset is not None
        return self

    def _at(self, X: Any, offset: Any) -> Any:
        """Return a classifier that predicts the rows X with their offset."""
        if offset is None:
            return super()
        require_in_memory(X, "a prediction with an offset")
        logits, _ = self._logits(X, "predict")
        added: Any = check_offset(offset, len(logits), len(self.classes_))
        fitted = persistence.fitted_attributes(self)
        return CachedLogitsClassifier.of(self, fitted, X, logits + added[:, 0].to(logits))

    def score(self, X: Any, y: Any, sample_weight: Any = None, offset: Any = None) -> float:
        """Compute the accuracy as `TorchLogisticClassifier`, with an offset as in `fit`."""
        return float(self._at(X, offset).score(X, y, sample_weight))

    def decision_function(self, X: Any, offset: Any = None) -> Any:
        """Compute the logits as `TorchLogisticClassifier`, plus an offset as in `fit`."""
        return self._at(X, offset).decision_function(X)

    def predict(self, X: Any, offset: Any = None) -> Any:
        """Predict classes as `TorchLogisticClassifier`, with an offset as in `fit`."""
        return self._at(X, offset).predict(X)

    def predict_proba(self, X: Any, offset: Any = None) -> Any:
        """Compute probabilities as `TorchLogisticClassifier`, with an offset as in `fit`."""
        return self._at(X, offset).predict_proba(X)

    def predict_log_proba(self, X: Any, offset: Any = None) -> Any:
        """Compute log-probabilities as `TorchLogisticClassifier`, with an offset as in `fit`."""
        return self._at(X, offset).predict_log_proba(X)
