"""What a fit of many labels warns of: at most once of each kind."""

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skorch_logreg.estimators import convergence
from skorch_logreg.estimators.multilabel.label_problem import LabelProblem
from skorch_logreg.exceptions import ConstantLabelWarning

__all__ = ["warn"]


def warn(estimator: Any, label_problem: LabelProblem, found: Any, several: bool = False) -> None:
    """Say which labels are certain, and which have not converged; called by `MultiLabel._fit`.

    Parameters
    ----------
    estimator : classifier
        That says `tol` and `max_iter`.
    work : LabelProblem
    found : LabelResults or Choice
        How the fits ended.
    several : bool, default=False
        Whether a label has several.
    """
    labels, constant = label_problem.binary_problems.labels, label_problem.binary_problems.constant
    if constant.any():
        values = [
            f"always {value}: {labels.describe(np.flatnonzero(constant == sign))}"
            for value, sign in ((0, -1), (1, 1))
            if (constant == sign).any()
        ]
        warnings.warn(
            f"{np.count_nonzero(constant)} of {labels.n_labels} labels have one value in all rows "
            f"that count and get it with certainty ({'; '.join(values)}).",
            ConstantLabelWarning,
            stacklevel=5,
        )
    final_points, failed, what = (
        (found.final_points, found.failed, "models of labels")
        if several
        else (found.final_points(), found.failed(), "labels")
    )
    text = convergence.message_of_several(
        final_points,
        what=f"{what} ({labels.describe(np.flatnonzero(failed))})",
        max_iter=estimator.max_iter,
        tol=estimator.tol,
        dtype=str(label_problem.problem.dtype).removeprefix("torch."),
    )
    if text is not None:
        warnings.warn(text, ConvergenceWarning, stacklevel=5)
