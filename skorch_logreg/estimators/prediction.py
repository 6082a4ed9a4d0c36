"""Predictions of fitted classifiers from their logits."""

import math
from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.metrics import accuracy_score
from sklearn.utils import Tags
from sklearn.utils._param_validation import validate_parameter_constraints
from sklearn.utils.extmath import safe_sparse_dot
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from skorch_logreg.data.tensors import BLOCK_ELEMENTS, float_dtype, multiply_rows
from skorch_logreg.data.threads import map_blocks
from skorch_logreg.inputs.arrays import (
    FLOATS,
    NUMPY,
    ArrayNamespace,
    check_same_namespace,
    to_numpy,
    to_tensor,
)
from skorch_logreg.inputs.chunks import is_chunked, iterate_chunks
from skorch_logreg.inputs.dask import collect, computed_predictions, lazy_for_dask
from skorch_logreg.inputs.indicator import check_label_names, for_metrics
from skorch_logreg.inputs.options import check_threshold_classes
from skorch_logreg.inputs.rows import validate_rows
from skorch_logreg.losses import Loss, loss_of


class LogitPrediction:
    """Mixin of predictions from logits, which subclasses compute, `classes_` and `threshold`."""

    classes_: Any
    threshold: float
    n_features_in_: int
    _parameter_constraints: ClassVar[dict[str, list[Any]]]

    def _logits(self, X: Any, method: str) -> tuple[Tensor, ArrayNamespace]:
        """Compute logits (n_samples, 1 or n_classes); return them with X's namespace."""
        raise NotImplementedError

    def __sklearn_tags__(self) -> Tags:
        """Return tags: sparse data are supported; liblinear takes two classes."""
        tags: Tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.sparse = True
        tags.classifier_tags.multi_class = getattr(self, "solver", None) != "liblinear"
        return tags

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
            Logits; for two classes the log-odds of ``classes_[1]``. A linear model's are
            ``X coef' + intercept``, of the wider float type of X and the coefficients, where
            bfloat16 counts as float32, half precision and integers as float64.

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
            Predicted labels. For two classes ``classes_[1]`` where its probability is at least
            `threshold`, a tie included; for more classes the most probable class.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If `threshold` was set to an invalid value.
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
        return self._labels(
            self._loss.predict_proba(logits)[:, 1] >= float(self.threshold), namespace
        )

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
            Probabilities, with columns in the order of ``classes_``. Rows sum to 1, and small
            probabilities have the same relative accuracy as large ones.

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        logits, namespace = self._logits(X, "predict_proba")
        return namespace.from_tensor(self._loss.predict_proba(logits))

    @lazy_for_dask
    def predict_log_proba(self, X: Any) -> Any:
        """Compute the logarithm of `predict_proba`, which is finite where that underflows to 0.

        X and the result have the shapes that they have there.
        """
        logits, namespace = self._logits(X, "predict_log_proba")
        return namespace.from_tensor(self._loss.log_proba(logits))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Compute the accuracy of `predict`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to classify; or chunks of them, or a Dask collection.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            True labels.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows.

        Returns
        -------
        score : float
            Share of the rows, or of their weight, that are classified correctly.
        """
        check_label_names(y, getattr(self, "label_names_", None))
        namespace = ArrayNamespace.of(X)
        labels, weight = (collect(namespace.detach(array)) for array in (y, sample_weight))
        with computed_predictions():
            found = for_metrics(self.predict(X))
        return float(accuracy_score(for_metrics(labels), found, sample_weight=weight))

    @property
    def _loss(self) -> Loss:
        """Loss, whose link gives probabilities."""
        return loss_of(int(self.classes_.shape[0]))

    def _labels(self, index: Tensor, namespace: ArrayNamespace) -> Any:
        """Return the labels of class indices in X's namespace; in NumPy if not numeric."""
        classes_namespace = ArrayNamespace.of(self.classes_)
        if classes_namespace is NUMPY:
            narrow = index.to(torch.uint8) if index.dtype is torch.bool else index
            labels = np.asarray(self.classes_).take(narrow.cpu().numpy())
            return namespace.convert(labels) if labels.dtype.kind in "biuf" else labels
        index = classes_namespace.from_tensor(index.to(torch.int64))
        labels = classes_namespace.xp.take(self.classes_, index, axis=0)
        return labels if namespace == classes_namespace else namespace.convert(labels)


