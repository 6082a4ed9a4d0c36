"""Fitted attributes of a fit's certificate, and warnings of fits that did not converge."""

from collections.abc import Sequence
from typing import Any

import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from skorch_logreg.exceptions import warn_user
from skorch_logreg.fitting import FitResult, Status
from skorch_logreg.inputs.arrays import ArrayNamespace
from skorch_logreg.names import first_names

_SEPARATION_ADVICE = (
    " skorch_logreg.separation names the columns of each class, skorch_logreg.firth is finite."
)

# scikit-learn's texts, so that warning filters written for them keep working
_AT_MAX_ITER = {
    "liblinear": "Liblinear failed to converge, increase the number of iterations.",
    "newton-cholesky": "Newton solver did not converge after {n_iter} iterations.",
    "sag": "The max_iter was reached which means the coef_ did not converge.",
    "saga": "The max_iter was reached which means the coef_ did not converge.",
}
_OF_A_SOLVER = "{solver} failed to converge after {n_iter} iteration(s)."
_OF_AUTO = "{estimator} did not converge in {n_iter} iteration(s)."

# reason and advice
_EXPLANATIONS = {
    Status.MAX_ITER: "max_iter was reached. Increase the number of iterations to improve the "
    "convergence (max_iter={max_iter}).",
    Status.PRECISION: "the precision of {dtype} arithmetic was reached. Use a larger tol; "
    "{precision_advice}.",
    Status.SEPARABLE: "the classes are separable by coefficients that are not penalised, so that "
    "they grow without bound and no minimiser exists{columns}. The coefficients returned are "
    "finite; for a minimiser set C to a finite value and leave no column, and no class, without a "
    "penalty or weight.{separation_advice}",
    Status.STOPPED: "a callback asked to stop. Fit with warm_start=True to go on.",
    Status.EPOCHS: "the epochs are over. Train longer, let the learning rate fall (schedule), or "
    "end with finish='exact'.",
    Status.INTERRUPTED: "it was interrupted. Fit with its checkpoint, or with warm_start=True, to "
    "go on.",
}


def attributes(solution: FitResult, number: int = 0) -> dict[str, Any]:
    """Return the fitted attributes of the certificate of one of the models."""
    return {
        "n_passes_": int(solution.n_passes),
        "optimality_": float(solution.optimality[number]),
        "duality_gap_": float(solution.duality_gap[number]),
        "converged_": solution.status[number] is Status.CONVERGED,
    }


def set_certified(
    model: Any, solution: FitResult, namespace: ArrayNamespace, dtype: torch.dtype
) -> None:
    """Set the attributes of a fit's certificate, and warn if it did not converge.

    ``dtype`` is that of the data.
    """
    (status,) = solution.status
    model.n_iter_ = namespace.from_tensor(solution.n_iter.to(torch.int32))
    vars(model).update(attributes(solution))
    if status in (Status.CONVERGED, Status.EARLY):
        return
    columns = ""
    if hasattr(model, "coef_"):  # else they are those of a network's features
        names = getattr(model, "feature_names_in_", None)
        columns = _columns_to_infinity(solution.directions[0], names)
    solver = "auto" if model.solver is None else model.solver
    name = solver if isinstance(solver, str) else type(solver).__name__
    lead = _OF_AUTO if name == "auto" else _OF_A_SOLVER
    if status is Status.MAX_ITER:
        lead = _AT_MAX_ITER.get(name, lead)
    lead = lead.format(solver=name, estimator=type(model).__name__, n_iter=int(solution.n_iter[0]))
    warn_user(
        f"{lead} optimality_ = {model.optimality_:.2g} was reached "
        f"{_explain(model, status, dtype, columns)}",
        ConvergenceWarning,
    )


def set_uncertified(model: Any, n_epochs: int, namespace: ArrayNamespace) -> None:
    """Set the fitted attributes of training whose result is not certified."""
    model.n_iter_ = namespace.from_tensor(torch.tensor([n_epochs], dtype=torch.int32))
    model.n_passes_ = n_epochs
    model.optimality_ = model.duality_gap_ = float("nan")
    model.converged_ = False


def warn_unless_all_converged(
    model: Any, outcomes: Sequence[tuple[Status, float]], what: str, dtype: torch.dtype | str
) -> None:
    """Warn once of several fits, each with its status and optimality, that did not converge.

    ``what`` is a plural noun for them.
    """
    failed = [outcome for outcome in outcomes if outcome[0] is not Status.CONVERGED]
    if failed:
        status, worst = max(failed, key=lambda outcome: outcome[1])
        warn_user(
            f"{len(failed)} of {len(outcomes)} {what} failed to converge. The worst reached "
            f"optimality_ = {worst:.2g} {_explain(model, status, dtype)}",
            ConvergenceWarning,
        )


def warn_interrupted(solver: Any, n_epochs: int) -> None:
    """Warn of training without a certificate that was interrupted."""
    warn_user(
        f"{type(solver).__name__} did not come to its end: after {n_epochs} epoch(s) it was "
        "interrupted, and module_ is the best so far. Fit with its checkpoint, or "
        "with warm_start=True, to go on.",
        ConvergenceWarning,
    )


def _explain(model: Any, status: Status, dtype: torch.dtype | str, columns: str = "") -> str:
    """Return the `tol` that was asked for, why it was not reached, and advice."""
    name = str(dtype).removeprefix("torch.")
    finer = "float64 data reach further" if name == "float32" else "centred columns may help"
    explanation = _EXPLANATIONS[status].format(
        max_iter=model.max_iter,
        dtype=name,
        columns=columns,
        precision_advice=finer,
        separation_advice="" if hasattr(model, "thresholds_") else _SEPARATION_ADVICE,
    )
    return f"where tol = {model.tol:.2g} was asked for: {explanation}"


def _columns_to_infinity(direction: Tensor | None, names: Sequence[str] | None) -> str:
    """Name the columns whose coefficients diverge, in decreasing order of their growth.

    ``direction`` (K, n_features + 1) is in units of columns with standard deviation 1.
    """
    if direction is None:
        return ""
    if len(direction) > 1:  # a constant for all classes is arbitrary: make most entries zero
        direction = direction - direction.median(dim=0).values
    size = direction.abs().amax(dim=0)
    order = size[:-1].argsort(descending=True, stable=True).tolist()
    rounding = torch.finfo(size.dtype).eps ** 0.5 * size.max()
    diverging = [j for j in order if size[j] > rounding]
    if not diverging:
        return " (that of the intercept)"
    named = first_names(f"x{j}" if names is None else names[j] for j in diverging)
    return f" (columns {named})"
