"""What every threshold of binary problems scores on held-out rows, and the best of each."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sklearn import metrics
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _check_method_params

from skorch_logreg.analysis import curves
from skorch_logreg.analysis.costs import check_cost_matrix
from skorch_logreg.analysis.curves import ConfusionCounts, ProbabilityRanking
from skorch_logreg.exceptions import ParameterError

__all__ = ["HeldOutPredictions", "ThresholdSelector", "cost_selector", "score_selector"]


@dataclass(frozen=True)
class HeldOutPredictions:
    """Held-out rows of one binary problem.

    Parameters
    ----------
    label : int
        Its number; 0 where there is one problem.
    rows : ndarray of shape (n_held,), int
        Where they are in X.
    probabilities, positive, weight : ndarray of shape (n_held,)
    ranking : Split
    """

    label: int
    rows: np.ndarray
    probabilities: np.ndarray
    positive: np.ndarray
    weight: np.ndarray
    ranking: ProbabilityRanking

    @property
    def counts(self) -> ConfusionCounts:
        """Count the rows at every threshold."""
        return self.ranking.confusion_counts(self.positive, self.weight)


class _FixedPredictions(ClassifierMixin, BaseEstimator):
    """What a scorer takes for a classifier: decisions that are made, whatever X.

    Parameters
    ----------
    classes_ : ndarray of shape (2,)
    positive : ndarray of shape (n_rows,), bool
    """

    def __init__(self, classes_: np.ndarray, positive: np.ndarray) -> None:
        self.classes_ = classes_
        self.positive = positive

    def predict(self, X: Any) -> np.ndarray:
        return self.classes_[self.positive.astype(int)]


# from columns to the place of each one's threshold, and the scores of all of its
ThresholdSelector = Callable[[list[HeldOutPredictions]], tuple[list[int], list[np.ndarray]]]


def score_selector(
    scorer: Any,
    scoring: Any,
    classes: np.ndarray,
    X: Any,
    params: dict[str, Any],
    is_multilabel: bool,
) -> ThresholdSelector:
    """Score by a formula, or by the scorer one threshold after the other.

    Parameters
    ----------
    scorer : scorer
        Of predicted classes.
    scoring : str or callable
        Its name.
    classes : ndarray of shape (2,)
    X : array-like of shape (n_samples, n_features)
    params : dict
        What the scorer takes beside.
    is_multilabel : bool
        Whether columns are labels.
    """
    beta = _micro_beta(scorer) if is_multilabel else None
    if beta is not None:
        return partial(_select_jointly, beta=beta)
    options = dict(getattr(scorer, "_kwargs", {}))
    if is_multilabel and options.get("average") == "macro":  # over the labels, each by itself
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

    def call(problem: HeldOutPredictions) -> np.ndarray:
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
                for threshold in problem.ranking.thresholds
            ]
        )

    return _select_separately(call)


def cost_selector(cost_matrix: Any, shape: tuple[int, ...]) -> ThresholdSelector:
    """Score by minus the mean cost of a row.

    Parameters
    ----------
    cost_matrix : array-like
    shape : tuple
        Of y: (n_samples,) or (n_samples, n_labels).
    """
    costs = check_cost_matrix(cost_matrix, (2, 2), [(), shape[1:], shape])
    is_per_row = costs.ndim == 2 + len(shape)

    def gain(problem: HeldOutPredictions) -> np.ndarray:
        own = costs if costs.ndim == 2 or len(shape) == 1 else costs[..., problem.label, :, :]
        own = own[problem.rows] if is_per_row else own[None]
        true = np.where(problem.positive[:, None], own[:, 1], own[:, 0])
        paid = true * problem.weight[:, None]
        total = problem.ranking.sum_below(paid[:, 0]) + problem.ranking.sum_above(paid[:, 1])
        return -total / problem.weight.sum()

    return _select_separately(gain)


def _select_separately(
    score_thresholds: Callable[[HeldOutPredictions], np.ndarray],
) -> ThresholdSelector:
    """Choose for every column by itself."""

    def select(problems: list[HeldOutPredictions]) -> tuple[list[int], list[np.ndarray]]:
        scores = [score_thresholds(problem) for problem in problems]
        pairs = zip(problems, scores, strict=True)
        return [
            curves.best_threshold_index(problem.ranking.thresholds, own) for problem, own in pairs
        ], scores

    return select


def _select_jointly(
    problems: list[HeldOutPredictions], beta: float
) -> tuple[list[int], list[np.ndarray]]:
    """Choose for the F-beta of all labels together."""
    counts = [problem.counts for problem in problems]
    indices = curves.maximize_micro_fbeta([problem.ranking for problem in problems], counts, beta)
    at_best = curves.sum_counts(counts, indices)
    scores = []
    for own, index in zip(counts, indices, strict=True):
        moved = (
            getattr(at_best, cell) - getattr(own, cell)[index] + getattr(own, cell)
            for cell in ("tp", "fp", "fn", "tn")
        )
        scores.append(curves.fbeta(ConfusionCounts(*moved), beta))
    return indices, scores


def _micro_beta(scorer: Any) -> float | None:
    """Beta of an F-beta of all labels together; None for another scorer."""
    options = dict(getattr(scorer, "_kwargs", {}))
    is_micro = options.pop("average", None) == "micro" and scorer._sign == 1
    options.pop("pos_label", None)
    score = getattr(scorer, "_score_func", None)
    if not is_micro or score not in (metrics.f1_score, metrics.fbeta_score):
        return None
    return float(options.pop("beta", 1.0)) if not options.keys() - {"beta"} else None
