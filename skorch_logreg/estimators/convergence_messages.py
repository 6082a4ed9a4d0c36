"""Messages of the warnings for fits that did not converge."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from skorch_logreg.fitting import Status

__all__ = [
    "columns_to_infinity",
    "ended_as_requested",
    "message",
    "message_for_interrupted",
    "message_for_several",
    "message_for_stream",
]

_MAX_NAMED_COLUMNS = 5  # columns that a message names
# growth, relative to the largest, up to which a coefficient only moves by rounding errors
_MIN_RELATIVE_GROWTH = 1e-9

# scikit-learn's texts, so that warning filters written for them keep working
_AT_MAX_ITER = {
    "liblinear": "Liblinear failed to converge, increase the number of iterations.",
    "newton-cholesky": "Newton solver did not converge after {n_iter} iterations.",
    "sag": "The max_iter was reached which means the coef_ did not converge.",
    "saga": "The max_iter was reached which means the coef_ did not converge.",
}
_OTHERWISE = {
    "liblinear": "Liblinear failed to converge.",
    "newton-cholesky": "Newton solver did not converge after {n_iter} iterations.",
}
_DEFAULT = "{solver} failed to converge after {n_iter} iteration(s)."

_REASONS = {
    Status.MAX_ITER: "max_iter was reached",
    Status.PRECISION: "the precision of {dtype} arithmetic was reached",
    Status.SEPARABLE: "the classes are separable by coefficients that carry no penalty, so "
    "that they grow without bound and no minimiser exists{columns}",
    Status.STOPPED: "a callback asked to stop",
    Status.EPOCHS: "the epochs are over",
    Status.INTERRUPTED: "it was interrupted",
}
_ADVICE = {
    Status.MAX_ITER: "Increase the number of iterations to improve the convergence "
    "(max_iter={max_iter}).",
    Status.PRECISION: "Ask for less with a larger tol; {precision_advice}.",
    Status.SEPARABLE: "The coefficients returned are finite; for a minimiser set C to a finite "
    "value and leave no column, and no class, without a penalty or weight. "
    "skorch_logreg.separation names the columns of each class, skorch_logreg.firth is finite.",
    Status.STOPPED: "Fit with warm_start=True to go on.",
    Status.EPOCHS: "Train longer, let the learning rate fall (schedule), or end with "
    "finish='exact'.",
    Status.INTERRUPTED: "Fit with its checkpoint, or with warm_start=True, to go on.",
}


def columns_to_infinity(direction: Tensor | None, names: Sequence[str] | None) -> str:
    """Name the columns whose coefficients diverge, in decreasing order of their growth.

    ``direction`` (K, n_features + 1) is that of coefficients of columns scaled to a standard
    deviation of 1, the intercept last; None: there is none.
    """
    if direction is None:
        return ""
    if len(direction) > 1:  # a constant for all classes is arbitrary: make most entries zero
        direction = direction - direction.median(dim=0).values
    size = direction.abs().amax(dim=0)
    order = size[:-1].argsort(descending=True, stable=True).tolist()
    diverging = [j for j in order if size[j] > _MIN_RELATIVE_GROWTH * size.max()]
    if not diverging:
        return " (that of the intercept)"
    shown = [f"x{j}" if names is None else str(names[j]) for j in diverging[:_MAX_NAMED_COLUMNS]]
    more = (
        f" and {len(diverging) - _MAX_NAMED_COLUMNS} more"
        if len(diverging) > _MAX_NAMED_COLUMNS
        else ""
    )
    return f" (columns {', '.join(shown)}{more})"


def ended_as_requested(status: Status) -> bool:
    """Return True if a fit converged, or stopped early by its own setting: no warning is due."""
    return status in (Status.CONVERGED, Status.EARLY)


def message(
    status: Status,
    *,
    solver: Any,
    n_iter: int,
    max_iter: int,
    optimality: float,
    tol: float,
    dtype: str,
    columns: str = "",
) -> str:
    """Return the warning's text for a fit that ended with ``status``.

    ``columns`` is a text from `columns_to_infinity`.
    """
    name = solver if isinstance(solver, str) else type(solver).__name__
    leads = _AT_MAX_ITER if status is Status.MAX_ITER else _OTHERWISE
    advice = "float64 data reach further" if dtype == "float32" else "centred columns may help"
    text = (
        f"{leads.get(name, _DEFAULT)} optimality_ = {{optimality:.2g}} was reached where "
        f"tol = {{tol:.2g}} was asked for: {_REASONS[status]}. {_ADVICE[status]}"
    )
    return text.format(
        solver=name,
        n_iter=n_iter,
        max_iter=max_iter,
        optimality=optimality,
        tol=tol,
        dtype=dtype,
        precision_advice=advice,
        columns=columns,
    )


def message_for_several(
    outcomes: Sequence[tuple[Status, float]], *, what: str, max_iter: int, tol: float, dtype: str
) -> str | None:
    """Return one warning's text for several fits; None if all converged.

    ``outcomes`` holds the status and optimality of every fit, ``what`` is a plural noun for them.
    """
    failed = [outcome for outcome in outcomes if outcome[0] is not Status.CONVERGED]
    if not failed:
        return None
    status, worst = max(failed, key=lambda outcome: outcome[1])
    advice = "float64 data reach further" if dtype == "float32" else "centred columns may help"
    way_out = _ADVICE[status].format(max_iter=max_iter, precision_advice=advice)
    return (
        f"{len(failed)} of {len(outcomes)} {what} failed to converge. The worst reached "
        f"optimality_ = {worst:.2g} where tol = {tol:.2g} was asked for: "
        f"{_REASONS[status].format(dtype=dtype, columns='')}. {way_out}"
    )


def message_for_stream(solver: Any, n_epochs: int) -> str:
    """Return the warning's text for training on streamed rows, which is not certified."""
    return (
        f"{type(solver).__name__} went through {n_epochs} epoch(s) of mini-batches that stream: "
        "nothing is proven, and optimality_ is nan. Pass arrays, or a map-style data set, for a "
        "fit that says how exact it is."
    )


def message_for_interrupted(solver: Any, n_epochs: int) -> str:
    """Return the warning's text for uncertified training that was interrupted."""
    return (
        f"{type(solver).__name__} did not come to its end: after {n_epochs} epoch(s) it was "
        "interrupted, and module_ is the best so far. Fit with its checkpoint, or "
        "with warm_start=True, to go on."
    )
