"""What every threshold of a binary problem scores on held-out rows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn import metrics
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _check_method_params

from skorch_logreg.analysis import curves
from skorch_logreg.analysis.costs import check_cost_matrix
from skorch_logreg.analysis.curves import Counts, Split
from skorch_logreg.exceptions import ParameterError

__all__ = ["Column", "Judge", "beta_of_all", "costs_of", "judge_of", "of_all"]


@dataclass(frozen=True)
class Column:
    """Held-out rows of one binary problem.

    Parameters
    ----------
    label : int
        Its number; 0 where there is one problem.
    rows : ndarray of shape (n_held,), int
        Where they are in X.
    probabilities, positive, weight : ndarray of shape (n_held,)
    split : Split
    """

    label: int
    rows: np.ndarray
    probabilities: np.ndarray
    positive: np.ndarray
    weight: np.ndarray
    split: Split

    @property
    def counts(self) -> Counts:
        return self.split.counts(self.positive, self.weight)


class _Decided(ClassifierMixin, BaseEstimator):
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


Judge = Callable[[Column], np.ndarray]


def judge_of(
    scorer: Any, scoring: Any, classes: np.ndarray, X: Any, params: dict[str, Any], many: bool
) -> Judge:
    """Score all thresholds of a column: by a formula, or one after the other."""
    options = dict(getattr(scorer, "_kwargs", {}))
    if many and options.get("average") == "macro":  # over the labels, each by itself
        del options["average"]
        options.pop("pos_label", None)
    elif many and options.get("average", "binary") != "binary":
        raise ParameterError(
            f"scoring={scoring!r} averages over labels in a way that has no threshold for each; "
            'take a metric of two classes, such as "f1", which is then of each label, or '
            '"f1_micro", an F-beta of all together.'
        )
    formula = None
    if not params.keys() - {"sample_weight"}:
        formula = curves.formula(getattr(scorer, "_score_func", None), options, classes)
    if formula is not None:
        sign, compute = scorer._sign, formula
        return lambda column: sign * compute(column.counts)
    if many and "average" in getattr(scorer, "_kwargs", {}).keys() - options.keys():
        raise ParameterError(
            f"scoring={scoring!r} has options that are known for one label at a time alone; "
            'leave out average="macro", which is then taken over the labels.'
        )

    def call(column: Column) -> np.ndarray:
        of_rows = _safe_indexing(X, column.rows)
        labels = classes[column.positive.astype(int)]
        own = _check_method_params(X, params, indices=column.rows)
        return np.array(
            [
                scorer(_Decided(classes, column.probabilities >= threshold), of_rows, labels, **own)
                for threshold in column.split.thresholds
            ]
        )

    return call


def costs_of(cost_matrix: Any, columns: list[Column], n_samples: int, many: bool) -> Judge:
    """Score by minus the mean cost of a row."""
    each: list[tuple[int, ...]] = [(), (n_samples,)]
    if many:
        each = [(), (len(columns),), (n_samples, len(columns))]
    costs = check_cost_matrix(cost_matrix, (2, 2), each)

    def gain(column: Column) -> np.ndarray:
        own = costs
        if many and costs.ndim > 2:
            own = costs[..., column.label, :, :]
        own = own[column.rows] if own.ndim == 3 else own[None]
        place = np.arange(len(own)) if len(own) > 1 else 0
        paid = own[place, column.positive.astype(int)] * column.weight[:, None]
        total = column.split.below(paid[:, 0]) + column.split.above(paid[:, 1])
        return -total / column.weight.sum()

    return gain


def of_all(columns: list[Column], beta: float) -> tuple[list[int], list[np.ndarray]]:
    """Choose for the F-beta of all labels together."""
    counts = [column.counts for column in columns]
    places = curves.micro([column.split for column in columns], counts, beta)
    at_best = curves.total(counts, places)
    scores = []
    for own, place in zip(counts, places, strict=True):
        moved = (
            getattr(at_best, cell) - getattr(own, cell)[place] + getattr(own, cell)
            for cell in ("tp", "fp", "fn", "tn")
        )
        scores.append(curves.fbeta(Counts(*moved), beta))
    return places, scores


def beta_of_all(scorer: Any) -> float | None:
    """Beta of an F-beta of all labels together; None for another scorer."""
    options = dict(getattr(scorer, "_kwargs", {}))
    of_all = options.pop("average", None) == "micro" and scorer._sign == 1
    options.pop("pos_label", None)
    score = getattr(scorer, "_score_func", None)
    if not of_all or score not in (metrics.f1_score, metrics.fbeta_score):
        return None
    return float(options.pop("beta", 1.0)) if not options.keys() - {"beta"} else None
