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
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from skorch_logreg.estimators.classifier import TorchLogisticClassifier
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


@dataclass(frozen=True)
class Result:
    """Time, objective and held-out scores of one model; scores are NaN without held-out rows."""

    model: Any
    seconds: float
    objective: float
    scores: tuple[float, float, float]
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Class name of the model."""
        return type(self.model).__name__


def compare(
    problem: Problem, C: float, l1_ratio: float, seed: int, bar_size: float = PROGRESS_BAR_SIZE
) -> tuple[Result, Result]:
    """Fit both classifiers with their default solvers (saga for scikit-learn's L1) and score them.

    ``seed`` is for solvers that draw rows at random; saga has no progress bar.
    """
    shared: dict[str, Any] = {"C": C, "l1_ratio": l1_ratio, "random_state": seed}
    ours = TorchLogisticClassifier(**shared)
    theirs = LogisticRegression(solver="saga" if l1_ratio > 0 else "lbfgs", **shared)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for model in (ours, theirs):  # the first fit of a process also loads libraries
            clone(model).fit([[0.0], [1.0], [1.0], [0.0]], [0, 0, 1, 1])
    return (
        fit_and_score(ours, problem, bar_size),
        fit_and_score(theirs, problem, np.inf if l1_ratio > 0 else bar_size),
    )


def fit_and_score(model: Any, problem: Problem, bar_size: float) -> Result:
    """Fit and score one model, with a progress bar from ``bar_size`` entries times classes."""
    X, y = problem.X_train, problem.y_train
    size = getattr(X, "nnz", X.size) * len(np.unique(y))
    shown = size >= bar_size and add_progress_bar(model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        start = time.perf_counter()
        model.fit(X, y)
        seconds = time.perf_counter() - start
    if shown:
        model.set_callbacks()  # do not save the callback with the model
    notes = tuple(" ".join(str(w.message).split("\n\n")[0].split()) for w in caught)
    held_out = scores(model, problem.X_test, problem.y_test)
    return Result(model, seconds, objective(model, X, y), held_out, notes)


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


def objective(model: Any, X: Any, y: np.ndarray) -> float:
    """Compute the sum of the losses plus the penalty divided by C.

    scikit-learn's `log_loss` clips probabilities and thereby understates the loss of extreme
    logits.
    """
    n_outputs = len(model.coef_)
    loss = loss_of(len(model.classes_))
    logits = torch.tensor(model.decision_function(X), dtype=torch.float64).view(-1, 1, n_outputs)
    index = torch.from_numpy(np.searchsorted(model.classes_, y))[:, None]
    coef = torch.tensor(model.coef_, dtype=torch.float64)[None]
    penalty = ElasticNet(model.l1_ratio).value(coef) / model.C
    return float(loss.value(logits, loss.encode(index)).sum() + penalty.sum())


def scores(model: Any, X: Any, y: np.ndarray) -> tuple[float, float, float]:
    """Compute accuracy, log loss and area under the ROC curve (mean over one-vs-rest)."""
    if len(y) == 0:
        return np.nan, np.nan, np.nan
    labels = model.classes_
    proba = model.predict_proba(X)
    with warnings.catch_warnings():
        # NaN if a class has no held-out rows, so that its curve is undefined
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        if len(labels) == 2:
            auc = roc_auc_score(y == labels[1], proba[:, 1])
        else:
            auc = roc_auc_score(y, proba, multi_class="ovr", labels=labels)
    loss = log_loss(y, proba, labels=labels)
    return float(accuracy_score(y, model.predict(X))), float(loss), float(auc)


def report(results: Sequence[Result], names: Sequence[str], n_shown: int = 10) -> str:
    """Format the comparison, and the largest coefficients of the first model."""
    best = min(result.objective for result in results)
    heads = ["", "seconds", "objective", "above best", "accuracy", "log loss", "ROC AUC"]
    rows = [
        [
            result.name,
            f"{result.seconds:.3f}",
            f"{result.objective:.8g}",
            f"{(result.objective - best) / max(best, np.finfo(float).tiny):.1e}",
            *("-" if np.isnan(score) else f"{score:.4f}" for score in result.scores),
        ]
        for result in results
    ]
    lines = align_columns([heads, *rows], [0])
    lines += [f"{result.name}: {note}" for result in results for note in result.notes]
    proof = results[0].model.duality_gap_
    if np.isfinite(proof):
        lines.append(f"{results[0].name}: proven to be within {proof:.1e} of the minimum, relative")
    return "\n".join([*lines, "", *coefficient_lines(results[0].model, names, n_shown)])


def coefficient_lines(model: Any, names: Sequence[str], n_shown: int) -> list[str]:
    """Format the largest coefficients, in descending order of absolute value."""
    coef = model.coef_
    classes = model.classes_[-len(coef) :]  # two classes have one row, for the second
    n_used = np.count_nonzero(coef)
    order = np.argsort(-np.abs(coef), axis=None, kind="stable")[: min(n_shown, n_used)]
    rows = [["coefficient", "for class", "column"]]
    for row, column in zip(*np.unravel_index(order, coef.shape), strict=True):
        rows.append([f"{coef[row, column]:+.4f}", str(classes[row]), names[column]])
    return [f"Largest coefficients, of {n_used} that are not zero:", *align_columns(rows, [2])]


def align_columns(rows: Sequence[Sequence[str]], left: Sequence[int]) -> list[str]:
    """Align the columns ``left`` to the left, and all others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        pairs = enumerate(zip(row, widths, strict=True))
        cells = [cell.ljust(w) if index in left else cell.rjust(w) for index, (cell, w) in pairs]
        lines.append("  ".join(cells).rstrip())
    return lines
