"""What a fit that did not converge says: the figure, the reason, the way out."""

from collections.abc import Sequence
from typing import Any

from skorch_logreg.fitting import Status
from skorch_logreg.solvers import MiniBatch

__all__ = [
    "is_as_asked",
    "message",
    "message_of_interrupted",
    "message_of_several",
    "message_of_stream",
    "most_iterations",
]

# scikit-learn's texts, by which its users filter
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
    "that they grow without bound and no minimiser exists",
    Status.STOPPED: "a callback asked to stop",
    Status.EPOCHS: "the epochs are over",
    Status.INTERRUPTED: "it was interrupted",
}
_WAYS_OUT = {
    Status.MAX_ITER: "Increase the number of iterations to improve the convergence "
    "(max_iter={max_iter}).",
    Status.PRECISION: "Ask for less with a larger tol; {precision_advice}.",
    Status.SEPARABLE: "The coefficients returned are finite and separate the classes; for a "
    "minimiser set C to a finite value and leave no column, and no class, without a penalty "
    "or weight. skorch_logreg.separation names the columns, skorch_logreg.firth is finite.",
    Status.STOPPED: "Fit with warm_start=True to go on.",
    Status.EPOCHS: "Train longer, let the learning rate fall (schedule), or end with "
    "finish='exact'.",
    Status.INTERRUPTED: "Fit with its checkpoint, or with warm_start=True, to go on.",
}


def is_as_asked(status: Status) -> bool:
    """Whether a fit ended as it was told to: there is nothing to warn of."""
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
) -> str:
    """Word the warning of a fit that ended with ``status``.

    Parameters
    ----------
    status : Status
        Any but CONVERGED.
    solver : str or solver
        The parameter as it was given.
    n_iter, max_iter : int
    optimality, tol : float
        Reached, and asked for.
    dtype : str
        Type of the data.
    """
    name = solver if isinstance(solver, str) else type(solver).__name__
    leads = _AT_MAX_ITER if status is Status.MAX_ITER else _OTHERWISE
    advice = "float64 data reach further" if dtype == "float32" else "centred columns may help"
    text = (
        f"{leads.get(name, _DEFAULT)} optimality_ = {{optimality:.2g}} was reached where "
        f"tol = {{tol:.2g}} was asked for: {_REASONS[status]}. {_WAYS_OUT[status]}"
    )
    return text.format(
        solver=name,
        n_iter=n_iter,
        max_iter=max_iter,
        optimality=optimality,
        tol=tol,
        dtype=dtype,
        precision_advice=advice,
    )


def message_of_several(
    ends: Sequence[tuple[Status, float]], *, what: str, max_iter: int, tol: float, dtype: str
) -> str | None:
    """Word the one warning of many fits; None if all converged.

    Parameters
    ----------
    ends : sequence of (Status, float)
        How every fit ended, and the optimality that it reached.
    what : str
        What they are, in the plural.
    max_iter : int
    tol : float
    dtype : str
        Type of the data.
    """
    failed = [end for end in ends if end[0] is not Status.CONVERGED]
    if not failed:
        return None
    status, worst = max(failed, key=lambda end: end[1])
    advice = "float64 data reach further" if dtype == "float32" else "centred columns may help"
    way_out = _WAYS_OUT[status].format(max_iter=max_iter, precision_advice=advice)
    return (
        f"{len(failed)} of {len(ends)} {what} failed to converge. The worst reached optimality_ "
        f"= {worst:.2g} where tol = {tol:.2g} was asked for: "
        f"{_REASONS[status].format(dtype=dtype)}. {way_out}"
    )


def message_of_stream(solver: Any, n_epochs: int) -> str:
    """Word the warning of a training on rows that stream."""
    return (
        f"{type(solver).__name__} went through {n_epochs} epoch(s) of mini-batches that stream: "
        "nothing is proven, and optimality_ is nan. Pass arrays, or a map-style data set, for a "
        "fit that says how exact it is."
    )


def message_of_interrupted(solver: Any, n_epochs: int) -> str:
    """Word the warning of a training of which nothing is proven, and that was interrupted."""
    return (
        f"{type(solver).__name__} did not come to its end: after {n_epochs} epoch(s) it was "
        "interrupted, and module_ is the best so far. Fit with its checkpoint, or "
        "with warm_start=True, to go on."
    )


def most_iterations(solver: Any, max_iter: int) -> int:
    """Count the iterations that a fit may take: epochs, and those of an exact finish."""
    if not isinstance(solver, MiniBatch):
        return max_iter
    return solver.epochs + (max_iter if solver.finish == "exact" else 0)
