"""Classification metrics at all thresholds, computed from sorted probabilities.

Rows whose probability is at least the threshold are predicted positive. A sum over the rows on
either side of the threshold is a cumulative sum over the sorted rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from sklearn import metrics

from skorch_logreg.exceptions import ParameterError

__all__ = [
    "ConfusionCounts",
    "HeldOutPredictions",
    "best_threshold_index",
    "fbeta",
    "maximize_micro_fbeta",
    "metric_from_counts",
    "sum_counts",
]

_SCORE_RTOL = 1e-12  # relative difference below which scores differ only by rounding


class ConfusionCounts(NamedTuple):
    """Total weights of true and false positives and negatives at every threshold."""

    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray
    tn: np.ndarray

    @property
    def swapped(self) -> "ConfusionCounts":
        """Confusion matrix with the other class as the positive one."""
        return ConfusionCounts(tp=self.tn, fp=self.fn, fn=self.fp, tn=self.tp)


@dataclass(frozen=True)
class HeldOutPredictions:
    """Held-out predictions of one binary problem, with the candidate thresholds.

    ``rows`` are indices into X, and ``label`` is 0 if there is only one problem.
    """

    label: int
    rows: np.ndarray
    probabilities: np.ndarray
    positive: np.ndarray
    weight: np.ndarray
    thresholds: np.ndarray

    @cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(self.probabilities, kind="stable")

    @cached_property
    def _n_below(self) -> np.ndarray:
        return np.searchsorted(self.probabilities[self._order], self.thresholds)

    def sum_above(self, values: np.ndarray) -> np.ndarray:
        """Sum the values of the rows at or above each threshold."""
        return np.r_[values[self._order][::-1].cumsum()[::-1], 0.0][self._n_below]

    def sum_below(self, values: np.ndarray) -> np.ndarray:
        """Sum the values of the rows below each threshold, exactly zero if there are none."""
        return np.r_[0.0, values[self._order].cumsum()][self._n_below]

    @property
    def counts(self) -> ConfusionCounts:
        """Weighted confusion matrix at every threshold."""
        positive, negative = self.weight * self.positive, self.weight * ~self.positive
        return ConfusionCounts(
            self.sum_above(positive),
            self.sum_above(negative),
            self.sum_below(positive),
            self.sum_below(negative),
        )


def best_threshold_index(thresholds: np.ndarray, scores: np.ndarray) -> int:
    """Return the index of the largest score; ties go to the threshold nearest to 0.5."""
    finite = np.isfinite(scores)
    if not finite.any():
        raise ParameterError("scoring gives no threshold a finite score.")
    tolerance = _SCORE_RTOL * np.abs(scores[finite]).max()
    good = np.flatnonzero(finite & (scores >= scores[finite].max() - tolerance))
    return int(good[np.abs(thresholds[good] - 0.5).argmin()])


def maximize_micro_fbeta(
    thresholds: list[np.ndarray], counts: list[ConfusionCounts], beta: float
) -> list[int]:
    """Find the threshold of every label that maximises the micro-averaged F-beta.

    The score is a ratio of sums over the labels, ``(1 + beta^2) TP / (beta^2 P + TP + FP)``.
    Dinkelbach's method maximises ``(1 + beta^2) TP - F (TP + FP)`` for each label separately,
    where F is the current score, and repeats until F does not increase.

    Returns the index of the threshold of each label.

    References
    ----------
    Dinkelbach (1967). On nonlinear fractional programming. Management Science 13(7), 492-498.
    """
    value, better = -1.0, 0.0
    indices: list[int] = []
    while better > value + _SCORE_RTOL:
        value = better
        indices = [
            best_threshold_index(own, (1 + beta**2) * c.tp - value * (c.tp + c.fp))
            for own, c in zip(thresholds, counts, strict=True)
        ]
        better = float(fbeta(sum_counts(counts, indices), beta))
    return indices


def sum_counts(counts: list[ConfusionCounts], indices: list[int]) -> ConfusionCounts:
    """Sum the confusion matrices of all labels, each at its own threshold."""
    cells = [[cell[i] for cell in c] for c, i in zip(counts, indices, strict=True)]
    return ConfusionCounts(*np.sum(cells, axis=0))


def _ratio(part: Any, whole: Any) -> Any:
    """Divide, with 0 where the denominator is 0, as in scikit-learn."""
    whole = np.asarray(whole)
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), 0.0)


def _balanced_accuracy(c: ConfusionCounts) -> np.ndarray:
    """Compute the mean recall over the classes that are present."""
    recalls = _ratio(c.tp, c.tp + c.fn) + _ratio(c.tn, c.tn + c.fp)
    return recalls / np.maximum((c.tp + c.fn > 0).astype(int) + (c.tn + c.fp > 0), 1)


def fbeta(c: ConfusionCounts, beta: float = 1.0) -> np.ndarray:
    """Compute the F-beta score."""
    gain = 1 + beta**2
    return _ratio(gain * c.tp, gain * c.tp + beta**2 * c.fn + c.fp)


def _matthews(c: ConfusionCounts) -> np.ndarray:
    """Compute the Matthews correlation coefficient."""
    scale = np.sqrt(c.tp + c.fp) * np.sqrt(c.tp + c.fn)
    scale = scale * np.sqrt(c.tn + c.fp) * np.sqrt(c.tn + c.fn)
    return _ratio(c.tp * c.tn - c.fp * c.fn, scale)


_SYMMETRIC_METRICS: dict[Any, Callable[..., np.ndarray]] = {
    metrics.accuracy_score: lambda c: _ratio(c.tp + c.tn, c.tp + c.tn + c.fp + c.fn),
    metrics.balanced_accuracy_score: _balanced_accuracy,
    metrics.matthews_corrcoef: _matthews,
}
_BINARY_METRICS: dict[Any, Callable[..., np.ndarray]] = {
    metrics.f1_score: fbeta,
    metrics.fbeta_score: fbeta,
    metrics.precision_score: lambda c: _ratio(c.tp, c.tp + c.fp),
    metrics.recall_score: lambda c: _ratio(c.tp, c.tp + c.fn),
    metrics.jaccard_score: lambda c: _ratio(c.tp, c.tp + c.fn + c.fp),
}


def metric_from_counts(
    score: Any, options: dict[str, Any], classes: Any
) -> Callable[[ConfusionCounts], Any] | None:
    """Return a function that computes a scikit-learn metric from confusion matrices.

    ``classes[1]`` is positive without a `pos_label` in ``options``, the keyword arguments of the
    metric. None if the metric or its options are not supported.
    """
    if score in _SYMMETRIC_METRICS and not options:
        return _SYMMETRIC_METRICS[score]
    if score not in _BINARY_METRICS or options.keys() - {"average", "beta", "pos_label"}:
        return None
    rate = _BINARY_METRICS[score]
    beta = {"beta": options["beta"]} if "beta" in options else {}
    average = options.get("average", "binary")
    if average == "macro":
        return lambda c: (rate(c, **beta) + rate(c.swapped, **beta)) / 2
    if average != "binary":
        return None
    pos_label = options.get("pos_label")
    if pos_label is None or pos_label == classes[1]:
        return lambda c: rate(c, **beta)
    return (lambda c: rate(c.swapped, **beta)) if pos_label == classes[0] else None
