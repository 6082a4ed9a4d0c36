"""Choice of the penalty, and standard errors."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedKFold

from skorch_logreg.analysis import summary
from skorch_logreg.command.comparison import Problem
from skorch_logreg.command.errors import CommandError
from skorch_logreg.estimators.cv.classifier import TorchLogisticClassifierCV


def cross_validate(problem: Problem, settings: dict[str, Any], n_folds: int) -> Any:
    """Return a TorchLogisticClassifierCV that was fitted to the training rows."""
    classes, n_rows = np.unique(problem.y_train, return_counts=True)
    if n_rows.min() < n_folds:
        few = f"{str(classes[n_rows.argmin()])!r} has {n_rows.min()}"
        raise CommandError(f"--cv {n_folds} needs as many rows of each class; {few} to learn from.")
    seed = settings["random_state"]
    model = TorchLogisticClassifierCV(
        l1_ratios=(settings["l1_ratio"],),
        cv=StratifiedKFold(n_folds, shuffle=True, random_state=seed),
        scoring="neg_log_loss",
        class_weight=settings["class_weight"],
        random_state=seed,
        use_legacy_attributes=False,
    )
    return model.fit(problem.X_train, problem.y_train, problem.weight_train)


def choice_report(model: Any) -> str:
    """Format the chosen C and its score."""
    scores = -model.scores_[:, 0, list(model.Cs_).index(model.C_)]
    return (
        f"C = {model.C_:.4g}, the best of {len(model.Cs_)} values between {model.Cs_.min():g} and "
        f"{model.Cs_.max():g} by {len(scores)} folds, with a mean log loss of {scores.mean():.4f}"
    )


def infer(model: Any, problem: Problem) -> Any:
    """Compute standard errors of the coefficients, for the positive class if there are two."""
    named = copy.copy(model)
    named.feature_names_in_ = np.array(problem.names, dtype=object)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the table repeats it
            found = summary(
                named, problem.X_train, problem.y_train, sample_weight=problem.weight_train
            )
    except ValueError as error:
        raise CommandError(f"--summary: {error}") from error
    is_reversed = problem.positive == model.classes_[0]
    return replace(found, coef=-found.coef, classes=model.classes_[::-1]) if is_reversed else found


def summary_report(inference: Any, problem: Problem) -> str:
    """Format standard errors, with the unit of the coefficients."""
    units = "All columns but those of categories and texts are in standard deviations."
    weights = "" if problem.weight_train is None else " Weights are numbers of equal rows."
    return f"{units}{weights}\n{inference}"
