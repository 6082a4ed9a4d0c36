"""The threshold of the best score, or of the least cost, over all that differ."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn import metrics
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import check_cv
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight
from torch import Tensor

from skorch_logreg.analysis import held_out, threshold_scores
from skorch_logreg.analysis.curves import ProbabilityRanking
from skorch_logreg.analysis.threshold_scores import HeldOutPredictions
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs import to_numpy, viewed

__all__ = ["TunedThreshold", "tune_threshold"]


@dataclass(frozen=True)
class TunedThreshold:
    """Result of `tune_threshold`.

    Attributes
    ----------
    threshold : float or ndarray of shape (n_labels,)
        The best; of equally good ones the nearest to 0.5.
    score : float
        Its score on held-out rows; minus the mean cost of a row with a `cost_matrix`. Of many
        labels their mean, or the joint score.
    thresholds : ndarray of shape (n_thresholds,), or list of these, one a label
        All that differ in what they do to these rows, from small to large.
    scores : ndarray of shape (n_thresholds,), or list of these, one a label
        Score of each. For a joint score, of each of a label's while the others have their best.
    estimator : estimator
        Fitted, with `threshold` set.
    """

    threshold: Any
    score: float
    thresholds: Any
    scores: Any
    estimator: Any


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
    """Choose the threshold of the best score, over all that differ.

    The probabilities of held-out rows are put together and sorted; every distinct one is a
    threshold, and those at or above it are positive. So the maximum is exact, where a grid of
    thresholds or a mean of interpolated curves comes near it.

    Parameters
    ----------
    estimator : classifier with a parameter `threshold`, or Pipeline that ends in one
        Such as `TorchLogisticClassifier`, or `MultiLabel` for a threshold a label. Never
        changed.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Rows; with ``cv="prefit"`` better not those of the fit, whose probabilities are too good.
    y : array-like of shape (n_samples,) or indicator of shape (n_samples, n_labels)
        Labels of two classes, of which ``classes_[1]`` is positive; or, for `MultiLabel`, an
        indicator, where nan is not known and does not count.
    scoring : str or callable, default="balanced_accuracy"
        A scorer of predicted classes, as in scikit-learn. For many labels it is of each label,
        and "f1_macro" is "f1"; with ``average="micro"`` an F-beta is of all labels together.
    cost_matrix : array-like or None, default=None
        In place of `scoring`, of shape (2, 2): what it costs if a row's true class (row) is
        called a class (column). Each row's own: (n_samples, 2, 2). For many labels also
        (n_labels, 2, 2) or (n_samples, n_labels, 2, 2).
    cv : int, splitter, iterable of splits, "prefit" or None, default=None
        Folds, each held out from a fit to the rest; None: five, stratified for classes.
        "prefit": the estimator is fitted, and X is held out as it is.
    groups : array-like of shape (n_samples,) or None, default=None
        For the splitter.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        Non-negative, for fits and for scores.
    thresholds : array-like of shape (n_thresholds,) or None, default=None
        Those to choose from, in [0, 1]; None: all.
    params : dict or None, default=None
        What else `fit` takes, indexed with the rows where it is as long as they are. With
        metadata routing what `fit` and the scorer request, such as each row's amount; then
        `sample_weight` goes where it is requested, too.

    Returns
    -------
    tuned : TunedThreshold
        Its `estimator` is a copy of a fitted estimator, which is not fitted again; or one that
        is fitted to all rows.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted and ``cv="prefit"``.
    ParameterError
        If a parameter is not allowed or does not go with the data.

    See Also
    --------
    sklearn.model_selection.TunedThresholdClassifierCV : For classifiers without a `threshold`.
    expected_cost_decision : For more classes, or costs and calibrated probabilities.

    Notes
    -----
    Sorting takes O(n log n) for accuracy, balanced_accuracy, f1, fbeta, precision, recall,
    jaccard, matthews_corrcoef and costs. Other scorers are called once a threshold, O(n^2) in
    all: give some `thresholds` for many rows.

    For many labels an F-beta of all together is a ratio of sums, whose largest value F solves an
    equation; given F, every label is optimised alone (Dinkelbach's method; a handful of rounds).

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

    A threshold for each label, for the largest F1 of all together:

    >>> from sklearn.datasets import make_multilabel_classification
    >>> from skorch_logreg import MultiLabel
    >>> X, Y = make_multilabel_classification(n_classes=3, random_state=0)
    >>> tuned = tune_threshold(MultiLabel(), X, Y, scoring="f1_micro")
    >>> tuned.threshold.shape
    (3,)
    """
    prefix, classifier = held_out.final_step(estimator)
    _check_parameters(classifier, scoring, cost_matrix, cv)
    params = {} if params is None else params
    if params.get(f"{prefix}offset", params.get("offset")) is not None:
        raise ParameterError(
            "params has an offset, which the probabilities of held-out rows are without; choose a "
            "threshold from decision_function plus the offset."
        )
    candidates = _check_thresholds(thresholds)
    targets = _check_targets(y, params.get(f"{prefix}label_mask", params.get("label_mask")))
    sample_weight, groups = to_numpy(sample_weight), to_numpy(groups)
    if isinstance(X, Tensor) and X.layout is not torch.strided:
        X = viewed(X)  # of which folds can be taken
    check_consistent_length(targets, sample_weight, groups)
    if sample_weight is not None:
        sample_weight = _check_sample_weight(
            sample_weight, targets, dtype=np.float64, ensure_non_negative=True
        )
    model = held_out.copy_if_fitted(estimator)
    classes = _two_classes(targets, model)
    is_multilabel = targets.ndim == 2
    scorer = _check_scorer(estimator, scoring) if cost_matrix is None else None
    fit_params, score_params = held_out.route_params(estimator, scorer, sample_weight, params)
    if scorer is None:
        select = threshold_scores.cost_selector(cost_matrix, targets.shape)
    else:
        select = threshold_scores.score_selector(
            scorer, scoring, classes, X, score_params, is_multilabel
        )
    if isinstance(cv, str):
        if model is None:
            raise NotFittedError('estimator is not fitted; with cv="prefit" it must be.')
        proba, rows = held_out.positive_proba(model, X), np.arange(len(targets))
        check_consistent_length(proba, targets)
    else:
        splits = check_cv(cv, targets, classifier=not is_multilabel).split(X, targets, groups)
        proba, rows = held_out.cross_validate_proba(estimator, X, y, splits, fit_params)
        if model is None:
            model = clone(estimator).fit(X, y, **fit_params)
    problems = _held_out_predictions(
        proba, rows, targets, classes, score_params.get("sample_weight"), candidates
    )
    indices, scores = select(problems)
    chosen = np.array([c.ranking.thresholds[i] for c, i in zip(problems, indices, strict=True)])
    value = chosen if is_multilabel else float(chosen[0])
    return TunedThreshold(
        threshold=value,
        score=float(np.mean([score[i] for score, i in zip(scores, indices, strict=True)])),
        thresholds=[c.ranking.thresholds for c in problems]
        if is_multilabel
        else problems[0].ranking.thresholds,
        scores=scores if is_multilabel else scores[0],
        estimator=model.set_params(**{f"{prefix}threshold": value}),
    )


def _held_out_predictions(
    proba: np.ndarray,
    rows: np.ndarray,
    targets: np.ndarray,
    classes: np.ndarray,
    weight: Any,
    candidates: np.ndarray | None,
) -> list[HeldOutPredictions]:
    """Take the held-out rows of every binary problem, without cells that are not known."""
    if proba.shape[1:] != targets.shape[1:]:
        raise ParameterError(
            f"y has shape {targets.shape}, but the estimator was fitted to "
            + ("one column of classes." if proba.ndim == 1 else f"{proba.shape[1]} labels.")
        )
    weight = np.ones(len(targets)) if weight is None else np.asarray(weight, dtype=np.float64)
    is_multilabel = targets.ndim == 2
    cells = targets if is_multilabel else np.where(targets == classes[1], 1.0, 0.0)[:, None]
    problems = []
    for label, p in enumerate(proba.reshape(len(rows), -1).T):
        known = ~np.isnan(cells[rows, label])
        own = rows[known]
        positive = cells[own, label] == 1
        problems.append(
            HeldOutPredictions(
                label,
                own,
                p[known],
                positive,
                weight[own],
                ProbabilityRanking.from_probabilities(p[known], candidates),
            )
        )
    for problem in problems:
        there = {bool(value) for value in problem.positive[problem.weight > 0]}
        if len(there) < (1 if is_multilabel else 2):
            what = f"no known cell of label {problem.label}" if is_multilabel else "no two classes"
            raise ParameterError(f"y has {what} in the held-out rows that have a weight.")
    return problems


def _check_parameters(classifier: Any, scoring: Any, cost_matrix: Any, cv: Any) -> None:
    if "threshold" not in getattr(classifier, "get_params", dict)():
        raise ParameterError(
            f"estimator is or ends in a {type(classifier).__name__}, which has no parameter "
            "threshold; of a search take best_estimator_, for other classifiers "
            "sklearn.model_selection.TunedThresholdClassifierCV."
        )
    if cost_matrix is None and not (isinstance(scoring, str) or callable(scoring)):
        raise ParameterError(
            f"scoring is {scoring!r}; it must be a name of scikit-learn's or a callable."
        )
    if isinstance(cv, str) and cv != "prefit":
        raise ParameterError(f'cv is {cv!r}; it must be a number, a splitter, "prefit" or None.')


def _check_scorer(estimator: Any, scoring: Any) -> Any:
    """Find the scorer; refuse one that looks at no decision."""
    scorer = metrics.check_scoring(estimator, scoring=scoring)
    if getattr(scorer, "_response_method", "predict") != "predict":
        raise ParameterError(
            f"scoring={scoring!r} is of probabilities, which no threshold changes; it must be of "
            'predicted classes, such as "balanced_accuracy".'
        )
    return scorer


def _check_thresholds(thresholds: Any) -> np.ndarray | None:
    if thresholds is None:
        return None
    candidates = np.asarray(thresholds, dtype=np.float64)
    if (
        candidates.ndim != 1
        or not len(candidates)
        or not ((candidates >= 0) & (candidates <= 1)).all()
    ):
        raise ParameterError(
            f"thresholds is {thresholds!r}; it must hold numbers in [0, 1], one or more."
        )
    return np.unique(candidates)


def _check_targets(y: Any, label_mask: Any) -> np.ndarray:
    """Labels (n_samples,), or an indicator (n_samples, n_labels) with nan for what is not known."""
    targets = held_out.to_dense_numpy(y)
    if targets.ndim != 2:
        return column_or_1d(targets)
    targets = targets.astype(np.float64)
    if not ((targets == 0) | (targets == 1) | np.isnan(targets)).all():
        raise ParameterError(
            f"y has shape {targets.shape} and is no indicator of zeros and ones (nan: not known)."
        )
    if label_mask is None:
        return targets
    return np.where(held_out.to_dense_numpy(label_mask) != 0, targets, np.nan)


def _two_classes(targets: np.ndarray, model: Any) -> np.ndarray:
    """Find the two classes; those of an indicator are 0 and 1."""
    if targets.ndim == 2:
        return np.arange(2)
    check_classification_targets(targets)
    there = np.unique(targets)
    classes = there if model is None else held_out.to_dense_numpy(model.classes_)
    if len(classes) != 2:
        raise ParameterError(
            f"y has {len(classes)} classes; a threshold is for two. For more, decide by "
            "expected_cost_decision."
        )
    if not np.isin(there, classes).all():
        raise ParameterError(f"y holds {there}, but the estimator was fitted to {classes}.")
    return classes
