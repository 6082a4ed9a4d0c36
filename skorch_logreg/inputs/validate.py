"""Validation of the input of a fit: rows, labels, weights and offset."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _get_feature_names, _num_samples
from torch import Tensor

from skorch_logreg.inputs import datasets, options, out_of_core, weights
from skorch_logreg.inputs.arrays import NUMPY, ArrayNamespace
from skorch_logreg.inputs.bounds import check_bounds
from skorch_logreg.inputs.dask import collect
from skorch_logreg.inputs.labels import class_probabilities, encode_targets
from skorch_logreg.inputs.options import Options
from skorch_logreg.inputs.problem import Problem
from skorch_logreg.inputs.rows import torch_dtype, validate_rows
from skorch_logreg.inputs.torch_context import seeded_generators


@dataclass(frozen=True)
class FitInput:
    """Validated rows, labels and weights of a fit.

    ``labels`` are Targets, or an Indicator, for which ``y`` is None; ``weight`` (n_samples,) is
    float64, and None if all weights are 1; results have the library and device of ``namespace``;
    ``device`` None is that of X; ``offset`` of the logits is (n_samples, 1, 1) or (n_samples, 1,
    n_classes), float64; ``names`` (n_features,) are those of X's columns if they are strings.
    """

    X: Any
    y: Any
    labels: Any
    weight: Tensor | None
    namespace: ArrayNamespace
    device: torch.device | None
    offset: Tensor | None = None
    names: Any = None

    @property
    def is_soft(self) -> bool:
        """True if the labels are class probabilities."""
        return bool(self.labels.is_soft)

    @property
    def sample_weight(self) -> Any:
        """Sample weights as an array of ``namespace``."""
        return None if self.weight is None else self.namespace.from_tensor(self.weight)

    def float64_arrays(self) -> tuple[Any, np.ndarray, np.ndarray]:
        """Return rows, class indices and weights as NumPy arrays, sparse rows as SciPy's."""
        weight = np.ones(self.X.shape[0]) if self.weight is None else self.weight.numpy()
        return self.X.astype(np.float64, copy=False), self.labels.index.numpy(), weight

    @property
    def task(self) -> dict[str, Any]:
        """X, y and metadata, as callbacks receive them."""
        weight = self.sample_weight
        metadata = None if weight is None else {"sample_weight": weight}
        return {"X": self.X, "y": self.y, "metadata": metadata}

    def take(self, index: np.ndarray) -> "FitInput":
        """Copy some rows."""
        return replace(
            self,
            X=_safe_indexing(self.X, index),
            y=None if self.y is None else _safe_indexing(self.y, index),
            labels=self.labels.take(index),
            weight=None if self.weight is None else self.weight[index],
        )

    def drop_zero_weight(self) -> "FitInput":
        """Return the rows of positive weight; mini-batches are made of these only."""
        if self.weight is None or bool((self.weight > 0).all()):
            return self
        return self.take(np.flatnonzero((self.weight > 0).cpu().numpy()))

    def weighted_targets(self, class_weight: Any) -> tuple[Tensor, Tensor | None]:
        """Return the loss's targets, and sample weights times class weights (n_samples,), or None.

        Targets are class indices (n_samples,), or probabilities (n_samples,) or (n_samples, 1,
        n_classes). A row of weight s and probabilities q counts as one row of every class c with
        weight ``s q_c``, which the weight of class c multiplies and "balanced" counts.
        """
        labels, weight = self.labels, self.weight
        if not labels.is_soft:
            if class_weight is not None:
                weight = weights.with_class_weight(class_weight, labels, weight)
            return labels.index, weight
        proba = labels.class_probability
        if class_weight is not None:
            weight = proba.new_ones(len(proba)) if weight is None else weight
            proba = proba.to(weight.device)
            total = weight @ class_probabilities(proba)
            by_class = weights.class_weights_of(class_weight, labels.classes, total)
            proba, weight = weights.reweight(proba, weight, by_class)
            weights.check_total(weight)
        return proba if proba.ndim == 1 else proba[:, None], weight

    def problem(self, parameters: Any, chosen: Options) -> Problem:
        """Build the problem of a linear classifier, and check an estimator's parameters for it."""
        n_features, dtype = int(self.X.shape[1]), torch_dtype(self.X)
        problem = Problem(
            options=chosen,
            namespace=self.namespace,
            dtype=dtype,
            n_classes=self.labels.n_classes,
            n_features=n_features,
            fit_intercept=bool(parameters.fit_intercept),
            intercept_scaling=float(parameters.intercept_scaling),
            is_soft=self.is_soft or getattr(parameters, "label_smoothing", 0.0) > 0,
            is_ordered=getattr(parameters, "is_ordered", False),
            bounds=check_bounds(parameters.bounds, n_features, dtype, chosen, self.names),
            factor=weights.check_penalty_factor(parameters.penalty_factor, n_features, self.names),
            names=self.names,
        )
        problem.penalty(torch.device("cpu"))  # checks it
        return problem


