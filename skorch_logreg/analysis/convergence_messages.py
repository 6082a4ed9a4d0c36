"""Messages and warnings for fitted models that are not at the maximum of their likelihood."""

from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skorch_logreg.analysis.fitted_model import FittedModel
from skorch_logreg.analysis.ordered_model import OrderedModel
from skorch_logreg.analysis.separable import separation
from skorch_logreg.exceptions import warn_user
from skorch_logreg.names import first_names
from skorch_logreg.solvers.minibatch import iteration_limit, trains_in_epochs

_CONSEQUENCE = "so that there is no finite maximum likelihood estimate. Add a penalty"
_ADVICE = f"{_CONSEQUENCE}, or use skorch_logreg.firth, whose estimates and intervals are finite"


def convergence_message(
    estimator: Any, fit: FittedModel | OrderedModel | None = None
) -> str | None:
    """Describe why a fitted classifier did not converge and what to do about it, or return None.

    Without ``fit``, separation is not checked. Unpenalised coefficients that separate the classes
    prove that a finite optimum does not exist, also for classifiers without `converged_`; the
    linear programme of `separation` is solved only if no other reason is known.
    """
    converged = getattr(estimator, "converged_", None)
    if fit is not None and _is_separated(fit):
        advice = _CONSEQUENCE if isinstance(fit, OrderedModel) else _ADVICE
        reason = f"the classes are completely separable, {advice}"
    elif converged is None or converged:
        return None
    else:
        reason = _failure_reason(estimator, fit)
    optimality = getattr(estimator, "optimality_", np.nan)
    figures = ""
    if not np.isnan(optimality):
        figures = f" (optimality_ = {optimality:.2g}, tol = {estimator.tol:.2g})"
    return f"{type(estimator).__name__} did not converge{figures}: {reason}."


def warn_not_converged(fit: FittedModel | OrderedModel) -> str | None:
    """Return the message of a fit, and warn if its standard errors are not those of an optimum."""
    message = convergence_message(fit.estimator, fit)
    if message is not None:
        warn_user(
            f"{message} Standard errors, tests and intervals are those of an optimum.",
            ConvergenceWarning,
        )
    return message


def _failure_reason(estimator: Any, fit: FittedModel | OrderedModel | None) -> str:
    """Describe why a fit did not converge and what to do, without a full stop."""
    solver = estimator.solver
    if (trains_in_epochs(solver) and solver.finish != "exact") or np.isnan(estimator.optimality_):
        return (
            "it was trained in mini-batches, which come near the optimum. Fit all rows with an "
            "exact solver, or with finish='exact'"
        )
    n_iter = np.ravel(estimator.n_iter_)
    if len(n_iter) == 1 and n_iter[0] >= iteration_limit(solver, estimator.max_iter):
        return f"max_iter = {estimator.max_iter} was reached. Increase it"
    unknown = (
        "the precision of its arithmetic was reached, the classes are separable, or it was "
        "stopped, as the warning of its fit says"
    )
    if fit is None or isinstance(fit, OrderedModel):
        return unknown
    return separation_message(fit) or unknown


def _is_separated(fit: FittedModel | OrderedModel) -> bool:
    """Return True if unpenalised coefficients strictly separate all classes."""
    has_weight = fit.weight > 0
    if fit.is_penalised or len(np.unique(fit.index[has_weight])) < 2:
        return False
    return bool((fit.margin[has_weight] > 0).all())


def separation_message(fit: FittedModel) -> str | None:
    """Name the unpenalised columns that separate classes; None if there are none."""
    has_weight, free = fit.weight > 0, np.flatnonzero(fit.ridge == 0)
    n_classes = len(np.unique(fit.index[has_weight]))
    if not len(free) or n_classes < 2:
        return None
    found = separation(
        fit.X[has_weight][:, free], fit.index[has_weight], fit_intercept=fit.fit_intercept
    )
    directions: Any = [found.direction] if n_classes == 2 else found.direction.values()
    names = {name for of_class in directions for name in of_class} - {"intercept"}
    columns = [fit.names[free[index]] for index in sorted(int(name[1:]) for name in names)]
    if not columns:
        return None
    return f"{first_names(columns)} separate the classes, {_ADVICE}"
