"""Scores of held-out rows from the logits that a fit of many models leaves behind.

A batch of models has the logits of all rows, those of weight 0 included. Here they become scores
in one of two ways: `fast_scores` for the metrics that it knows, all models and folds at once, and
`CachedLogitsClassifier`, a fitted classifier whose predictions are at hand, for every other scorer.
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
from skorch_logreg.estimators.arrays import ArrayNamespace
from skorch_logreg.estimators.classifier import TorchLogisticClassifier

__all__ = ["FAST_METRICS", "CachedLogitsClassifier", "FoldRows", "fast_scores", "metric_name"]

FAST_METRICS = ("accuracy", "balanced_accuracy", "neg_brier_score", "neg_log_loss", "roc_auc")
_NEED_ALL_CLASSES = ("balanced_accuracy", "roc_auc")
_WITHOUT_LABELS = ("neg_brier_score", "neg_log_loss")  # what they take for the classes is y's


class CachedLogitsClassifier(TorchLogisticClassifier):
    """A fitted classifier that knows its logits on one array and computes them on others.

    It stands for a model of a batch wherever a scorer wants an estimator. Predictions on the
    very object given as ``X`` cost no product; on anything else they come from `coef_`.

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
        """Make a fitted model out of parameters, fitted attributes and logits.

        Parameters
        ----------
        template : TorchLogisticClassifier
            Whose parameters it has; not changed.
        fitted : dict
            ``classes_``, ``coef_``, ``intercept_`` and whatever else `fit` would set.
        X : array of any kind
            Rows whose logits are known, as the scorer will get them.
        logits : Tensor of shape (n_rows, 1) or (n_rows, n_classes)
            On X, of the type that probabilities shall have.
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
        """State of a classifier, without the rows."""
        return {name: value for name, value in super()._state().items() if name != "_cached"}


@dataclass(frozen=True)
class FoldRows:
    """Which rows belong to each of several folds, one fold's after another's.

    Parameters
    ----------
    rows, fold : Tensor of shape (n_entries,), int64
        Pairs of a row and the fold it belongs to, sorted by fold.
    lengths : tuple of int
        Entries of each fold.
    """

    rows: Tensor
    fold: Tensor
    lengths: tuple[int, ...]

    @classmethod
    def of(cls, parts: Sequence[Any], n_samples: int) -> "FoldRows":
        """Collect what a splitter yields: indices, or masks, of each fold.

        Raises
        ------
        IndexError
            If an index is not that of a row.
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
        """How often every row is in every fold, (n_samples, n_folds) float64: a mask mostly."""
        place = self.rows * self.n_folds + self.fold
        found = torch.bincount(place, minlength=n_samples * self.n_folds)
        return found.to(torch.float64).reshape(n_samples, self.n_folds)

    def take(self, logits: Tensor) -> Tensor:
        """Select, of the logits of all rows, those of every fold's rows by its own models.

        Parameters
        ----------
        logits : Tensor of shape (n_samples, n_folds * n_models, n_outputs)
            Models of a fold beside each other.

        Returns
        -------
        logits : Tensor of shape (n_entries, n_models, n_outputs)
        """
        parts = logits.unflatten(1, (self.n_folds, -1))
        return parts[self.rows.to(logits.device), self.fold.to(logits.device)]


def metric_name(scoring: Any) -> str | None:
    """Name of a metric of `FAST_METRICS`, or None for all other scorers.

    Parameters
    ----------
    scoring : str, callable or None
        As `sklearn.metrics.get_scorer` takes it. None, a classifier's own `score`, is accuracy.
        A scorer object is recognised by what it computes.
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
    """Score all models of all folds at once, where the metric is one of `FAST_METRICS`.

    Parameters
    ----------
    scoring : str, callable or None
        As `metric_name` takes it.
    logits : Tensor of shape (n_entries, n_models, 1) or (n_entries, n_models, n_classes)
        Of the rows to score, one fold's after another's, by the models of that fold:
        ``FoldRows.take``. Their type is that of the probabilities, which are clipped by its epsilon.
    index : Tensor of shape (n_entries,) or (n_entries, n_models), int64
        Class indices of these rows.
    lengths : sequence of int
        Rows of each fold; they add up to n_entries.
    weight : Tensor of shape (n_entries,) or None
        The scorer's ``sample_weight``.
    threshold : float, default=0.5
        Of the classifier.
    classes : array of shape (n_classes,) or None
        None: the scorer is told the classes (``labels``), as `LogisticRegressionCV` does. Else
        the classes, for a scorer that has only y, as in `GridSearchCV`.

    Returns
    -------
    scores : Tensor of shape (n_folds, n_models), float64, or None
        What scikit-learn's scorer gives on a `CachedLogitsClassifier`. None where it has to be asked: a scorer
        that is not known here, or a fold for which it would warn or raise.

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
    """Whether scikit-learn would ask which of two labels, no numbers, is the positive one."""
    return getattr(getattr(classes, "dtype", None), "kind", "f") in "OUS"
