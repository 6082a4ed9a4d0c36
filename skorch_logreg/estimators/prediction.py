"""From logits to predictions: what a fitted classifier can be asked."""

import math
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.utils._param_validation import validate_parameter_constraints
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from skorch_logreg.data.tensors import float_dtype
from skorch_logreg.data.threads import map_blocks
from skorch_logreg.estimators.arrays import (
    FLOATS,
    NUMPY,
    ArrayNamespace,
    check_same_namespace,
    is_float_array,
    to_tensor,
)
from skorch_logreg.estimators.chunks import is_chunked, iterate_chunks
from skorch_logreg.estimators.dask import lazy_for_dask
from skorch_logreg.estimators.options import check_threshold_classes
from skorch_logreg.estimators.validate import validate_rows
from skorch_logreg.inputs.tensors import to_numpy
from skorch_logreg.losses.softmax import log_softmax, softmax

__all__ = ["LogisticPrediction", "LogitPrediction"]

_BLOCK_ELEMENTS = 1 << 22  # numbers of a block of rows: 32 MiB
_BLOCK_ROWS = 256  # rows of a block are a multiple: a product's last rows may round otherwise
_SIGNS = torch.tensor([-1, 1], dtype=torch.int8, device="cpu")


class LogitPrediction:
    """Predictions from logits, ``classes_`` and ``threshold``; where logits come from is open."""

    classes_: Any
    threshold: float
    n_features_in_: int
    _parameter_constraints: ClassVar[dict[str, list[Any]]]

    def _logits(self, X: Any, method: str) -> tuple[Tensor, ArrayNamespace]:
        """Logits (n_samples, 1 or n_classes), and where X lives."""
        raise NotImplementedError

    @lazy_for_dask
    def decision_function(self, X: Any) -> Any:
        """Compute the logits.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to score; or chunks of them, or a Dask collection, for a lazy Dask array.

        Returns
        -------
        logits : array of shape (n_samples,) or (n_samples, n_classes)
            For two classes the log-odds of ``classes_[1]``; of a linear model
            ``X coef' + intercept``, of X's float type, or the coefficients' if that is wider:
            float32 for bfloat16, float64 for half precision and integers.

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        logits, namespace = self._logits(X, "decision_function")
        return namespace.from_tensor(logits[:, 0] if logits.shape[1] == 1 else logits)

    @lazy_for_dask
    def predict(self, X: Any) -> Any:
        """Predict class labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to classify; or chunks of them, or a Dask collection, for a lazy Dask array.

        Returns
        -------
        labels : array of shape (n_samples,)
            Two classes: ``classes_[1]`` where its probability is at least `threshold`, a tie
            included; more: the most probable class.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If `threshold` was set to something that is not allowed.
        """
        logits, namespace = self._logits(X, "predict")
        if logits.shape[1] > 1:
            check_threshold_classes(self.threshold, logits.shape[1])
            return self._labels(logits.argmax(dim=1), namespace)
        if self.threshold == 0.5:
            return self._labels(logits[:, 0] >= 0, namespace)
        validate_parameter_constraints(
            {"threshold": self._parameter_constraints["threshold"]},
            {"threshold": self.threshold},
            caller_name=type(self).__name__,
        )
        return self._labels(_probabilities(logits)[:, 1] >= float(self.threshold), namespace)

    @lazy_for_dask
    def predict_proba(self, X: Any) -> Any:
        """Compute the probability of every class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to score; or chunks of them, or a Dask collection, for a lazy Dask array.

        Returns
        -------
        probabilities : array of shape (n_samples, n_classes)
            Columns in the order of ``classes_``; rows sum to 1, and small ones are as exact as
            large ones.

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        logits, namespace = self._logits(X, "predict_proba")
        return namespace.from_tensor(_probabilities(logits))

    @lazy_for_dask
    def predict_log_proba(self, X: Any) -> Any:
        """Compute the logarithm of `predict_proba`; finite where that underflows to 0.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to score; or chunks of them, or a Dask collection, for a lazy Dask array.

        Returns
        -------
        log_probabilities : array of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        logits, namespace = self._logits(X, "predict_log_proba")
        probabilities = _probabilities(logits)
        if bool(probabilities.min() >= torch.finfo(logits.dtype).tiny):
            return namespace.from_tensor(probabilities.log_())
        if logits.shape[1] > 1:
            exact = log_softmax(logits)
        else:
            exact = nn.functional.logsigmoid(_both_class_logits(logits))
        underflows = probabilities < torch.finfo(logits.dtype).tiny
        return namespace.from_tensor(torch.where(underflows, exact, probabilities.log()))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Compute the accuracy of `predict`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to classify.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Their labels.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows.

        Returns
        -------
        score : float
            Share of the rows, or of their weight, that are classified correctly.
        """
        namespace = ArrayNamespace.of(X)
        labels, weight = namespace.detach(y), namespace.detach(sample_weight)
        accuracy: float = super().score(X, labels, weight)  # type: ignore[misc]
        return accuracy

    def _has_fitted_features(self, X: Any) -> bool:
        """Whether there are as many as in `fit`, where they had no names."""
        known = getattr(self, "n_features_in_", None)
        return X.shape[1] == known and not hasattr(self, "feature_names_in_")

    def _labels(self, index: Tensor, namespace: ArrayNamespace) -> Any:
        """Labels of class indices, where X lives; labels that are no numbers stay in NumPy."""
        classes_namespace = ArrayNamespace.of(self.classes_)
        if classes_namespace is NUMPY:
            narrow = index.to(torch.uint8) if index.dtype is torch.bool else index
            labels = np.asarray(self.classes_).take(narrow.cpu().numpy())
            return namespace.convert(labels) if labels.dtype.kind in "biuf" else labels
        index = classes_namespace.from_tensor(index.to(torch.int64))
        labels = classes_namespace.xp.take(self.classes_, index, axis=0)
        return labels if namespace == classes_namespace else namespace.convert(labels)


