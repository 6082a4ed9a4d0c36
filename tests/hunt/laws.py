"""What has to hold of a fit, judged by its minimum in extended precision."""

import signal
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from tests.hunt.draws import Problem
from tests.hunt.infinity import recedes
from tests.hunt.minimum import Minimum, minimise
from tests.hunt.objective import LD, Task

FLOOR = 1e-13  # relative suboptimality that float64 may leave
SECONDS = 1.0  # of the processor, for a fit of a few kilobytes
_LIMIT = 5.0  # after which it is ended
_PROVEN = 1e-15  # relative decrease left, up to which a reference is one
_EPS = np.finfo(np.float64).eps


@dataclass(frozen=True)
class Finding:
    """A law that does not hold.

    Parameters
    ----------
    law : str
    seed : int
    text : str
        The figures.
    """

    law: str
    seed: int
    text: str

    def __str__(self):
        return f"{self.law}: python -m tests.hunt --seed {self.seed} --fits 1  # {self.text}"


@dataclass(frozen=True)
class Fitted:
    """A fit with all that it said, and its price."""

    model: object
    caught: tuple
    error: Exception | None
    seconds: float


class TooLongError(Exception):
    """A fit took more than its time."""


@contextmanager
def _limited(seconds):
    """End what takes more of the processor."""

    def end(*_):
        raise TooLongError

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def fitted(problem: Problem, limit: float = _LIMIT, **options) -> Fitted:
    """Fit, and catch whatever comes; ended after ``limit`` seconds of the processor."""
    model = error = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        begin = time.process_time()
        try:
            with _limited(limit):
                model = problem.fit(**options)
        except Exception as raised:  # noqa: BLE001
            error = raised
        seconds = time.process_time() - begin
    return Fitted(model, tuple(caught), error, seconds)


def check(problem: Problem, limit: float = _LIMIT) -> list[Finding]:
    """All findings of one problem; empty if its laws hold."""
    fit, found = fitted(problem, limit), []

    def finding(law, text):
        found.append(Finding(law, problem.seed, f"{text} [{describe(problem)}]"))

    if isinstance(fit.error, TooLongError):
        finding("time", f"more than {limit} s")
        return found
    if fit.error is not None:
        finding("error", f"{type(fit.error).__name__}: {str(fit.error)[:150]!r}")
        return found
    model = fit.model
    for text in _manners(problem, fit):
        finding("manners", text)
    if fit.seconds > SECONDS and fitted(problem).seconds > SECONDS:
        finding("time", f"{fit.seconds:.1f} s, {model.n_passes_} passes")
    if not np.isfinite(np.asarray(model.coef_)).all():
        return found
    task = problem.task()
    coef, intercept = problem.parameters(model)
    if recedes(task):
        if model.converged_:
            finding("infinity", f"converged, optimality {model.optimality_:.1e}")
        return found
    theta = task.inward(coef, intercept)
    minimum = minimise(task, theta)
    if minimum.left > _PROVEN:
        finding("judge", f"the reference has {minimum.left:.1e} left")
        return found
    untold = untold_by_logits(task, minimum, keeps_means=problem.keeps_means)
    for law, text in judged(task, minimum, theta, model, (coef, intercept), untold):
        finding(law, text)
    return found


def judged(task: Task, minimum: Minimum, theta, model, parameters, untold=0.0):
    """Laws of optimality and gap for parameters of a model.

    ``untold`` is the share of the objective that the rounding of its logits hides: a fit may end
    there, and no certificate tells less.
    """
    inside = outside_bounds(task, parameters[0])
    if inside:
        yield "bounds", inside
    above = task.change(minimum.theta, theta)
    excess = float(above / minimum.value)
    rounding = rounded(task, minimum, parameters)
    goal = max(10 * model.tol**2, FLOOR)
    if model.converged_:
        if not model.optimality_ <= model.tol:
            yield "optimality", f"converged at {model.optimality_:.1e} > tol {model.tol:.1e}"
        if excess > goal + rounding:
            yield (
                "optimality",
                f"{excess:.2e} from the minimum = {excess / model.tol**2:.1f} tol^2, rounding "
                f"{rounding:.1e}, claims {model.optimality_**2:.1e}, gap {model.duality_gap_:.1e}",
            )
    elif (
        model.n_iter_[0] < model.max_iter
        and excess > goal + 4 * rounding + untold
        and not (np.isnan(model.duality_gap_) and hides_curvature(task, minimum))
    ):
        yield "gives up", f"{excess:.1e} from the minimum, claims {model.optimality_:.1e}"
    gap = float(above / (minimum.value + above))
    if model.duality_gap_ < gap - 1e-17 - 2 * minimum.left - untold:
        yield "gap", f"claims {model.duality_gap_:.2e}, is {gap:.2e}, rounding {rounding:.1e}"


