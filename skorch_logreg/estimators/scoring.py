"""Scores of held-out rows from the logits of a batch of fitted models.

The result of a batch has the logits of all rows, including those of weight 0. There are two ways
to score them: `fast_scores` computes its metrics for all models and folds at once, and
`CachedLogitsClassifier`, a fitted classifier with cached logits, is passed to any other scorer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import numpy as np
import torch
from sklearn.metrics import get_scorer
from torch import Tensor, nn

from skorch_logreg.estimators import metrics
from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.inputs.arrays import ArrayNamespace

__all__ = ["FAST_METRICS", "CachedLogitsClassifier", "FoldRows", "fast_scores", "metric_name"]

FAST_METRICS = ("accuracy", "balanced_accuracy", "neg_brier_score", "neg_log_loss", "roc_auc")
_NEED_ALL_CLASSES = ("balanced_accuracy", "roc_auc")  # y of every fold must have all classes
_WITHOUT_LABELS = ("neg_brier_score", "neg_log_loss")  # without `labels`, classes are those of y


class CachedLogitsClassifier(TorchLogisticClassifier):
    """Fitted classifier with cached logits for one array.

    It represents a model of a batch for scorers, which take an estimator. Predictions for the
    same object ``X`` use the cached logits; those for other arrays are computed from `coef_`.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from sklearn.metrics import get_scorer
    >>> from skorch_logreg import TorchLogisticClassifier
    >>> from skorch_logreg.estimators.scoring import CachedLogitsClassifier
    >>> X, logits = np.ones((2, 1)), torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    >>> model = CachedLogitsClassifier.of(
    ...     TorchLogisticClassifier(),
    ...     {"classes_": np.array([0, 1]), "coef_": np.ones((1, 1)), "intercept_": np.zeros(1)},
    ...     X,
    ...     logits,
    ... )
    >>> get_scorer("accuracy")(model, X, [0, 1])
    1.0
    """

    _cached: tuple[Any, Tensor] | None = None

    @classmethod
    def of(
        cls,
        template: TorchLogisticClassifier,
        fitted: dict[str, Any],
        X: Any,
        logits: Tensor,
        **parameters: Any,
    ) -> Self:
        """Build a fitted model from parameters, fitted attributes and logits.

        Parameters
        ----------
        template : TorchLogisticClassifier
            Estimator whose parameters are copied.
        fitted : dict
            Fitted attributes: ``classes_``, ``coef_``, ``intercept_`` and possibly others.
        X : array of any kind
            Rows of the logits, the object that the scorer will get.
        logits : Tensor of shape (n_rows, 1) or (n_rows, n_classes)
            Logits of X, of the type that probabilities will have.
        **parameters
            Parameters that differ from the template's, such as ``C``.
        """
        model = cls.__new__(cls)
        shape = {"n_features_in_": fitted["coef_"].shape[1]}
        model.__dict__.update(vars(template) | parameters | shape | fitted)
        model._cached = X, logits
        return model

    def _logits(self, X: Any, method: str) -> tuple[Tensor, ArrayNamespace]:
        if self._cached is not None and X is self._cached[0]:
            return self._cached[1], ArrayNamespace.of(X)
        return super()._logits(X, method)

    def _state(self) -> dict[str, Any]:
        """Return the state of a classifier without the cached rows and logits."""
        return {name: value for name, value in super()._state().items() if name != "_cached"}


@dataclass(frozen=True)
class FoldRows:
    """Indices of the rows of several folds, concatenated.

    Parameters
    ----------
    rows, fold : Tensor of shape (n_entries,), int64
        Row and fold of every entry, sorted by fold.
    lengths : tuple of int
        Number of entries of each fold.
    """

    rows: Tensor
    fold: Tensor
    lengths: tuple[int, ...]

    @classmethod
    def of(cls, parts: Sequence[Any], n_samples: int) -> "FoldRows":
        """Build from the indices, or masks, that a splitter yields for each fold.

        Raises
        ------
        IndexError
            If an index is out of bounds.
        """
        arrays = [np.asarray(part) for part in parts]
        arrays = [np.flatnonzero(part) if part.dtype == bool else part for part in arrays]
        lengths = tuple(len(part) for part in arrays)
        rows = np.concatenate(arrays).astype(np.int64, copy=False) if arrays else np.zeros(0, int)
        if rows.size and not -n_samples <= rows.min() <= rows.max() < n_samples:
            raise IndexError(
                f"cv yields row {rows.max() if rows.max() >= n_samples else rows.min()}, "
                f"but X has {n_samples} rows."
            )
        rows = np.where(rows < 0, rows + n_samples, rows)
        fold = np.repeat(np.arange(len(arrays)), lengths)
        return cls(torch.from_numpy(rows), torch.from_numpy(fold), lengths)

    @property
    def n_folds(self) -> int:
        """Number of folds."""
        return len(self.lengths)

    def counts(self, n_samples: int) -> Tensor:
        """Count the occurrences of every row in every fold, (n_samples, n_folds) float64.

        The counts are 0 or 1 unless a splitter yields a row repeatedly.
        """
        place = self.rows * self.n_folds + self.fold
        found = torch.bincount(place, minlength=n_samples * self.n_folds)
        return found.to(torch.float64).reshape(n_samples, self.n_folds)

    def take(self, logits: Tensor) -> Tensor:
        """Select the logits of every fold's rows by the fold's own models.

        Parameters
        ----------
        logits : Tensor of shape (n_samples, n_folds * n_models, n_outputs)
            Logits of all rows by all models; the models of a fold are adjacent.

        Returns
        -------
        logits : Tensor of shape (n_entries, n_models, n_outputs)
        """
        parts = logits.unflatten(1, (self.n_folds, -1))
        return parts[self.rows.to(logits.device), self.fold.to(logits.device)]


def metric_name(scoring: Any) -> str | None:
    """Return the name of a scorer's metric if it is one of `FAST_METRICS`, otherwise None.

    Parameters
    ----------
    scoring : str, callable or None
        Argument of `sklearn.metrics.get_scorer`. None, a classifier's own `score`, is accuracy.
        A scorer object is recognised by its function and settings.
    """
    if scoring is None:
        return "accuracy"
    if isinstance(scoring, str):
        return scoring if scoring in FAST_METRICS else None
    for name in FAST_METRICS:
        known = _scorer(name)
        if type(scoring) is type(known) and all(
            getattr(scoring, part) == getattr(known, part)
            for part in ("_score_func", "_sign", "_response_method", "_kwargs")
        ):
            return name
    return None


def fast_scores(
    scoring: Any,
    logits: Tensor,
    index: Tensor,
    lengths: Sequence[int],
    weight: Tensor | None = None,
    *,
    threshold: float = 0.5,
    classes: Any = None,
) -> Tensor | None:
    """Score all models of all folds at once, if the metric is one of `FAST_METRICS`.

    Parameters
    ----------
    scoring : str, callable or None
        Argument of `metric_name`.
    logits : Tensor of shape (n_entries, n_models, 1) or (n_entries, n_models, n_classes)
        Logits of the rows to score, concatenated over the folds, by the models of each fold, as
        ``FoldRows.take`` returns. Probabilities have their type and are clipped by its epsilon.
    index : Tensor of shape (n_entries,) or (n_entries, n_models), int64
        Class indices of these rows.
    lengths : sequence of int
        Number of rows of each fold; the sum is n_entries.
    weight : Tensor of shape (n_entries,) or None
        The scorer's ``sample_weight``.
    threshold : float, default=0.5
        Threshold of the classifier's `predict`.
    classes : array of shape (n_classes,) or None
        None: the scorer gets the classes as ``labels``, as in `LogisticRegressionCV`. Otherwise
        the classes, for a scorer that finds them in y, as in `GridSearchCV`.

    Returns
    -------
    scores : Tensor of shape (n_folds, n_models), float64, or None
        Scores that scikit-learn's scorer gives for a `CachedLogitsClassifier`. None if the scorer
        itself must be called: its metric is not in `FAST_METRICS`, or it would warn or raise for a
        fold.

    Examples
    --------
    >>> import torch
    >>> from skorch_logreg.estimators.scoring import fast_scores
    >>> logits = torch.tensor([-1.0, 1.0, 2.0, 3.0]).double().reshape(4, 1, 1)
    >>> index = torch.tensor([0, 1, 1, 0])
    >>> fast_scores("accuracy", logits, index, lengths=[2, 2]).flatten().tolist()
    [1.0, 0.5]
    """
    metric = metric_name(scoring)
    if metric is None or not lengths or 0 in lengths:
        return None
    n_classes = max(logits.shape[2], 2)
    index = index.to(logits.device).reshape(index.shape[0], -1)
    if weight is not None:
        weight = weight.to(logits.device, torch.float64)[:, None]
        if not bool((weight >= 0).all() & (metrics.fold_sums(weight, lengths) > 0).all()):
            return None
    from_y = classes is not None and metric in _WITHOUT_LABELS
    totals = None
    if from_y or metric in _NEED_ALL_CLASSES:
        members = nn.functional.one_hot(index, n_classes).to(torch.float64)
        counted = members if from_y or weight is None else members * weight[:, :, None]
        totals = metrics.fold_sums(counted, lengths)
        if not bool((totals > 0).all()):
            return None
    if from_y and metric == "neg_brier_score" and n_classes == 2 and _has_no_order(classes):
        return None
    if metric == "roc_auc":
        return None if n_classes > 2 else metrics.roc_auc(logits[:, :, 0], index, lengths, weight)
    if metric == "neg_log_loss":
        value = metrics.log_likelihood(logits, index)
    elif metric == "neg_brier_score":
        value = metrics.negative_brier(logits, index)
    else:
        value = metrics.is_correct(logits, index, threshold)
    if totals is not None and metric == "balanced_accuracy":
        weight = metrics.balanced_weights(index, lengths, weight, totals)
    return metrics.fold_means(value.to(torch.float64), lengths, weight)


@cache
def _scorer(name: str) -> Any:
    return get_scorer(name)


def _has_no_order(classes: Any) -> bool:
    """Return True for labels that are not numbers, for which scikit-learn requires `pos_label`."""
    return getattr(getattr(classes, "dtype", None), "kind", "f") in "OUS"
