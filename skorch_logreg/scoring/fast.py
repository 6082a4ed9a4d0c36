"""Scores of all models of all folds at once, for metrics that are computed from logits."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from sklearn.metrics import get_scorer
from torch import Tensor, nn

from skorch_logreg.scoring import metrics

FAST_METRICS = ("accuracy", "balanced_accuracy", "neg_brier_score", "neg_log_loss", "roc_auc")
_NEED_ALL_CLASSES = ("balanced_accuracy", "roc_auc")  # y of every fold must have all classes
_WITHOUT_LABELS = ("neg_brier_score", "neg_log_loss")  # without `labels`, classes are those of y


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
        Scores that scikit-learn's scorer gives for a classifier with these logits. None if the
        scorer itself must be called: its metric is not in `FAST_METRICS`, or it would warn or raise
        for a fold.

    Examples
    --------
    >>> import torch
    >>> from skorch_logreg.scoring import fast_scores
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
