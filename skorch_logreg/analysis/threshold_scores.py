"""Scores of all thresholds on held-out rows, and selection of the best threshold."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from sklearn import metrics
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _check_method_params

from skorch_logreg.analysis import curves
from skorch_logreg.analysis.costs import check_cost_matrix
from skorch_logreg.analysis.curves import ConfusionCounts, HeldOutPredictions
from skorch_logreg.exceptions import ParameterError

__all__ = ["ThresholdSelector", "cost_selector", "score_selector"]


class _FixedPredictions(ClassifierMixin, BaseEstimator):
    """Classifier that returns fixed predictions, to be passed to a scorer."""

    def __init__(self, classes_: np.ndarray, positive: np.ndarray) -> None:
        self.classes_ = classes_
        self.positive = positive

    def predict(self, X: Any) -> np.ndarray:
        """Return the fixed predictions; X is ignored."""
        return self.classes_[self.positive.astype(int)]


# function of binary problems that returns the index of the best threshold and the scores of all
# thresholds of each problem
ThresholdSelector = Callable[[list[HeldOutPredictions]], tuple[list[int], list[np.ndarray]]]


def score_selector(
    scorer: Any,
    scoring: Any,
    classes: np.ndarray,
    X: Any,
    params: dict[str, Any],
    *,
    is_multilabel: bool,
) -> ThresholdSelector:
    """Return a selector of thresholds by a scikit-learn scorer of predicted classes.

    Scores are computed from confusion matrices if the metric allows it, else by a call of the
    scorer for every threshold. ``scoring`` is for error messages, and ``params`` are additional
    parameters of the scorer, such as sample weights. A ParameterError is raised if the average
    over labels does not define a threshold for each label.
    """
    beta = _micro_beta(scorer) if is_multilabel else None
    if beta is not None:
        return partial(_select_jointly, beta=beta)
    options = dict(getattr(scorer, "_kwargs", {}))
    if is_multilabel and options.get("average") == "macro":  # maximise each label's
        del options["average"]
        options.pop("pos_label", None)
    elif is_multilabel and options.get("average", "binary") != "binary":
        raise ParameterError(
            f"scoring={scoring!r} averages over labels in a way that has no threshold for each; "
            'take a metric of two classes, such as "f1", which is then of each label, or '
            '"f1_micro", an F-beta of all together.'
        )
    formula = None
    if not params.keys() - {"sample_weight"}:
        formula = curves.metric_from_counts(getattr(scorer, "_score_func", None), options, classes)
    if formula is not None:
        sign, compute = scorer._sign, formula
        return _select_separately(lambda problem: sign * compute(problem.counts))
    if is_multilabel and "average" in getattr(scorer, "_kwargs", {}).keys() - options.keys():
        raise ParameterError(
            f"scoring={scoring!r} has options that are known for one label at a time alone; "
            'leave out average="macro", which is then taken over the labels.'
        )

    def score_thresholds(problem: HeldOutPredictions) -> np.ndarray:
        X_rows = _safe_indexing(X, problem.rows)
        labels = classes[problem.positive.astype(int)]
        own = _check_method_params(X, params, indices=problem.rows)
        return np.array(
            [
                scorer(
                    _FixedPredictions(classes, problem.probabilities >= threshold),
                    X_rows,
                    labels,
                    **own,
                )
                for threshold in problem.thresholds
            ]
        )

    return _select_separately(score_thresholds)


def cost_selector(cost_matrix: Any, shape: tuple[int, ...]) -> ThresholdSelector:
    """Return a selector of thresholds by the mean cost of a row; scores are negative costs.

    ``shape`` is that of y, (n_samples,) or (n_samples, n_labels).
    """
    costs = check_cost_matrix(cost_matrix, (2, 2), [(), shape[1:], shape])
    is_per_row = costs.ndim == 2 + len(shape)

    def score_thresholds(problem: HeldOutPredictions) -> np.ndarray:
        own = costs if costs.ndim == 2 or len(shape) == 1 else costs[..., problem.label, :, :]
        own = own[problem.rows] if is_per_row else own[None]
        true = np.where(problem.positive[:, None], own[:, 1], own[:, 0])
        cost = true * problem.weight[:, None]
        total = problem.sum_below(cost[:, 0]) + problem.sum_above(cost[:, 1])
        return -total / problem.weight.sum()

    return _select_separately(score_thresholds)


def _select_separately(
    score_thresholds: Callable[[HeldOutPredictions], np.ndarray],
) -> ThresholdSelector:
    """Return a selector that selects the best threshold of every problem separately."""

    def select(problems: list[HeldOutPredictions]) -> tuple[list[int], list[np.ndarray]]:
        scores = [score_thresholds(problem) for problem in problems]
        pairs = zip(problems, scores, strict=True)
        return [
            curves.best_threshold_index(problem.thresholds, own) for problem, own in pairs
        ], scores

    return select


def _select_jointly(
    problems: list[HeldOutPredictions], beta: float
) -> tuple[list[int], list[np.ndarray]]:
    """Select the thresholds that maximise the micro-averaged F-beta of all labels.

    The scores of a label are those of its thresholds with the other labels at their best ones.
    """
    counts = [problem.counts for problem in problems]
    indices = curves.maximize_micro_fbeta([each.thresholds for each in problems], counts, beta)
    at_best = curves.sum_counts(counts, indices)
    scores = []
    for own, index in zip(counts, indices, strict=True):
        moved = (total - cell[index] + cell for total, cell in zip(at_best, own, strict=True))
        scores.append(curves.fbeta(ConfusionCounts(*moved), beta))
    return indices, scores


def _micro_beta(scorer: Any) -> float | None:
    """Return beta of a micro-averaged F-beta scorer, or None for any other scorer."""
    options = dict(getattr(scorer, "_kwargs", {}))
    is_micro = options.pop("average", None) == "micro" and scorer._sign == 1
    options.pop("pos_label", None)
    score = getattr(scorer, "_score_func", None)
    if not is_micro or score not in (metrics.f1_score, metrics.fbeta_score):
        return None
    return float(options.pop("beta", 1.0)) if not options.keys() - {"beta"} else None
