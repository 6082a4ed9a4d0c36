"""Warnings of a multi-label fit, at most one of each kind."""

from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skorch_logreg.estimators import convergence_messages
from skorch_logreg.estimators.multilabel.label_problem import LabelProblem
from skorch_logreg.exceptions import ConstantLabelWarning, warn_user

__all__ = ["warn"]


def warn(estimator: Any, label_problem: LabelProblem, found: Any, several: bool = False) -> None:
    """Warn of constant labels and of labels that have not converged.

    With ``several``, a label has several fits, and ``found`` is a `CVResult`.
    """
    labels, constant = label_problem.binary_problems.labels, label_problem.binary_problems.constant
    if constant.any():
        values = [
            f"always {value}: {labels.describe(np.flatnonzero(constant == sign))}"
            for value, sign in ((0, -1), (1, 1))
            if (constant == sign).any()
        ]
        warn_user(
            f"{np.count_nonzero(constant)} of {labels.n_labels} labels have one value in all rows "
            f"that count and get it with certainty ({'; '.join(values)}).",
            ConstantLabelWarning,
        )
    final_points, failed, what = (
        (found.final_points, found.failed, "models of labels")
        if several
        else (found.final_points(), found.failed(), "labels")
    )
    text = convergence_messages.message_for_several(
        final_points,
        what=f"{what} ({labels.describe(np.flatnonzero(failed))})",
        max_iter=estimator.max_iter,
        tol=estimator.tol,
        dtype=str(label_problem.problem.dtype).removeprefix("torch."),
    )
    if text is not None:
        warn_user(text, ConvergenceWarning)