class LogisticPrediction(LogitPrediction):
    """Mixin of predictions of a linear model, from `coef_` and `intercept_`.

    Nothing is cached, so that users may modify or assign the coefficients or make them sparse.
    """

    coef_: Any
    intercept_: Any

    @property
    def module_(self) -> nn.Linear:
        """Model as a torch module that shares the memory of `coef_` and `intercept_`.

        It is built at every access; changes of its weights change `coef_`. Sparse and read-only
        coefficients are copied.
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
        """Convert ``coef_`` to a sparse CSR matrix, which saves memory if most entries are zero.

        Returns
        -------
        self
        """
        check_is_fitted(self)
        self.coef_ = sp.csr_matrix(self.coef_)
        return self

    def densify(self) -> Self:
        """Convert ``coef_`` back to a dense array.

        Returns
        -------
        self
        """
        check_is_fitted(self)
        if sp.issparse(self.coef_):
            self.coef_ = self.coef_.toarray()
        return self

    def _logits(self, X: Any, method: str) -> tuple[Tensor, ArrayNamespace]:
        """Compute logits (n_samples, 1 or n_classes); return them with X's namespace."""
        return affine_logits(self, X, lambda: self.intercept_, method)


def affine_logits(
    model: Any, X: Any, intercept: Callable[[], Any], method: str
) -> tuple[Tensor, ArrayNamespace]:
    """Validate X for a fitted model, and compute ``X coef' + intercept`` with X's namespace."""
    check_is_fitted(model)
    are_compared = model.coef_.shape[0] > 1
    if is_chunked(X):
        parts = [
            checked_logits(rows, model.coef_, intercept(), are_compared)
            for rows in iterate_chunks(model, X)
        ]
        return torch.cat(parts), NUMPY
    namespace = ArrayNamespace.of(X)
    X, coef = namespace.view(X), model.coef_
    check_same_namespace(X, model, attribute="coef_", method=method)
    if (
        type(X) is np.ndarray
        and X.ndim == 2
        and X.size
        and X.dtype in FLOATS
        and X.shape[1] == getattr(model, "n_features_in_", None)
        and not hasattr(model, "feature_names_in_")
        and type(coef) is np.ndarray
        and coef.all()
    ):
        # a non-finite entry makes logits non-finite, unless its coefficient is 0
        logits = _affine(X, coef, intercept())
        if math.isfinite(float(logits.sum())):
            return logits, namespace
    X = validate_rows(model, X, reset=False, dtype="numeric")
    return checked_logits(X, coef, intercept(), are_compared), namespace


def checked_logits(X: Any, coef: Any, intercept: Any, are_compared: bool = False) -> Tensor:
    """Compute `_affine`, or raise a ValueError if numbers beyond its range leave no prediction.

    An infinite logit has a probability, unless logits ``are_compared`` with each other.
    """
    logits = _affine(X, coef, intercept)
    if bool((~logits.isfinite() if are_compared else logits.isnan()).any()):
        dtype = str(logits.dtype).removeprefix("torch.")
        widen = ", or predict its copy in float64" if dtype == "float32" else ""
        raise ValueError(
            f"X and coef_ give logits beyond the range of {dtype}. Scale the columns of X before "
            f"the fit, for example with StandardScaler{widen}."
        )
    return logits


def _affine(X: Any, coef: Any, intercept: Any) -> Tensor:
    """Compute ``X coef' + intercept`` (n_samples, n_outputs) in the wider float type of both.

    Other types are converted block by block. The arithmetic is that of `module_`.
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

    with torch.inference_mode(False):  # other threads write to it, outside of that mode
        logits = coef.new_empty(X.shape[0], coef.shape[0])

    def product(rows: Tensor, out: Tensor) -> Tensor:
        with torch.autocast(X.device.type, enabled=False):  # autocast is set for each thread
            return multiply_rows(rows.to(coef.dtype), coef, intercept, out)

    if X.numel() <= BLOCK_ELEMENTS or not (on_cpu or converts):
        return product(X, logits)
    # threads take blocks, because some BLAS use one thread for a product with one column
    # a block has a power of two rows, because a product may round its last rows differently
    step = 1 << max((BLOCK_ELEMENTS // X.shape[1]).bit_length() - 1, 0)

    def part(start: int) -> None:
        product(X[start : start + step], logits[start : start + step])

    blocks = range(0, X.shape[0], step)
    if on_cpu:
        map_blocks(part, blocks)
    else:
        for start in blocks:
            part(start)
    return logits


def _writable_tensor(array: Any) -> Tensor:
    """View an array as a writable tensor; copy a read-only array."""
    flags = getattr(array, "flags", None)
    return to_tensor(array) if flags is None or flags.writeable else to_tensor(array).clone()