def validate(
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    model: Any = None,
    parameters: Any = None,
    chosen: Options | None = None,
    seed: int = 0,
    offset: Any = None,
    classes: Any = None,
    reset: bool = True,
    encodes: bool = True,
    defers: bool = False,
) -> FitInput:
    """Validate the input of a fit before any other computation.

    The feature attributes of ``model`` are set if ``reset``, or else checked; None: an analysis,
    for rows in memory, any number of classes and results in NumPy arrays. ``parameters`` has
    `device`, `soft_labels`, `label_smoothing`, `threshold` and `module`, by default ``model``. Rows
    out of memory are allowed if the objective and solver ``chosen`` allow them. ``classes`` are
    known classes, not all of them necessarily in y; without ``encodes``, y is left for the caller.
    If ``defers``, the first pass over a large array shows whether its entries are finite.

    A map-style data set of torch, or its loader, is read into memory in the order of ``seed``, or
    in every pass if ``chosen`` has an exact solver.
    """
    parameters = model if parameters is None else parameters
    how = {"reset": reset, "allow_nd": getattr(parameters, "module", None) is not None}
    device = None if model is None else options.resolve_device(parameters.device)
    if datasets.is_torch_dataset(X):
        datasets.require_no_labels(y, sample_weight, offset)
        exact = chosen is not None and not chosen.trains
        with seeded_generators(seed, device or torch.device("cpu")):
            X, y, sample_weight = datasets.read(X, allow_rereading=exact)
    namespace = NUMPY if model is None else ArrayNamespace.of(X)
    names = _get_feature_names(X) if model is None else None
    y, sample_weight = namespace.detach(y), namespace.convert(sample_weight)
    soft = bool(getattr(parameters, "soft_labels", False))
    if model is not None and chosen is None:
        out_of_core.require_in_memory(X, type(model).__name__)
    if chosen is not None and out_of_core.is_out_of_core(X):
        y, sample_weight, offset = map(collect, (y, sample_weight, offset))
        if encodes:
            y = out_of_core.check_labels(y, soft)
        X = out_of_core.prepare(model, X, _num_samples(y), chosen, device, reset=reset)
    elif encodes or y is None:
        X, y = validate_rows(model, X, y, defers=defers, multi_output=soft, **how)
    else:
        X = validate_rows(model, X, **how)
    options.check_device_takes(device, X)
    labels: Any = None
    if encodes:
        labels = encode_targets(y, soft, getattr(parameters, "label_smoothing", 0.0), classes)
        if model is not None:
            _check_classes(labels.classes, parameters, chosen)
    weight = weights.check_sample_weight(sample_weight, X, namespace)
    if offset is not None:
        offset = weights.check_offset(offset, X.shape[0], labels.n_classes)
    names = getattr(model, "feature_names_in_", names)
    return FitInput(X, y, labels, weight, namespace, device, offset, names)


def _check_classes(classes: Any, parameters: Any, chosen: Options | None) -> None:
    """Raise an error if the solver or the threshold does not support the number of classes."""
    n_classes = int(classes.shape[0])
    if n_classes < 2:
        # as LogisticRegressionCV and LogisticRegression have it
        class_text = f"{classes[0]}." if hasattr(parameters, "Cs") else f"{classes[0]!r}"
        raise ValueError(
            "This solver needs samples of at least 2 classes"
            " in the data, but the data contains only one"
            f" class: {class_text}"
        )
    if chosen is not None and chosen.is_liblinear and n_classes > 2:
        raise ValueError(
            "The 'liblinear' solver does not support multiclass classification"
            " (n_classes >= 3). Either use another solver or wrap the "
            "estimator in a OneVsRestClassifier to keep applying a "
            "one-versus-rest scheme. Only binary classification is supported."
        )
    options.check_threshold_classes(getattr(parameters, "threshold", 0.5), n_classes)
