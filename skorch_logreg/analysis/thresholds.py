"""Threshold tuning by a score or a cost, over all distinct thresholds."""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from sklearn import metrics
from sklearn.base import clone
from sklearn.model_selection import check_cv
from sklearn.utils import check_consistent_length, column_or_1d, get_tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, _is_fitted
from torch import Tensor

from skorch_logreg.analysis import held_out, threshold_scores
from skorch_logreg.analysis.table import Table
from skorch_logreg.analysis.threshold_scores import HeldOutPredictions
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs.arrays import to_numpy, view_as_numpy
from skorch_logreg.inputs.indicator import check_label_names, column_names
from skorch_logreg.pipelines import (
    check_classes,
    class_names,
    final_step,
    last_step,
    to_dense_numpy,
)


@dataclass(frozen=True, repr=False)
class TunedThreshold(Table):
    """Result of `tune_threshold`.

    Attributes
    ----------
    threshold : float or ndarray of shape (n_labels,)
        Best threshold; ties go to the one nearest to 0.5.
    score : float
        Score of the best threshold on held-out rows, or with `cost_matrix` the negative mean cost
        of a row. For several labels, the mean over the labels or the micro-averaged score.
    thresholds : ndarray of shape (n_thresholds,), or list of these, one per label
        Candidate thresholds in ascending order.
    scores : ndarray of shape (n_thresholds,), or list of these, one per label
        Score of every threshold. For a micro-averaged score, with the thresholds of all other
        labels at their best values.
    estimator : estimator
        Fitted estimator with `threshold` set to the best one.
    """

    threshold: Any
    score: float
    thresholds: Any
    scores: Any
    estimator: Any

    def _index(self) -> Any:
        return class_names(last_step(self.estimator))[-np.size(self.threshold) :]

    def _columns(self) -> dict[str, Any]:
        best, every, scores = np.atleast_1d(self.threshold), self.thresholds, self.scores
        if np.ndim(self.threshold) == 0:
            every, scores = [every], [scores]
        each = zip(best, every, scores, strict=True)
        own = [score[np.searchsorted(candidates, t)] for t, candidates, score in each]
        return {"threshold": best, "score": own}

    def _notes(self) -> list[str]:
        return [f"score {self.score:.4g} of held-out rows"]


