"""Scores of all thresholds on held-out rows, and selection of the best threshold.

Rows whose probability is at least the threshold are predicted positive. A sum over the rows on
either side of the threshold is a cumulative sum over the rows in the order of the probabilities.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

import numpy as np
from sklearn import metrics
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _check_method_params

from skorch_logreg.analysis.costs import check_cost_matrix
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.objective import SUM_RTOL


@dataclass(frozen=True)
class HeldOutPredictions:
    """Held-out predictions of one binary problem, with the candidate thresholds.

    ``probabilities`` are in ascending order; ``rows`` are their indices into X, and ``label`` is 0
    if there is only one problem.
    """

    label: int
    rows: np.ndarray
    probabilities: np.ndarray
    positive: np.ndarray
    weight: np.ndarray
    thresholds: np.ndarray

    def sums(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sum values of the rows below each threshold, and of all others; exactly 0 for no rows."""
        n_below = np.searchsorted(self.probabilities, self.thresholds)
        below = np.r_[0.0, values.cumsum()]
        above = np.r_[values[::-1].cumsum()[::-1], 0.0]
        return below[n_below], above[n_below]

    @property
    def counts(self) -> np.ndarray:
        """Total weights (4, n_thresholds) of true and false positives, false and true negatives."""
        fn, tp = self.sums(self.weight * self.positive)
        tn, fp = self.sums(self.weight * ~self.positive)
        return np.stack([tp, fp, fn, tn])


def _ratio(part: Any, whole: Any) -> Any:
    """Divide, with 0 where the denominator is 0, as in scikit-learn."""
    whole = np.asarray(whole)
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), 0.0)


def _balanced_accuracy(tp: Any, fp: Any, fn: Any, tn: Any) -> Any:
    """Compute the mean recall over the classes that are present."""
    recalls = _ratio(tp, tp + fn) + _ratio(tn, tn + fp)
    return recalls / np.maximum((tp + fn > 0).astype(int) + (tn + fp > 0), 1)


def _fbeta(tp: Any, fp: Any, fn: Any, tn: Any, *, beta: float = 1.0) -> Any:
    """Compute the F-beta score."""
    gain = 1 + beta**2
    return _ratio(gain * tp, gain * tp + beta**2 * fn + fp)


def _matthews(tp: Any, fp: Any, fn: Any, tn: Any) -> Any:
    """Compute the Matthews correlation coefficient."""
    scale = np.sqrt(tp + fp) * np.sqrt(tp + fn) * np.sqrt(tn + fp) * np.sqrt(tn + fn)
    return _ratio(tp * tn - fp * fn, scale)


# of two classes; "average", "beta" and "pos_label" are the only options
_METRICS: dict[Any, Callable[..., Any]] = {
    metrics.accuracy_score: lambda tp, fp, fn, tn: _ratio(tp + tn, tp + tn + fp + fn),
    metrics.balanced_accuracy_score: _balanced_accuracy,
    metrics.matthews_corrcoef: _matthews,
    metrics.f1_score: _fbeta,
    metrics.fbeta_score: _fbeta,
    metrics.precision_score: lambda tp, fp, fn, tn: _ratio(tp, tp + fp),
    metrics.recall_score: lambda tp, fp, fn, tn: _ratio(tp, tp + fn),
    metrics.jaccard_score: lambda tp, fp, fn, tn: _ratio(tp, tp + fn + fp),
}


def _metric_from_counts(
    score: Any, options: dict[str, Any], classes: Any
) -> Callable[[np.ndarray], Any] | None:
    """Return a function that computes a metric with some options, or None if it is unknown."""
    if score not in _METRICS:
        return None
    known = {"average", "beta", "pos_label"} & signature(score).parameters.keys()
    if options.keys() - known:
        return None
    rate = partial(_METRICS[score], **{k: v for k, v in options.items() if k == "beta"})
    average, pos_label = options.get("average", "binary"), options.get("pos_label", classes[1])
    # counts in reverse are those with the first class as the positive one
    if average == "macro":
        return lambda counts: (rate(*counts) + rate(*counts[::-1])) / 2
    if average != "binary" or pos_label not in classes:
        return None
    step = 1 if pos_label == classes[1] else -1
    return lambda counts: rate(*counts[::step])


class _FixedPredictions(ClassifierMixin, BaseEstimator):
    """Classifier that returns fixed predictions, to be passed to a scorer."""

    def __init__(self, classes_: np.ndarray, positive: np.ndarray) -> None:
        self.classes_ = classes_
        self.positive = positive

    def predict(self, X: Any) -> np.ndarray:
        """Return the fixed predictions; X is ignored."""
        return self.classes_[self.positive.astype(int)]


# function of a binary problem that returns the scores of all its thresholds
ThresholdScorer = Callable[[HeldOutPredictions], np.ndarray]


