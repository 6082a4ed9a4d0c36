"""Comparison of TorchLogisticClassifier with scikit-learn's LogisticRegression."""

from __future__ import annotations

import importlib.util
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    confusion_matrix,
    log_loss,
    roc_auc_score,
)

from skorch_logreg.analysis.table import align_columns
from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.inputs.labels import Targets
from skorch_logreg.inputs.weights import with_class_weight
from skorch_logreg.losses import loss_of
from skorch_logreg.penalties import ElasticNet

PROGRESS_BAR_SIZE = 2e7  # entries of X times classes above which a fit shows a progress bar


@dataclass(frozen=True)
class Problem:
    """Encoded training and held-out rows of a table."""

    X_train: Any
    y_train: np.ndarray
    X_test: Any
    y_test: np.ndarray
    names: Sequence[str]
    weight_train: np.ndarray | None = None
    weight_test: np.ndarray | None = None
    positive: Any = None  # one of two classes; None if there are more


@dataclass(frozen=True)
class Result:
    """Time, objective and held-out scores by name of one model; unknown values are NaN."""

    name: str
    model: Any
    seconds: float
    objective: float
    scores: dict[str, float]
    notes: tuple[str, ...] = ()


def compare(
    problem: Problem, settings: dict[str, Any], bar_size: float = PROGRESS_BAR_SIZE
) -> tuple[Result, ...]:
    """Fit both classifiers, with the parameters ``settings`` and default solvers, and score them.

    scikit-learn's L1 needs saga, which has no progress bar.
    """
    is_smooth = settings["l1_ratio"] == 0
    ours = TorchLogisticClassifier(**settings)
    theirs = LogisticRegression(solver="lbfgs" if is_smooth else "saga", **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for model in (ours, theirs):  # the first fit of a process also loads libraries
            first = clone(model).set_params(class_weight=None)
            first.fit([[0.0], [1.0], [1.0], [0.0]], [0, 0, 1, 1])
    return (
        fit_and_score(ours, problem, bar_size),
        fit_and_score(theirs, problem, bar_size if is_smooth else np.inf),
    )


def fit_and_score(model: Any, problem: Problem, bar_size: float) -> Result:
    """Fit and score one model, with a progress bar from ``bar_size`` entries times classes."""
    X, y = problem.X_train, problem.y_train
    size = getattr(X, "nnz", X.size) * len(np.unique(y))
    shown = size >= bar_size and add_progress_bar(model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        start = time.perf_counter()
        model.fit(X, y, problem.weight_train)
        seconds = time.perf_counter() - start
    if shown:
        model.set_callbacks()  # do not save the callback with the model
    notes = tuple(" ".join(str(w.message).split("\n\n")[0].split()) for w in caught)
    value = objective(model, X, y, problem.weight_train)
    return Result(type(model).__name__, model, seconds, value, scores(model, problem), notes)


def add_progress_bar(model: Any) -> bool:
    """Add scikit-learn's progress bar to a model, if stdout is a terminal; return True if added."""
    if not sys.stdout.isatty() or importlib.util.find_spec("rich") is None:
        return False
    try:
        from sklearn.callback import ProgressBar  # scikit-learn >= 1.9
    except ImportError:
        return False
    model.set_callbacks(ProgressBar())
    return True


def objective(model: Any, X: Any, y: np.ndarray, weight: np.ndarray | None) -> float:
    """Compute the weighted sum of the losses, without clipped logits, plus the penalty over C."""
    n_outputs = len(model.coef_)
    loss = loss_of(len(model.classes_))
    logits = torch.tensor(model.decision_function(X), dtype=torch.float64).view(-1, 1, n_outputs)
    targets = Targets(model.classes_, torch.from_numpy(np.searchsorted(model.classes_, y)))
    coef = torch.tensor(model.coef_, dtype=torch.float64)[None]
    penalty = ElasticNet(model.l1_ratio).value(coef) / model.C
    given = None if weight is None else torch.tensor(weight, dtype=torch.float64)
    row_weight = with_class_weight(model.class_weight or {}, targets, given)
    losses = loss.value(logits, loss.encode(targets.index[:, None])).view(-1)
    return float(row_weight @ losses + penalty.sum())


def scores(model: Any, problem: Problem) -> dict[str, float]:
    """Compute scores of the held-out rows, those of ranks for the positive class or as means."""
    y, names = problem.y_test, ["accuracy", "log loss", "ROC AUC", "balanced", "avg precision"]
    if len(y) == 0:
        return dict.fromkeys(names, np.nan)
    labels, weights = model.classes_, {"sample_weight": problem.weight_test}
    predicted, proba = model.predict(problem.X_test), model.predict_proba(problem.X_test)
    positives = labels if problem.positive is None else [problem.positive]
    ranked = [(y == label, proba[:, labels == label].ravel()) for label in positives]
    with warnings.catch_warnings():
        # a class has no held-out rows, so that its curve is undefined
        warnings.simplefilter("ignore", UserWarning)
        values = [
            accuracy_score(y, predicted, **weights),
            log_loss(y, proba, labels=labels, **weights),
            np.mean([roc_auc_score(*pair, **weights) for pair in ranked]),
            balanced_accuracy_score(y, predicted, **weights),
            np.mean([average_precision_score(*pair, **weights) for pair in ranked if any(pair[0])]),
        ]
    return dict(zip(names, map(float, values), strict=True))


def baseline(problem: Problem) -> Result:
    """Score the model that always predicts the classes as frequent as in the training rows."""
    dummy = DummyClassifier().fit(problem.X_train, problem.y_train, problem.weight_train)
    name = f"always {dummy.classes_[dummy.class_prior_.argmax()]}"
    return Result(name, dummy, np.nan, np.nan, scores(dummy, problem))


def confusion_report(model: Any, problem: Problem) -> str:
    """Format the confusion matrix of the held-out rows."""
    y, labels = problem.y_test, model.classes_
    predicted = model.predict(problem.X_test)
    counts = confusion_matrix(y, predicted, labels=labels, sample_weight=problem.weight_test)
    rows = [["true \\ predicted", *map(str, labels)]]
    rows += [[str(t), *(f"{n:g}" for n in row)] for t, row in zip(labels, counts, strict=True)]
    return "\n".join(align_columns(rows))


def report(results: Sequence[Result]) -> str:
    """Format the comparison; a third result brings the scores for rare classes."""
    best = min(result.objective for result in results[:2])
    heads = ["", "seconds", "objective", "above best", *results[0].scores]
    n_shown = None if len(results) > 2 else -2
    rows = [
        [
            result.name,
            format_number(result.seconds, ".3f"),
            format_number(result.objective, ".8g"),
            format_number((result.objective - best) / max(best, np.finfo(float).tiny), ".1e"),
            *(format_number(score, ".4f") for score in result.scores.values()),
        ]
        for result in results
    ]
    lines = align_columns([row[:n_shown] for row in (heads, *rows)])
    lines += [f"{result.name}: {note}" for result in results for note in result.notes]
    proof = results[0].model.duality_gap_
    if np.isfinite(proof):
        lines.append(f"{results[0].name}: proven to be within {proof:.1e} of the minimum, relative")
    return "\n".join(lines)


def format_number(value: float, spec: str) -> str:
    """Format a number, and NaN as a dash."""
    return "-" if np.isnan(value) else format(value, spec)


def coefficients(model: Any, positive: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the coefficients and their classes; two classes have one row, for the positive."""
    coef, classes = model.coef_, model.classes_
    if len(coef) > 1:
        return coef, classes
    return (-coef, classes[:1]) if positive == classes[0] else (coef, classes[1:])


def coefficient_report(model: Any, problem: Problem, n_shown: int = 10) -> tuple[str, str]:
    """Format the largest coefficients in descending order of absolute value, and a heading."""
    coef, classes = coefficients(model, problem.positive)
    n_used = np.count_nonzero(coef)
    order = np.argsort(-np.abs(coef), axis=None, kind="stable")[: min(n_shown, n_used)]
    rows = [["coefficient", "for class", "column"]]
    for row, column in zip(*np.unravel_index(order, coef.shape), strict=True):
        rows.append([f"{coef[row, column]:+.4f}", str(classes[row]), problem.names[column]])
    head = f"Largest coefficients, of {n_used} that are not zero"
    return "\n".join(align_columns(rows, [2])), head