def tune_threshold(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    scoring: Any = "balanced_accuracy",
    cost_matrix: Any = None,
    cv: Any = None,
    groups: Any = None,
    sample_weight: Any = None,
    thresholds: Any = None,
    params: dict[str, Any] | None = None,
) -> TunedThreshold:
    """Choose the decision threshold that maximises a score or minimises a cost.

    The probabilities of all held-out rows are pooled and sorted. Every distinct one is a candidate
    threshold, at or above which a row is positive. The maximum is therefore exact, in contrast to
    a grid of thresholds or a mean of interpolated curves.

    Parameters
    ----------
    estimator : classifier with a parameter `threshold`, or Pipeline that ends in one
        Classifier to tune, for example a `TorchLogisticClassifier`, or a `MultiLabel` for one
        threshold per label. It is not modified.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Rows. With ``cv="prefit"`` they should not be the training rows, whose probabilities are
        too optimistic.
    y : array-like of shape (n_samples,) or indicator of shape (n_samples, n_labels)
        Labels of two classes, where ``classes_[1]`` is positive; or, for `MultiLabel`, an
        indicator matrix, where nan is unknown and ignored.
    scoring : str or callable, default="balanced_accuracy"
        Scorer of predicted classes, as in scikit-learn. Metrics of one class, such as "f1", are of
        the label 1, or of ``classes_[1]`` where no label is 1. For several labels it applies to
        each label, and "f1_macro" is the same as "f1"; an F-beta with ``average="micro"`` applies
        to all labels together.
    cost_matrix : array-like or None, default=None
        Costs by true class (row) and prediction (column), instead of `scoring`. Shape (2, 2), or
        (n_samples, 2, 2) with costs for each row. For several labels also (n_labels, 2, 2) or
        (n_samples, n_labels, 2, 2).
    cv : int, splitter, iterable of splits, "prefit" or None, default=None
        Cross-validation scheme; None uses five folds, stratified for classes. With "prefit", the
        estimator is already fitted, and all rows of X are held-out rows.
    groups : array-like of shape (n_samples,) or None, default=None
        Group labels for the splitter.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        Non-negative sample weights for fits and scores.
    thresholds : array-like of shape (n_thresholds,) or None, default=None
        Candidate thresholds in [0, 1]; None uses all distinct ones.
    params : dict or None, default=None
        Additional parameters of `fit`; arrays with one entry per row are split like the rows. With
        metadata routing, parameters that `fit` and the scorer request, and `sample_weight` is
        passed only where it is requested.

    Returns
    -------
    tuned : TunedThreshold
        Threshold, scores and estimator. The estimator is a copy of `estimator` if that is fitted,
        without another fit; otherwise it is fitted to all rows.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted and ``cv="prefit"``.
    ParameterError
        If a parameter is invalid or does not match the data.

    See Also
    --------
    sklearn.model_selection.TunedThresholdClassifierCV : For classifiers without a `threshold`.
    expected_cost_decision : For more classes, or for costs with calibrated probabilities.

    Notes
    -----
    The search takes O(n log n) operations for accuracy, balanced_accuracy, f1, fbeta, precision,
    recall, jaccard, matthews_corrcoef and costs. Other scorers are called once per threshold,
    which takes O(n^2) operations: pass a few `thresholds` if there are many rows.

    A micro-averaged F-beta is maximised by Dinkelbach's method: for a given value F of the score
    every label is optimised separately, and F is updated in a handful of iterations.

    References
    ----------
    Lipton, Elkan, Naryanaswamy (2014). Optimal thresholding of classifiers to maximize F1
    measure. ECML PKDD, 225-239.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skorch_logreg import TorchLogisticClassifier, tune_threshold
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), TorchLogisticClassifier())
    >>> tuned = tune_threshold(model, X, y, cost_matrix=[[0, 20], [1, 0]])
    >>> tuned.threshold > 0.5  # to call a malignant tumour (0) benign is 20 times as bad
    True
    >>> tuned.estimator[-1].threshold == tuned.threshold
    True

    One threshold per label, for the largest micro-averaged F1:

    >>> from sklearn.datasets import make_multilabel_classification
    >>> from skorch_logreg import MultiLabel
    >>> X, Y = make_multilabel_classification(n_classes=3, random_state=0)
    >>> tuned = tune_threshold(MultiLabel(), X, Y, scoring="f1_micro")
    >>> tuned.threshold.shape
    (3,)
    """
    prefix, classifier = final_step(estimator)
    scorer = _check_parameters(estimator, classifier, scoring, cost_matrix, cv)
    params = {} if params is None else params
    candidates = _check_thresholds(thresholds)
    targets = _check_targets(y, params, prefix, get_tags(classifier).classifier_tags.multi_label)
    sample_weight, groups = _check_rows(targets, sample_weight, groups)
    X = _with_row_indexing(X)
    model = copy.deepcopy(estimator) if _is_fitted(estimator) else None
    check_label_names(y, getattr(last_step(model), "label_names_", None))
    classes, is_multilabel = _two_classes(targets, model), targets.ndim == 2
    fit_params, score_params = held_out.route_params(estimator, scorer, sample_weight, params)
    beta = threshold_scores.micro_beta(scorer) if is_multilabel else None
    if scorer is None:
        score_thresholds = threshold_scores.cost_scorer(cost_matrix, targets.shape)
    elif beta is None:
        score_thresholds = threshold_scores.metric_scorer(
            scorer, scoring, classes, X, score_params, is_multilabel=is_multilabel
        )
    if isinstance(cv, str):
        proba, rows = held_out.prefit_proba(model, X, targets)
    else:
        splits = check_cv(cv, targets, classifier=not is_multilabel).split(X, targets, groups)
        proba, rows = held_out.cross_validate_proba(estimator, X, y, splits, fit_params)
    if model is None:
        model = clone(estimator).fit(X, y, **fit_params)
    weight = score_params.get("sample_weight")
    problems = _held_out_predictions(proba, rows, targets, classes, weight, candidates=candidates)
    if beta is None:
        scores = [score_thresholds(problem) for problem in problems]
        indices = list(map(threshold_scores.best_index, problems, scores))
    else:
        indices, scores = threshold_scores.select_jointly(beta, problems)
    every = [problem.thresholds for problem in problems]
    best, best_scores = (_entries(values, indices) for values in (every, scores))
    found = (best, every, scores) if is_multilabel else (float(best[0]), every[0], scores[0])
    model.set_params(**{f"{prefix}threshold": found[0]})
    return TunedThreshold(found[0], float(best_scores.mean()), found[1], found[2], model)


def _entries(arrays: list[np.ndarray], indices: list[int]) -> np.ndarray:
    """Return one entry of every array."""
    return np.array([array[i] for array, i in zip(arrays, indices, strict=True)])


def _check_rows(targets: np.ndarray, sample_weight: Any, groups: Any) -> tuple[Any, Any]:
    """Return weights and groups as arrays of one entry for each row."""
    sample_weight, groups = to_numpy(sample_weight), to_numpy(groups)
    check_consistent_length(targets, sample_weight, groups)
    if sample_weight is not None:
        sample_weight = _check_sample_weight(
            sample_weight, targets, dtype=np.float64, ensure_non_negative=True
        )
    return sample_weight, groups


def _with_row_indexing(X: Any) -> Any:
    """Convert sparse rows to a format that folds can index."""
    if isinstance(X, Tensor) and X.layout is not torch.strided:
        X = view_as_numpy(X)
    return X.tocsr() if sp.issparse(X) else X


