"""What a fit of many labels warns of: at most once of each kind."""

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skorch_logreg.estimators import convergence_messages
from skorch_logreg.estimators.multilabel.fits import LabelProblem
from skorch_logreg.exceptions import ConstantLabelWarning

__all__ = ["warn"]


def warn(estimator: Any, work: LabelProblem, found: Any, several: bool = False) -> None:
    """Say which labels are certain, and which have not converged; called by `MultiLabel._fit`.

    Parameters
    ----------
    estimator : classifier
        That says `tol` and `max_iter`.
    work : LabelProblem
    found : Fits or Choice
        How the fits ended.
    several : bool, default=False
        Whether a label has several.
    """
    labels, constant = work.company.labels, work.company.constant
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
    ends, failed, what = (
        (found.ends, found.failed, "models of labels")
        if several
        else (found.ends(), found.failed(), "labels")
    )
    text = convergence_messages.message_for_several(
        ends,
        what=f"{what} ({labels.describe(np.flatnonzero(failed))})",
        max_iter=estimator.max_iter,
        tol=estimator.tol,
        dtype=str(work.problem.dtype).removeprefix("torch."),
    )
    if text is not None:
        warnings.warn(text, ConvergenceWarning, stacklevel=5)
