"""Scores of all models of all folds at once, for metrics that are computed from logits."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from sklearn.metrics import get_scorer
from torch import Tensor, nn

from skorch_logreg.losses.softmax import softmax

FAST_METRICS = ("accuracy", "balanced_accuracy", "neg_brier_score", "neg_log_loss", "roc_auc")
_NEED_ALL_CLASSES = ("balanced_accuracy", "roc_auc")  # y of every fold must have all classes
_WITHOUT_LABELS = ("neg_brier_score", "neg_log_loss")  # without `labels`, classes are those of y


def metric_name(scoring: Any) -> str | None:
    """Return the name of a scorer's metric if it is one of `FAST_METRICS`, otherwise None.

    ``scoring`` is an argument of `sklearn.metrics.get_scorer`. None, a classifier's own `score`, is
    accuracy. A scorer object is recognised by its function and settings.
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

    The rows of the folds are concatenated; ``lengths`` holds the number of rows of each fold. The
    logits (n_entries, n_models, K) are those by the models of each fold, as ``FoldRows.take``
    returns; probabilities have their type and are clipped by its epsilon. ``index`` (n_entries,) or
    (n_entries, n_models) are class indices, and ``weight`` (n_entries,) is the scorer's
    ``sample_weight``. Without ``classes``, the scorer gets them as ``labels``, as in
    `LogisticRegressionCV`; with them, it finds them in y, as in `GridSearchCV`.

    Return the scores (n_folds, n_models), float64, of scikit-learn's scorer for a classifier with
    these logits. None if the scorer itself must be called: its metric is not in `FAST_METRICS`, or
    it would warn or raise for a fold.
    """
    metric = metric_name(scoring)
    if metric is None or not lengths or 0 in lengths:
        return None
    n_classes = max(logits.shape[2], 2)
    index = index.to(logits.device, torch.int64).reshape(index.shape[0], -1)
    if weight is not None:
        weight = weight.to(logits.device, torch.float64)[:, None]
        if not bool((weight >= 0).all() & (_fold_sums(weight, lengths) > 0).all()):
            return None
    from_y = classes is not None and metric in _WITHOUT_LABELS
    totals = None
    if from_y or metric in _NEED_ALL_CLASSES:
        members = nn.functional.one_hot(index, n_classes).to(torch.float64)
        counted = members if from_y or weight is None else members * weight[:, :, None]
        totals = _fold_sums(counted, lengths)
        if not bool((totals > 0).all()):
            return None
    # scikit-learn requires `pos_label` for labels that are not numbers
    kind = getattr(getattr(classes, "dtype", None), "kind", "f")
    if from_y and metric == "neg_brier_score" and n_classes == 2 and kind in "OUS":
        return None
    if metric == "roc_auc":
        return None if n_classes > 2 else _roc_auc(logits[:, :, 0], index, lengths, weight)
    if metric == "neg_log_loss":
        value = _log_likelihood(logits, index)
    elif metric == "neg_brier_score":
        value = _negative_brier(logits, index)
    else:
        value = _is_correct(logits, index, threshold)
    if totals is not None and metric == "balanced_accuracy":
        fold = torch.arange(len(lengths), device=index.device).repeat_interleave(
            torch.tensor(lengths, device=index.device)
        )
        total = totals[fold].gather(2, index[:, :, None])[:, :, 0]
        weight = 1 / total if weight is None else weight / total
    return _fold_means(value.to(torch.float64), lengths, weight)


@cache
def _scorer(name: str) -> Any:
    return get_scorer(name)


# logits (rows, m, K), with K = 1 for two classes; indices (rows, 1 or m); values of rows (rows, m)


def _fold_sums(value: Tensor, lengths: Sequence[int]) -> Tensor:
    """Sum values over each fold's rows, fold by fold, so that the order of summation is fixed."""
    if len(set(lengths)) == 1:
        return value.unflatten(0, (len(lengths), -1)).sum(dim=1)
    return torch.stack([part.sum(dim=0) for part in value.split(list(lengths))])


def _fold_means(value: Tensor, lengths: Sequence[int], weight: Tensor | None) -> Tensor:
    """Average values over each fold's rows."""
    if weight is None:
        count = torch.tensor(lengths, dtype=torch.float64, device=value.device)
        return _fold_sums(value, lengths) / count[:, None]
    return _fold_sums(value * weight, lengths) / _fold_sums(weight, lengths)


def _is_correct(logits: Tensor, index: Tensor, threshold: float) -> Tensor:
    """Return True for rows whose prediction is correct, with the comparison of `predict`."""
    if logits.shape[2] > 1:
        return logits.argmax(dim=2) == index
    if threshold == 0.5:
        positive = logits[:, :, 0] >= 0
    else:
        positive = logits[:, :, 0].sigmoid() >= float(threshold)
    return positive == (index == 1)


def _log_likelihood(logits: Tensor, index: Tensor) -> Tensor:
    """Compute the log-probabilities of the true classes, clipped as in `log_loss`.

    For two classes, the probability of the first is computed as one minus that of the second, with
    its rounding error.
    """
    if logits.shape[2] > 1:
        place = index.expand(logits.shape[:2])[:, :, None]
        found = softmax(logits).gather(2, place).squeeze(2)
    else:
        positive = logits[:, :, 0].sigmoid()
        found = torch.where(index == 1, positive, 1 - positive)
    eps = torch.finfo(logits.dtype).eps
    return found.clamp_(eps, 1 - eps).log_()


def _negative_brier(logits: Tensor, index: Tensor) -> Tensor:
    """Compute the negative squared distance of probabilities to the true classes.

    It is halved for two classes.
    """
    if logits.shape[2] == 1:
        return -(logits[:, :, 0].sigmoid() - index).square_()
    found = softmax(logits)
    place = index.expand(logits.shape[:2])[:, :, None]
    found.scatter_add_(2, place, found.new_full((1, 1, 1), -1.0).expand(place.shape))
    return -found.square_().sum(dim=2)


def _roc_auc(
    logits: Tensor, index: Tensor, lengths: Sequence[int], weight: Tensor | None
) -> Tensor:
    """Compute the area under the ROC curve.

    This is the probability that a positive row has a larger logit than a negative one, where a
    tie counts half.
    """
    if weight is None:
        weight = torch.ones(1, 1, dtype=torch.float64, device=logits.device)
    positive = (weight * (index == 1)).expand(logits.shape)
    negative = (weight * (index != 1)).expand(logits.shape)
    parts = (part.split(list(lengths)) for part in (logits, positive, negative))
    found = []
    for z, pos, neg in zip(*parts, strict=True):
        z, order = z.T.contiguous().sort(dim=1)
        pos, neg = pos.T.gather(1, order), neg.T.gather(1, order)
        below = nn.functional.pad(neg.cumsum(dim=1), (1, 0))
        first, last = (torch.searchsorted(z, z, right=right) for right in (False, True))
        area = (pos * (below.gather(1, first) + below.gather(1, last))).sum(dim=1) / 2
        found.append(area / (pos.sum(dim=1) * neg.sum(dim=1)))
    return torch.stack(found)
