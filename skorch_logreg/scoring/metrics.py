"""Metrics of m models on the rows of several folds, computed together from the logits.

Shapes: logits (rows, m, K) with K = 1 for two classes, class indices (rows, 1) or (rows, m), and
values of rows (rows, m). The rows of the folds are concatenated; ``lengths`` holds the number of
rows of each fold.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from skorch_logreg.losses.softmax import softmax


def fold_sums(value: Tensor, lengths: Sequence[int]) -> Tensor:
    """Sum values over each fold's rows, fold by fold, so that the order of summation is fixed."""
    if len(set(lengths)) == 1:
        return value.unflatten(0, (len(lengths), -1)).sum(dim=1)
    return torch.stack([part.sum(dim=0) for part in value.split(list(lengths))])


def fold_means(value: Tensor, lengths: Sequence[int], weight: Tensor | None) -> Tensor:
    """Average values over each fold's rows."""
    if weight is None:
        count = torch.tensor(lengths, dtype=torch.float64, device=value.device)
        return fold_sums(value, lengths) / count[:, None]
    return fold_sums(value * weight, lengths) / fold_sums(weight, lengths)


def balanced_weights(
    index: Tensor, lengths: Sequence[int], weight: Tensor | None, totals: Tensor
) -> Tensor:
    """Return weights with which all classes of a fold have the same total."""
    fold = torch.arange(len(lengths), device=index.device).repeat_interleave(
        torch.tensor(lengths, device=index.device)
    )
    total = totals[fold].gather(2, index[:, :, None])[:, :, 0]
    return 1 / total if weight is None else weight / total


def is_correct(logits: Tensor, index: Tensor, threshold: float) -> Tensor:
    """Return True for rows whose prediction is correct, with the comparison of `predict`."""
    if logits.shape[2] > 1:
        return logits.argmax(dim=2) == index
    if threshold == 0.5:
        positive = logits[:, :, 0] >= 0
    else:
        positive = logits[:, :, 0].sigmoid() >= float(threshold)
    return positive == (index == 1)


def log_likelihood(logits: Tensor, index: Tensor) -> Tensor:
    """Compute the log-probabilities of the true classes, clipped as in `log_loss`.

    For two classes, the probability of the first is computed as one minus that of the second, with
    its rounding error.
    """
    if logits.shape[2] > 1:
        found = softmax(logits).gather(2, _each(index, logits)).squeeze(2)
    else:
        positive = logits[:, :, 0].sigmoid()
        found = torch.where(index == 1, positive, 1 - positive)
    eps = torch.finfo(logits.dtype).eps
    return found.clamp_(eps, 1 - eps).log_()


def negative_brier(logits: Tensor, index: Tensor) -> Tensor:
    """Compute the negative squared distance of probabilities to the true classes.

    It is halved for two classes.
    """
    if logits.shape[2] == 1:
        return -(logits[:, :, 0].sigmoid() - index).square_()
    found = softmax(logits)
    place = _each(index, logits)
    found.scatter_add_(2, place, found.new_full((1, 1, 1), -1.0).expand(place.shape))
    return -found.square_().sum(dim=2)


def _each(index: Tensor, logits: Tensor) -> Tensor:
    return index.expand(logits.shape[:2])[:, :, None]


def roc_auc(logits: Tensor, index: Tensor, lengths: Sequence[int], weight: Tensor | None) -> Tensor:
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
        place = torch.arange(z.shape[1], device=z.device).expand(z.shape)
        differs = z[:, 1:] != z[:, :-1]
        starts = nn.functional.pad(differs, (1, 0), value=True)
        first = torch.where(starts, place, 0).cummax(dim=1).values
        # end of a run of ties, found like its beginning on the reversed rows
        ends = nn.functional.pad(differs, (0, 1), value=True)
        last = torch.where(ends, place, z.shape[1]).flip(1).cummin(dim=1).values.flip(1)
        total = neg.cumsum(dim=1)
        below = total.gather(1, first) - neg.gather(1, first)
        area = (pos * (below + total.gather(1, last))).sum(dim=1) / 2
        found.append(area / (pos.sum(dim=1) * neg.sum(dim=1)))
    return torch.stack(found)