def _held_out_predictions(
    proba: np.ndarray,
    rows: np.ndarray,
    targets: np.ndarray,
    classes: np.ndarray,
    weight: Any,
    *,
    candidates: np.ndarray | None,
) -> list[HeldOutPredictions]:
    """Collect the held-out predictions of every binary problem, without unknown targets."""
    if proba.shape[1:] != targets.shape[1:]:
        raise ParameterError(
            f"y has shape {targets.shape}, but the estimator was fitted to "
            + ("one column of classes." if proba.ndim == 1 else f"{proba.shape[1]} labels.")
        )
    weight = np.ones(len(targets)) if weight is None else weight
    is_multilabel = targets.ndim == 2
    cells = targets if is_multilabel else np.where(targets == classes[1], 1.0, 0.0)[:, None]
    problems = []
    for label, p in enumerate(proba.reshape(len(rows), -1).T):
        order = np.argsort(p, kind="stable")
        order = order[~np.isnan(cells[rows[order], label])]
        own, probabilities, thresholds = rows[order], p[order], candidates
        if thresholds is None:  # all splits; no positive row; and 0.5, the best of equal scores
            thresholds = np.unique(np.r_[probabilities, 0.5, 1.0])
        positive = cells[own, label] == 1
        there = np.unique(positive[weight[own] > 0])
        if len(there) < (1 if is_multilabel else 2):
            what = f"no known cell of label {label}" if is_multilabel else "no two classes"
            raise ParameterError(f"y has {what} in the held-out rows that have a weight.")
        problems.append(
            HeldOutPredictions(label, own, probabilities, positive, weight[own], thresholds)
        )
    return problems


def _check_parameters(
    estimator: Any, classifier: Any, scoring: Any, cost_matrix: Any, cv: Any
) -> Any:
    """Return the scorer of predicted classes, or None with a cost matrix."""
    if "threshold" not in getattr(classifier, "get_params", dict)():
        raise ParameterError(
            f"estimator is or ends in a {type(classifier).__name__}, which has no parameter "
            "threshold; of a search take best_estimator_, for other classifiers "
            "sklearn.model_selection.TunedThresholdClassifierCV."
        )
    if getattr(classifier, "has_offset_", False):
        raise ParameterError("The model was fitted with an offset, which a threshold ignores.")
    if isinstance(cv, str) and cv != "prefit":
        raise ParameterError(f'cv is {cv!r}; it must be a number, a splitter, "prefit" or None.')
    if cost_matrix is not None:
        return None
    if not (isinstance(scoring, str) or callable(scoring)):
        raise ParameterError(
            f"scoring is {scoring!r}; it must be a name of scikit-learn's or a callable."
        )
    scorer = metrics.check_scoring(estimator, scoring=scoring)
    if getattr(scorer, "_response_method", "predict") != "predict":
        raise ParameterError(
            f"scoring={scoring!r} is of probabilities, which no threshold changes; it must be of "
            'predicted classes, such as "balanced_accuracy".'
        )
    return scorer


def _check_thresholds(thresholds: Any) -> np.ndarray | None:
    """Validate and sort the candidate thresholds; None stays None."""
    if thresholds is None:
        return None
    candidates = np.asarray(thresholds, dtype=np.float64)
    is_allowed = (candidates >= 0) & (candidates <= 1)
    if candidates.ndim != 1 or not candidates.size or not is_allowed.all():
        raise ParameterError(
            f"thresholds is {thresholds!r}; it must hold numbers in [0, 1], one or more."
        )
    return np.unique(candidates)


def _check_targets(y: Any, params: dict[str, Any], prefix: str, multi_label: bool) -> np.ndarray:
    """Validate labels (n_samples,), or an indicator (n_samples, n_labels) with nan for unknown.

    Without `multi_label`, a single column holds labels.
    """
    offset, label_mask = (
        params.get(f"{prefix}{name}", params.get(name)) for name in ("offset", "label_mask")
    )
    if offset is not None:
        raise ParameterError(
            "params has an offset, which the probabilities of held-out rows are without; choose a "
            "threshold from decision_function plus the offset."
        )
    targets = to_dense_numpy(y)
    if targets.ndim != 2 or (targets.shape[1] == 1 and not multi_label):
        return column_or_1d(targets)
    targets = targets.astype(np.float64)
    if not ((targets == 0) | (targets == 1) | np.isnan(targets)).all():
        raise ParameterError(
            f"y has shape {targets.shape} and is not an indicator of zeros and ones (nan: unknown)."
        )
    if label_mask is None:
        return targets
    check_label_names(label_mask, column_names(y), "label_mask")
    return np.where(to_dense_numpy(label_mask) != 0, targets, np.nan)


def _two_classes(targets: np.ndarray, model: Any) -> np.ndarray:
    """Return the two classes, 0 and 1 for an indicator."""
    if targets.ndim == 2:
        return np.arange(2)
    check_classification_targets(targets)
    there = np.unique(targets)
    classes = there if model is None else to_dense_numpy(model.classes_)
    if len(classes) != 2:
        raise ParameterError(
            f"y has {len(classes)} classes; a threshold is for two. For more, decide by "
            "expected_cost_decision."
        )
    check_classes(there, classes)
    return classes