class LogisticPrediction(LogitPrediction):
    """Predictions of a linear model, from ``coef_`` and ``intercept_``.

    Nothing is cached: callers may write into the coefficients, assign them or make them sparse.
    """

    coef_: Any
    intercept_: Any

    @property
    def module_(self) -> nn.Linear:
        """The model as a torch module over the memory of ``coef_`` and ``intercept_``.

        Built at every access: a change of its weights is one of ``coef_``. Sparse and
        read-only coefficients are copied.
        """
        check_is_fitted(self)
        with torch.inference_mode(False):
            coef, intercept = _writable_tensor(self.coef_), _writable_tensor(self.intercept_)
            module: nn.Linear = nn.utils.skip_init(
                nn.Linear, coef.shape[1], coef.shape[0], dtype=coef.dtype, device=coef.device
            )
            module.weight, module.bias = nn.Parameter(coef), nn.Parameter(intercept)
        return module

    def sparsify(self) -> Self:
        """Make ``coef_`` a sparse CSR matrix: less memory where most coefficients are zero.

        Returns
        -------
        self
        """
        check_is_fitted(self)
        self.coef_ = sp.csr_matrix(self.coef_)
        return self

    def densify(self) -> Self:
        """Make ``coef_`` a dense array again, as `fit` left it.

        Returns
        -------
        self
        """
        check_is_fitted(self)
        if sp.issparse(self.coef_):
            self.coef_ = self.coef_.toarray()
        return self

    def _logits(self, X: Any, method: str) -> tuple[Tensor, ArrayNamespace]:
        """Logits (n_samples, 1 or n_classes), and where X lives."""
        check_is_fitted(self)
        if is_chunked(X):
            return self._chunk_logits(X), NUMPY
        namespace = ArrayNamespace.of(X)
        X, coef = namespace.view(X), self.coef_
        check_same_namespace(X, self, attribute="coef_", method=method)
        if (
            is_float_array(X)
            and self._has_fitted_features(X)
            and type(coef) is np.ndarray
            and coef.all()
        ):
            # an entry that is not finite shows in the logits; at zeros a product may not look
            logits = _affine(X, coef, self.intercept_)
            if math.isfinite(float(logits.sum())):
                return logits, namespace
        X = validate_rows(self, X, reset=False, dtype="numeric")
        return _affine(X, coef, self.intercept_), namespace

    def _chunk_logits(self, X: Any) -> Tensor:
        """Logits of rows that are read chunk by chunk."""
        parts = [_affine(part, self.coef_, self.intercept_) for part in iterate_chunks(self, X)]
        return torch.cat(parts)


def _affine(X: Any, coef: Any, intercept: Any) -> Tensor:
    """``X coef' + intercept`` (n_samples, n_outputs), as `module_` computes it.

    Of X's float type, or the coefficients' if that is wider; other numbers are made floats block
    by block.
    """
    if sp.issparse(X) or sp.issparse(coef):
        coef, intercept = (p if sp.issparse(p) else to_numpy(p) for p in (coef, intercept))
        X = to_numpy(X)
        X = X if X.dtype in FLOATS else X.astype(np.float64)
        return torch.from_numpy(safe_sparse_dot(X, coef.T, dense_output=True) + intercept)
    X, coef, intercept = to_tensor(X), to_tensor(coef), to_tensor(intercept)
    if not X.dtype == coef.dtype == intercept.dtype or X.device != coef.device:
        dtype = torch.promote_types(coef.dtype, intercept.dtype)
        dtype = torch.promote_types(float_dtype(X.dtype), dtype)
        coef, intercept = (part.to(X.device, dtype) for part in (coef, intercept))
    converts, on_cpu = X.dtype != coef.dtype, X.device.type == "cpu"

    def product(rows: Tensor) -> Tensor:
        rows = rows.to(coef.dtype) if converts else rows
        return nn.functional.linear(rows, coef, intercept)

    with torch.autocast(X.device.type, enabled=False):
        if X.numel() <= _BLOCK_ELEMENTS or not (on_cpu or converts):
            return product(X)
    # in each block, some BLAS would take one thread for a product with one column
    logits = coef.new_empty(X.shape[0], coef.shape[0])
    step = max(_BLOCK_ELEMENTS // X.shape[1] & -_BLOCK_ROWS, _BLOCK_ROWS)

    def part(start: int) -> None:
        rows = slice(start, start + step)
        with torch.autocast(X.device.type, enabled=False):  # a thread's own setting
            logits[rows] = product(X[rows])

    blocks = range(0, X.shape[0], step)
    if on_cpu:
        map_blocks(part, blocks)
    else:
        for start in blocks:
            part(start)
    return logits


def _both_class_logits(logits: Tensor) -> Tensor:
    """Logits (n, 2) of both classes, from the log-odds (n, 1) of the second; new memory."""
    return logits * _SIGNS.to(logits.device)


def _probabilities(logits: Tensor) -> Tensor:
    """Probabilities (n, n_classes) without cancellation: a sigmoid of either sign."""
    if logits.shape[1] > 1:
        return softmax(logits)
    return _both_class_logits(logits).sigmoid_()


def _writable_tensor(array: Any) -> Tensor:
    """View an array that a module may write into; read-only ones are copied."""
    writable = isinstance(array, Tensor) or getattr(array, "flags", None) is None
    tensor = to_tensor(array)
    return tensor if writable or array.flags.writeable else tensor.clone()
