"""Whether the coefficients that an analysis is given are where their likelihood is largest."""

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skorch_logreg.analysis.separable import separation
from skorch_logreg.solvers import MiniBatch

if TYPE_CHECKING:
    from skorch_logreg.analysis.fitted_model import FittedModel

__all__ = ["convergence_message", "warn_not_converged"]

SEPARABLE_ADVICE = (
    "so that there is no finite estimate of maximum likelihood. Give a penalty, or use "
    "skorch_logreg.firth, whose estimates and intervals are finite"
)


def convergence_message(estimator: Any, fit: "FittedModel | None" = None) -> str | None:
    """Say how far a fitted classifier is from its optimum, why, and the way out.

    Parameters
    ----------
    estimator : fitted classifier
        Not a pipeline or a search.
    fit : Fitted or None
        Its coefficients and rows; None: separable rows are not looked for.

    Returns
    -------
    message : str or None
        None if the fit converged; or if it does not say whether it did, as those of
        scikit-learn, and its coefficients do not separate the classes.

    Notes
    -----
    Coefficients without a penalty that separate the classes prove by themselves that there is
    no finite optimum.  The linear programme of `separation` is solved only for a fit that did
    not converge for no other known reason.
    """
    converged = getattr(estimator, "converged_", None)
    if fit is not None and _is_separated(fit):
        reason = f"the classes are completely separable, {SEPARABLE_ADVICE}"
    elif converged is None or converged:
        return None
    else:
        reason = _failure_reason(estimator, fit)
    return f"{type(estimator).__name__} did not converge{_optimality_text(estimator)}: {reason}."


def warn_not_converged(message: str | None) -> None:
    """Warn that standard errors and tests are not those of an optimum; the caller's caller."""
    if message is not None:
        warnings.warn(
            f"{message} Standard errors, tests and intervals are those of an optimum.",
            ConvergenceWarning,
            stacklevel=3,
        )


def _optimality_text(estimator: Any) -> str:
    optimality = getattr(estimator, "optimality_", np.nan)
    if np.isnan(optimality):
        return ""
    return f" (optimality_ = {optimality:.2g}, tol = {estimator.tol:.2g})"


def _failure_reason(estimator: Any, fit: "FittedModel | None") -> str:
    """Return why a fit did not converge and what to do, without a full stop."""
    solver = estimator.solver
    trained = isinstance(solver, MiniBatch)
    if (trained and solver.finish != "exact") or np.isnan(estimator.optimality_):
        return (
            "it was trained in mini-batches, which come near the optimum. Fit all rows with an "
            "exact solver, or with finish='exact'"
        )
    n_iter = np.ravel(estimator.n_iter_)
    limit = estimator.max_iter + (solver.epochs if trained else 0)
    if len(n_iter) == 1 and n_iter[0] >= limit:
        return f"max_iter = {estimator.max_iter} was reached. Increase it"
    columns = [] if fit is None else separating_columns(fit)
    if columns:
        more = f" and {len(columns) - 5} more" if len(columns) > 5 else ""
        return f"{', '.join(columns[:5])}{more} separate the classes, {SEPARABLE_ADVICE}"
    return (
        "the precision of its arithmetic was reached, the classes are separable, or it was "
        "stopped, as the warning of its fit says"
    )


def _is_separated(fit: "FittedModel") -> bool:
    """Whether coefficients without a penalty put every row strictly on its own class's side."""
    counts = fit.weight > 0
    if fit.is_penalised or len(np.unique(fit.index[counts])) < 2:
        return False
    logits, rows = fit.logits, np.arange(len(fit.index))
    own = logits[rows, fit.index]
    others = logits.copy()
    others[rows, fit.index] = -np.inf
    return bool((own > others.max(axis=1))[counts].all())


def separating_columns(fit: "FittedModel") -> list[str]:
    """Names of the columns without a penalty that separate classes; none if none do."""
    counts, free = fit.weight > 0, np.flatnonzero(fit.ridge[:-1] == 0)
    n_classes = len(np.unique(fit.index[counts]))
    if not len(free) or n_classes < 2:
        return []
    found = separation(fit.X[counts][:, free], fit.index[counts], fit_intercept=fit.fit_intercept)
    directions: Any = [found.direction] if n_classes == 2 else found.direction.values()
    names = {name for of_class in directions for name in of_class} - {"intercept"}
    indices = sorted(int(name[1:]) for name in names)
    return [fit.names[free[index]] for index in indices]