def metric_scorer(
    scorer: Any,
    scoring: Any,
    classes: np.ndarray,
    X: Any,
    params: dict[str, Any],
    *,
    is_multilabel: bool,
) -> ThresholdScorer:
    """Return the scores of thresholds by a scikit-learn scorer of predicted classes.

    They are computed from confusion matrices if the metric allows it, else by a call of the scorer
    for every threshold. ``scoring`` is for error messages, and ``params`` are additional
    parameters of the scorer, such as sample weights. A ParameterError is raised if the average
    over labels does not define a threshold for each label.
    """
    options = dict(getattr(scorer, "_kwargs", {}))
    is_macro = options.get("average") == "macro" and options.get("labels") is None
    if is_multilabel and is_macro:  # maximise each label's
        options = {k: value for k, value in options.items() if k not in ("average", "pos_label")}
        scorer = copy.copy(scorer)
        scorer._kwargs = options
    elif is_multilabel and options.get("average", "binary") != "binary":
        raise ParameterError(
            f"scoring={scoring!r} averages over labels in a way that has no threshold for each; "
            'take a metric of two classes, such as "f1", which is then of each label, or '
            '"f1_micro", an F-beta of all together.'
        )
    score = getattr(scorer, "_score_func", None)
    is_binary = options.get("average", "binary") == "binary" and "pos_label" not in options
    if score is not None and is_binary and "pos_label" in signature(score).parameters:
        # scikit-learn's default is the label 1, which strings lack
        options["pos_label"] = 1 if 1 in classes else classes[1]
        scorer = copy.copy(scorer)
        scorer._kwargs = options
    compute = _metric_from_counts(score, options, classes)
    if compute is not None and not params.keys() - {"sample_weight"}:
        return lambda problem: scorer._sign * compute(problem.counts)

    def score_thresholds(problem: HeldOutPredictions) -> np.ndarray:
        X_rows = _safe_indexing(X, problem.rows)
        labels = classes[problem.positive.astype(int)]
        own = _check_method_params(X, params, indices=problem.rows)
        predictions = (
            _FixedPredictions(classes, problem.probabilities >= threshold)
            for threshold in problem.thresholds
        )
        return np.array([scorer(fixed, X_rows, labels, **own) for fixed in predictions])

    return score_thresholds


def cost_scorer(cost_matrix: Any, shape: tuple[int, ...]) -> ThresholdScorer:
    """Return the scores of thresholds by the mean cost of a row; they are negative costs.

    ``shape`` is that of y, (n_samples,) or (n_samples, n_labels).
    """
    costs = check_cost_matrix(cost_matrix, [(*each, 2, 2) for each in ((), shape[1:], shape)])
    is_per_row = costs.ndim == 2 + len(shape)

    def score_thresholds(problem: HeldOutPredictions) -> np.ndarray:
        own = costs if costs.ndim == 2 or len(shape) == 1 else costs[..., problem.label, :, :]
        own = own[problem.rows] if is_per_row else own[None]
        true = np.where(problem.positive[:, None], own[:, 1], own[:, 0])
        cost = true * problem.weight[:, None]
        total = problem.sums(cost[:, 0])[0] + problem.sums(cost[:, 1])[1]
        return -total / problem.weight.sum()

    return score_thresholds


def best_index(problem: HeldOutPredictions, scores: np.ndarray) -> int:
    """Return the index of the largest score; ties go to the threshold nearest to 0.5."""
    finite = np.isfinite(scores)
    if not finite.any():
        raise ParameterError("scoring gives no threshold a finite score.")
    tolerance = SUM_RTOL * np.abs(scores[finite]).max()
    good = np.flatnonzero(finite & (scores >= scores[finite].max() - tolerance))
    return int(good[np.abs(problem.thresholds[good] - 0.5).argmin()])


def select_jointly(
    beta: float, problems: list[HeldOutPredictions]
) -> tuple[list[int], list[np.ndarray]]:
    """Select the thresholds that maximise the micro-averaged F-beta of all labels.

    The score is a ratio of sums over the labels, ``(1 + beta^2) TP / (beta^2 P + TP + FP)``.
    Dinkelbach's method (1967, Management Science 13(7), 492-498) maximises
    ``(1 + beta^2) TP - F (TP + FP)`` for each label separately, where F is the current score, and
    repeats until F does not increase. The scores of a label are those of its thresholds with the
    other labels at their best ones.
    """
    counts = [problem.counts for problem in problems]
    value, better = -1.0, 0.0
    while better > value + SUM_RTOL:
        value = better
        indices = [
            best_index(problem, (1 + beta**2) * tp - value * (tp + fp))
            for problem, (tp, fp, _, _) in zip(problems, counts, strict=True)
        ]
        best = [c[:, i] for c, i in zip(counts, indices, strict=True)]
        total = np.sum(best, axis=0)
        better = float(_fbeta(*total, beta=beta))
    scores = [
        _fbeta(*(total - own)[:, None] + c, beta=beta) for c, own in zip(counts, best, strict=True)
    ]
    return indices, scores


def micro_beta(scorer: Any) -> float | None:
    """Return beta of a micro-averaged F-beta scorer, or None for any other scorer."""
    options = dict(getattr(scorer, "_kwargs", {}))
    is_micro = options.pop("average", None) == "micro" and scorer._sign == 1
    options.pop("pos_label", None)
    score = getattr(scorer, "_score_func", None)
    if not is_micro or score not in (metrics.f1_score, metrics.fbeta_score):
        return None
    return float(options.pop("beta", 1.0)) if not options.keys() - {"beta"} else None
