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
from skorch_logreg.analysis.curves import Counts, Split
from skorch_logreg.exceptions import ParameterError

__all__ = ["Choose", "Column", "by_cost", "by_score"]


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
        """Count the rows at every threshold."""
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


# from columns to the place of each one's threshold, and the scores of all of its
Choose = Callable[[list[Column]], tuple[list[int], list[np.ndarray]]]


def by_score(
    scorer: Any, scoring: Any, classes: np.ndarray, X: Any, params: dict[str, Any], many: bool
) -> Choose:
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
    many : bool
        Whether columns are labels.
    """
    beta = _beta_of_all(scorer) if many else None
    if beta is not None:
        return partial(_of_all, beta=beta)
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
        return _each(lambda column: sign * compute(column.counts))
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

    return _each(call)


def by_cost(cost_matrix: Any, shape: tuple[int, ...]) -> Choose:
    """Score by minus the mean cost of a row.

    Parameters
    ----------
    cost_matrix : array-like
    shape : tuple
        Of y: (n_samples,) or (n_samples, n_labels).
    """
    costs = check_cost_matrix(cost_matrix, (2, 2), [(), shape[1:], shape])
    of_rows = costs.ndim == 2 + len(shape)

    def gain(column: Column) -> np.ndarray:
        own = costs if costs.ndim == 2 or len(shape) == 1 else costs[..., column.label, :, :]
        own = own[column.rows] if of_rows else own[None]
        true = np.where(column.positive[:, None], own[:, 1], own[:, 0])
        paid = true * column.weight[:, None]
        total = column.split.below(paid[:, 0]) + column.split.above(paid[:, 1])
        return -total / column.weight.sum()

    return _each(gain)


def _each(judge: Callable[[Column], np.ndarray]) -> Choose:
    """Choose for every column by itself."""

    def choose(columns: list[Column]) -> tuple[list[int], list[np.ndarray]]:
        scores = [judge(column) for column in columns]
        pairs = zip(columns, scores, strict=True)
        return [curves.best(column.split.thresholds, own) for column, own in pairs], scores

    return choose


def _of_all(columns: list[Column], beta: float) -> tuple[list[int], list[np.ndarray]]:
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


def _beta_of_all(scorer: Any) -> float | None:
    """Beta of an F-beta of all labels together; None for another scorer."""
    options = dict(getattr(scorer, "_kwargs", {}))
    of_all = options.pop("average", None) == "micro" and scorer._sign == 1
    options.pop("pos_label", None)
    score = getattr(scorer, "_score_func", None)
    if not of_all or score not in (metrics.f1_score, metrics.fbeta_score):
        return None
    return float(options.pop("beta", 1.0)) if not options.keys() - {"beta"} else None