def untold_by_logits(task: Task, minimum: Minimum, keeps_means: bool) -> float:
    """Change of F, relative to it, by the rounding of logits in float64.

    A logit is a sum of products, rounded as its terms are large: those of columns that keep their
    means, as sparse ones do and all where no intercept takes them up, may be a million times the
    sum.
    """
    gradient_mass = task.total[:, None] - task.mass
    _, share, other = task.gradient(minimum.theta)
    residual = np.abs(gradient_mass * share - task.mass * other)
    residual = residual[:, 1:] if task.n_outputs == 1 else residual
    coef, intercept = task.outward(minimum.theta)
    if keeps_means:
        size = np.abs(task.X) @ np.abs(coef).T + np.abs(intercept)
    else:
        size = np.abs(task.rows) @ np.abs(minimum.theta).T
    if task.offset is not None:
        size = size + np.abs(task.offset)
    return float((residual * size).sum() * _EPS / minimum.value)


def hides_curvature(task: Task, minimum: Minimum) -> bool:
    """Whether float64 resolves fewer than six digits of a curvature at the minimum.

    A fit whose penalty has no finite gap may then end without a certificate.
    """
    hessian = task.hessian(*task.gradient(minimum.theta)[1:]).astype(float)
    free = np.r_[(task.lasso == 0) & (task.ridge == 0), task.fit_intercept]
    used = ((minimum.theta != 0) | free).ravel() & (hessian.diagonal() > 0)
    unit = hessian.diagonal()[used] ** -0.5
    values = np.linalg.eigvalsh(hessian[used][:, used] * unit * unit[:, None])
    return bool(((values > len(values) * _EPS * values[-1]) & (values < 1e-9 * values[-1])).any())


def rounded(task: Task, minimum: Minimum, parameters) -> float:
    """What rounding coefficients and intercepts to their type can cost, relative to F."""
    coef, intercept = parameters
    eps = [np.finfo(np.asarray(a).dtype).eps / 2 for a in (coef, intercept)]
    own, b = task.outward(minimum.theta)
    error = np.c_[np.abs(own).astype(LD) * LD(eps[0]) * task.scale, np.abs(b) * LD(eps[1])]
    # an intercept that comes from coefficients shares their error
    error[:, -1] += (np.abs(own) * LD(eps[0]) * np.abs(task.center)).sum(axis=1)
    _, share, other = task.gradient(minimum.theta)
    hessian = np.abs(task.hessian(share, other))
    flat = error.ravel()
    # along the way there a curvature grows by no more than the exponential of a logit's change
    farthest = min(float((np.abs(task.rows) @ error.T).max()), 30.0)
    return float(flat @ hessian @ flat / 2 / minimum.value) * float(np.exp(farthest))


def outside_bounds(task, coef):
    """Say which coefficients are beyond their bounds, or not zero though excluded."""
    wrong = (coef < task.low) | (coef > task.high)
    return f"{wrong.sum()} coefficients out of bounds" if wrong.any() else ""


def _manners(problem, fit):
    """Warnings, attributes, shapes."""
    model = fit.model
    others = [w for w in fit.caught if not issubclass(w.category, ConvergenceWarning)]
    if others:
        yield f"warns {others[0].category.__name__}: {str(others[0].message)[:120]!r}"
    n_warned = len(fit.caught) - len(others)
    if n_warned != (not model.converged_):
        yield f"{n_warned} ConvergenceWarning, converged_ = {model.converged_}"
    for name in ("coef_", "intercept_", "optimality_", "n_iter_", "n_passes_"):
        if not np.isfinite(np.asarray(getattr(model, name))).all():
            yield f"{name} is not finite"
    if np.isinf(model.duality_gap_):
        yield "duality_gap_ is inf"
    if model.n_features_in_ != problem.X.shape[1]:
        yield "n_features_in_"
    n_outputs = 1 if len(model.classes_) == 2 else len(model.classes_)
    if model.coef_.shape != (n_outputs, problem.X.shape[1]):
        yield f"coef_ has shape {model.coef_.shape}"
    expected = np.float32 if problem.X.dtype == np.float32 else np.float64
    if problem.get("solver") == "liblinear":
        expected = np.float64
    if model.coef_.dtype != expected:
        yield f"coef_ is {model.coef_.dtype}"
    if not model.converged_ and model.n_iter_[0] < model.max_iter:
        (text,) = [str(w.message) for w in fit.caught if w not in others][:1] or [""]
        if "precision" not in text and "separable" not in text:
            yield f"stopped after {model.n_iter_[0]} of {model.max_iter}: {text[:100]!r}"


def describe(problem) -> str:
    """Shape, type, container and parameters in one line."""
    parts = [f"{problem.X.shape} {problem.X.dtype} {problem.container}"]
    parts += [f"{name}={_short(value)}" for name, value in problem.options.items()]
    for name in ("sample_weight", "offset"):
        value = getattr(problem, name)
        if value is not None:
            parts.append(f"{name} {np.min(value):.0e}..{np.max(value):.0e}")
    k = len(np.unique(problem.y)) if not problem.get("soft_labels") else problem.mass().shape[1]
    return ", ".join([*parts, f"{k} classes"])


def _short(value):
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, np.ndarray):
        return "array"
    if isinstance(value, tuple):
        return "bounds"
    text = str(value)
    return text if len(text) < 40 else type(value).__name__
