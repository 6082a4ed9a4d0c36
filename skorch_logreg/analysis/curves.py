"""Scores of all thresholds at once, from sorted probabilities.

A threshold splits the rows into those whose probability is at least as large, a tie included,
and the rest; what is summed over either part is one cumulative sum for all thresholds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn import metrics

from skorch_logreg.exceptions import ParameterError

__all__ = [
    "ConfusionCounts",
    "ProbabilityRanking",
    "best_threshold_index",
    "fbeta",
    "maximize_micro_fbeta",
    "metric_from_counts",
    "sum_counts",
]

_SCORE_RTOL = 1e-12  # scores that differ by less differ by rounding


@dataclass(frozen=True)
class ConfusionCounts:
    """Weights of rows by what they are and what they are called, one entry a threshold.

    Parameters
    ----------
    tp, fp, fn, tn : ndarray of shape (n_thresholds,)
    """

    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray
    tn: np.ndarray

    @property
    def swapped(self) -> "ConfusionCounts":
        """The same, seen from the other class."""
        return ConfusionCounts(tp=self.tn, fp=self.fn, fn=self.fp, tn=self.tp)


@dataclass(frozen=True)
class ProbabilityRanking:
    """Rows sorted by their probability, and where thresholds cut them.

    Parameters
    ----------
    thresholds : ndarray of shape (n_thresholds,)
    order : ndarray of shape (n_rows,), int
        Rows from small to large probability.
    cut : ndarray of shape (n_thresholds,), int
        How many lie below each threshold.
    """

    thresholds: np.ndarray
    order: np.ndarray
    cut: np.ndarray

    @classmethod
    def from_probabilities(
        cls, probabilities: np.ndarray, thresholds: np.ndarray | None = None
    ) -> "ProbabilityRanking":
        """Sort rows; without given thresholds, list all that differ in what they do to the rows.

        These are the distinct probabilities; 1, above them all; and 0.5, which is kept where it
        is as good as any.
        """
        if thresholds is None:
            thresholds = np.unique(np.r_[probabilities, 0.5, 1.0])
        order = np.argsort(probabilities, kind="stable")
        return cls(thresholds, order, np.searchsorted(probabilities[order], thresholds))

    def sum_above(self, values: np.ndarray) -> np.ndarray:
        """Sum values of rows at or above each threshold."""
        return np.r_[values[self.order][::-1].cumsum()[::-1], 0.0][self.cut]

    def sum_below(self, values: np.ndarray) -> np.ndarray:
        """Sum values of rows below each threshold: a sum of its own, so that of none is zero."""
        return np.r_[0.0, values[self.order].cumsum()][self.cut]

    def confusion_counts(self, positive: np.ndarray, weight: np.ndarray) -> ConfusionCounts:
        """Count rows, each by its weight."""
        positive_weight, negative_weight = weight * positive, weight * ~positive
        return ConfusionCounts(
            tp=self.sum_above(positive_weight),
            fp=self.sum_above(negative_weight),
            fn=self.sum_below(positive_weight),
            tn=self.sum_below(negative_weight),
        )


def best_threshold_index(thresholds: np.ndarray, scores: np.ndarray) -> int:
    """Find the largest score; of equal ones that whose threshold is nearest to 0.5."""
    finite = np.isfinite(scores)
    if not finite.any():
        raise ParameterError("scoring gives no threshold a finite score.")
    tolerance = _SCORE_RTOL * np.abs(scores[finite]).max()
    good = np.flatnonzero(finite & (scores >= scores[finite].max() - tolerance))
    return int(good[np.abs(thresholds[good] - 0.5).argmin()])


def maximize_micro_fbeta(
    rankings: list[ProbabilityRanking], counts: list[ConfusionCounts], beta: float
) -> list[int]:
    """Find the thresholds of the largest F-beta of all labels together.

    It is a ratio of sums over the labels, ``(1 + beta^2) TP / (beta^2 P + TP + FP)``. With F
    its value, ``(1 + beta^2) TP - F (TP + FP)`` is maximised by every label alone, and the ratio
    there is larger than F, until F is the largest.

    Returns
    -------
    indices : list of int
        Of each label's threshold.

    References
    ----------
    Dinkelbach (1967). On nonlinear fractional programming. Management Science 13(7), 492-498.
    """
    value, better = -1.0, 0.0
    indices: list[int] = []
    while better > value + _SCORE_RTOL:
        value = better
        indices = [
            best_threshold_index(ranking.thresholds, (1 + beta**2) * c.tp - value * (c.tp + c.fp))
            for ranking, c in zip(rankings, counts, strict=True)
        ]
        better = float(fbeta(sum_counts(counts, indices), beta))
    return indices


def sum_counts(counts: list[ConfusionCounts], indices: list[int]) -> ConfusionCounts:
    """Sum the counts of all labels, each at its own threshold."""
    cells = [(c.tp[i], c.fp[i], c.fn[i], c.tn[i]) for c, i in zip(counts, indices, strict=True)]
    return ConfusionCounts(*np.sum(cells, axis=0))


def _ratio(part: Any, whole: Any) -> Any:
    """Divide; 0 where there is nothing, as scikit-learn has it."""
    whole = np.asarray(whole)
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), 0.0)


def accuracy(c: ConfusionCounts) -> np.ndarray:
    """Compute the share of rows that are called what they are."""
    return _ratio(c.tp + c.tn, c.tp + c.tn + c.fp + c.fn)


def balanced_accuracy(c: ConfusionCounts) -> np.ndarray:
    """Average the recalls of the classes that are there."""
    recalls = recall(c) + recall(c.swapped)
    return recalls / np.maximum((c.tp + c.fn > 0).astype(int) + (c.tn + c.fp > 0), 1)


def fbeta(c: ConfusionCounts, beta: float = 1.0) -> np.ndarray:
    """Compute F-beta."""
    gain = 1 + beta**2
    return _ratio(gain * c.tp, gain * c.tp + beta**2 * c.fn + c.fp)


def precision(c: ConfusionCounts) -> np.ndarray:
    """Compute the share of the rows called positive that are."""
    return _ratio(c.tp, c.tp + c.fp)


def recall(c: ConfusionCounts) -> np.ndarray:
    """Compute the share of the positive rows that are called so."""
    return _ratio(c.tp, c.tp + c.fn)


def jaccard(c: ConfusionCounts) -> np.ndarray:
    """Compute intersection over union."""
    return _ratio(c.tp, c.tp + c.fn + c.fp)


def matthews(c: ConfusionCounts) -> np.ndarray:
    """Correlate what rows are with what they are called."""
    scale = np.sqrt(c.tp + c.fp) * np.sqrt(c.tp + c.fn)
    scale = scale * np.sqrt(c.tn + c.fp) * np.sqrt(c.tn + c.fn)
    return np.where(scale > 0, (c.tp * c.tn - c.fp * c.fn) / np.where(scale > 0, scale, 1), 0.0)


_SYMMETRIC_METRICS: dict[Any, Callable[..., np.ndarray]] = {
    metrics.accuracy_score: accuracy,
    metrics.balanced_accuracy_score: balanced_accuracy,
    metrics.matthews_corrcoef: matthews,
}
_BINARY_METRICS: dict[Any, Callable[..., np.ndarray]] = {
    metrics.f1_score: fbeta,
    metrics.fbeta_score: fbeta,
    metrics.precision_score: precision,
    metrics.recall_score: recall,
    metrics.jaccard_score: jaccard,
}


def metric_from_counts(
    score: Any, options: dict[str, Any], classes: Any
) -> Callable[[ConfusionCounts], Any] | None:
    """Find what computes one of scikit-learn's metrics from counts; None if nothing does.

    Parameters
    ----------
    score : callable
        A function of `sklearn.metrics`.
    options : dict
        Its keyword arguments.
    classes : ndarray of shape (2,)
        Without a `pos_label` the second is positive.
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
