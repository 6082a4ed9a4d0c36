"""The one road from data and options to a solution."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skorch_logreg.checkpoint import Journal, exclusive
from skorch_logreg.continuation import by_strength, drive_in_turn
from skorch_logreg.data import Data, InMemory
from skorch_logreg.data.threads import several_threads, single_thread, workers
from skorch_logreg.losses import Loss
from skorch_logreg.objective import Objective
from skorch_logreg.penalties import L2, ElasticNet, Penalty
from skorch_logreg.rounding import stored, stored_gap
from skorch_logreg.solvers import (
    LBFGS,
    SOLVERS,
    Iterate,
    NewtonCholesky,
    Outcome,
    ProximalNewton,
    Solver,
    Status,
    chord,
    drive,
    small,
)
from skorch_logreg.solvers.appraisal import Appraisal
from skorch_logreg.solvers.choose import choose_curvature, is_small
from skorch_logreg.solvers.minibatch import MiniBatch
from skorch_logreg.solvers.record import fingerprint, most_bytes
from skorch_logreg.starts import cold_start, prior_start
from skorch_logreg.training import Epoch, LinearHead, Trained, train_linear
from skorch_logreg.units import Params, Units

__all__ = [
    "Params",
    "Progress",
    "Solution",
    "Status",
    "at_once",
    "fit",
    "fit_path",
    "models_at_once",
    "train",
]

_MEMORY_BUDGET = 1 << 30  # bytes
ROW_BYTES = 72  # of a row and a logit: target, weight, the logits of three points, what is between
_WIDEST = 512  # logits a row that are worth a wider batch
_COEFFICIENTS = 1 << 21  # in all models: 16 MiB
_LEAST = 16  # logits a row that are worth it whatever the columns
_NEWTON_COST = 1.5  # passes: up to here a new Hessian at every step is the quickest way


@dataclass(frozen=True)
class Progress:
    """What a callback sees after an iteration.

    Attributes
    ----------
    n_iter : int
    value, optimality : Tensor of shape (m,)
    n_passes : int
        Full reads of X so far.
    params : callable
        Gives the present `Params`; nothing is computed unless it is called.
    """

    n_iter: int
    value: Tensor
    optimality: Tensor
    n_passes: int
    params: Callable[[], Params]

    @classmethod
    def of_epoch(cls, epoch: Epoch, weight: Tensor, params: Callable[[], Params]) -> "Progress":
        """Sum the mean loss over a weight (m,) of all rows; nothing is known of optimality."""
        value = epoch.loss * weight.to(epoch.loss.device)
        unknown = torch.full_like(value, torch.nan)
        return cls(epoch.n_epochs, value, unknown, epoch.n_epochs, params)


@dataclass(frozen=True)
class Solution:
    """Fitted models with their proof.

    Attributes
    ----------
    params : Params
    status : tuple of Status
    n_iter : Tensor of shape (m,)
    n_passes : int
        Full reads of X.
    value, optimality, duality_gap : Tensor of shape (m,)
        Objective ``sum_i s_i loss_i + penalty / C``, ``sqrt((F - F*) / F)`` as predicted, and a
        rigorous relative bound (nan where there is none).
    logits : Tensor of shape (n, m, K)
        Of all rows, those of weight 0 included: held-out rows are scored at no cost.
    total_weight : Tensor of shape (m,)
        ``sum_i s_i``.
    trained : Trained or None
        The epochs, with a solver of mini-batches.
    directions : tuple of (Tensor of shape (K, p + 1) or None)
        Of models that are separable: where coefficients of columns of deviation one, and the
        intercept last, go to infinity.
    """

    params: Params
    status: tuple[Status, ...]
    n_iter: Tensor
    n_passes: int
    value: Tensor
    optimality: Tensor
    duality_gap: Tensor
    logits: Tensor
    total_weight: Tensor
    trained: Trained | None = None
    directions: tuple[Tensor | None, ...] = ()


@np.errstate(all="ignore")  # what overflows is looked at, not warned about
def fit(
    data: Data,
    loss: Loss,
    penalty: Penalty,
    *,
    C: float | Tensor = 1.0,
    fit_intercept: bool = True,
    solver: str | Solver = "auto",
    tol: float = 1e-4,
    max_iter: int = 100,
    start: Params | None = None,
    callback: Callable[[Progress], bool] | None = None,
    bound: bool = True,
    held_out_score: Callable[[Params], float] | None = None,
    seed: int = 0,
    offset: Tensor | None = None,
    dtype: torch.dtype = torch.float64,
) -> Solution:
    """Minimise ``sum_i s_i loss(y_i, x_i W + b) + (1/C) penalty(W)``.

    Columns are standardised virtually: the solver works on ``(X - mean) / deviation`` and on the
    penalty in those units, which changes neither the objective nor its minimiser.  Only solvers
    of mini-batches work in the units of X; where they end is then proven like any other point.

    Parameters
    ----------
    data : Data
    loss : Loss
    penalty : Penalty
    C : float or Tensor of shape (m,), default=1.0
        Inverse strength of each model; inf for no penalty.
    fit_intercept : bool, default=True
    solver : str or Solver, default="auto"
        A key of `SOLVERS`, an instance, or "auto".
    tol : float, default=1e-4
        Largest optimality of a converged model; the relative suboptimality is about its square.
    max_iter : int, default=100
    start : Params or None
        Where to start; None: zero.
    callback : callable or None
        Called with a `Progress` after every iteration; true stops the fit.
    bound : bool, default=True
        Whether the duality gap is wanted, which costs two passes or so; else it is nan.
    held_out_score : callable or None
        Score of rows held out, with a solver of mini-batches: after every epoch, the largest
        is best.
    seed : int, default=0
        Of the order of mini-batches.
    offset : Tensor of shape (n, 1, 1) or (n, 1, K), float64, or None
        Added to the logits of every row; not with solvers of mini-batches.
    dtype : torch.dtype, default=torch.float64
        Type in which the parameters will be stored: they are rounded to it, and the duality gap
        counts what that costs.

    Returns
    -------
    solution : Solution

    Raises
    ------
    ValueError
        If the solver lacks what the penalty needs.
    CheckpointError
        If the solver's checkpoint is damaged, of another fit, or in use.
    DivergenceError
        If training on mini-batches ends at no finite loss.
    """
    C = torch.as_tensor(C, dtype=torch.float64, device=data.device).reshape(-1)
    offset = None if offset is None else data.beside(offset)
    model = _Model(data, loss, penalty, C, fit_intercept, offset, dtype)
    with exclusive(getattr(solver, "checkpoint", None)):
        if isinstance(solver, MiniBatch):
            return _trained(
                model, solver, tol, max_iter, start, callback, bound, held_out_score, seed
            )
        return _minimised(model, solver, tol, max_iter, start, callback, bound)


@dataclass(frozen=True)
class _Model:
    """What is minimised."""

    data: Data
    loss: Loss
    penalty: Penalty
    C: Tensor
    fit_intercept: bool
    offset: Tensor | None
    dtype: torch.dtype


def _minimised(
    model: _Model,
    solver: str | Solver,
    tol: float,
    max_iter: int,
    start: Params | None,
    callback: Callable[[Progress], bool] | None,
    bound: bool,
) -> Solution:
    data, loss, C = model.data, model.loss, model.C
    penalty, excluded = model.penalty.without_excluded()
    small = is_small(data.n_samples, len(C), loss.n_outputs, data.n_features + 1)
    # calls are a quarter cheaper on tensors that will never know gradients
    with workers(1 if small else None), single_thread(), torch.inference_mode(small):
        units = Units.of(data, model.fit_intercept, excluded)
        encoded = loss.encode(data.targets)
        objective = Objective(
            data.standardised(units.center, units.scale, encoded, len(C) * loss.n_outputs),
            loss,
            penalty.in_units(units.scale),
            1 / C,
            model.fit_intercept,
            model.offset,
        )
        # where threads take blocks, what lies between them is short: a second thread would spin;
        # so it would between the many small solves of a penalty that is not smooth
        with several_threads(penalty.smooth and not (small or objective.data.is_split)):
            how = solver, tol, max_iter, start, callback, bound
            return _solve(objective, units, penalty, model.dtype, *how)


@np.errstate(all="ignore")
def fit_path(
    data: Data,
    loss: Loss,
    penalty: ElasticNet,
    grid: Callable[[float], Sequence[float]],
    *,
    fit_intercept: bool = True,
    tol: float = 1e-4,
    max_iter: int = 100,
) -> Iterator[Solution]:
    """Minimise along a path of ``C``, each from the solution before.

    The solver's state is carried over: a strength that changes costs no read of X, and the
    Hessian over the working set serves as long as it is good enough.

    Parameters
    ----------
    data, loss, penalty, fit_intercept, tol, max_iter
        As in `fit`, the last for each point.
    grid : callable
        Given the C up to which all penalised coefficients are zero, returns the path, from small
        to large.

    Yields
    ------
    solution : Solution
        Of one model, in the path's order, without logits; passes are this point's own.
    """
    penalty, excluded = penalty.without_excluded()
    solver = ProximalNewton()
    with workers(), single_thread():
        units = Units.of(data, fit_intercept, excluded)
        scaled = data.standardised(
            units.center, units.scale, loss.encode(data.targets), loss.n_outputs
        )
        strength = torch.ones(1, dtype=torch.float64, device=data.device)
        at = Objective(scaled, loss, penalty.in_units(units.scale), strength, fit_intercept)
        at, state, entry = _entered(at, solver, tol, max_iter)
        reads = 0
        for C in grid(entry):
            before, at = at, replace(at, strength=torch.full_like(strength, 1 / C))
            state = solver.carried(state, before, at)
            found = drive(solver, at, state.point.params, tol=tol, max_iter=max_iter, state=state)
            state = found.state
            params = units.outward(found.params, penalty)
            yield Solution(
                params=params if loss.n_outputs == 1 else _balanced(params, penalty, at.strength),
                status=found.status,
                n_iter=found.n_iter,
                n_passes=found.n_passes - reads,
                value=found.value,
                optimality=found.optimality,
                duality_gap=found.duality_gap,
                logits=found.logits[:0],
                total_weight=at.data.weight.sum(dim=0),
            )
            reads = found.n_passes


def _entered(
    objective: Objective, solver: ProximalNewton, tol: float, max_iter: int
) -> tuple[Objective, Any, float]:
    """Where no penalised coefficient is: the state there, and up to which C it is the solution."""
    penalty: Any = objective.penalty

    def entry(state: Any) -> Tensor:
        return penalty.entry_strength(objective.loss_gradient(state.point)[..., :-1])

    state = solver.init(objective, prior_start(objective), tol)
    if bool(penalty.coercive(objective.strength).all()):
        return objective, state, float(1 / entry(state))
    # columns without a penalty come first, while the others are held at zero
    alone = replace(objective, strength=1e3 * entry(state).clamp(min=1.0))
    found = drive(solver, alone, state.point.params, tol=min(tol, 1e-6), max_iter=max_iter)
    return alone, found.state, float(1 / entry(found.state))


def train(
    data: Data,
    loss: Loss,
    penalty: Penalty,
    *,
    C: float | Tensor,
    fit_intercept: bool,
    solver: MiniBatch,
    start: Params | None = None,
    callback: Callable[[Progress], bool] | None = None,
    held_out_score: Callable[[Params], float] | None = None,
    seed: int = 0,
    state: dict[str, Any] | None = None,
    epochs: int | None = None,
    total_weight: Tensor | None = None,
) -> tuple[Params, Trained]:
    """Train on mini-batches, from any start and state; nothing is proven.

    Parameters
    ----------
    data, loss, penalty, C, fit_intercept, start, callback, held_out_score, seed
        As in `fit`.
    solver : MiniBatch
    state, epochs, total_weight
        As in `training.train_linear`.

    Returns
    -------
    params : Params
    trained : Trained
    """
    assert isinstance(data, InMemory)  # the one kind of data there is as yet
    C = torch.as_tensor(C, dtype=torch.float64, device=data.device).reshape(-1)
    weight = data.weight.sum(dim=0) if total_weight is None else total_weight
    head = LinearHead.of(
        data.n_features, len(C), loss.n_outputs, fit_intercept, data.dtype, data.device
    )
    if start is not None:
        head.load(start.coef, start.intercept)

    def params() -> Params:
        return Params(*head.params())

    def report(epoch: Epoch) -> bool:
        return bool(callback and callback(Progress.of_epoch(epoch, weight, params)))

    trained = train_linear(
        data,
        loss,
        penalty,
        1 / C,
        solver,
        head,
        seed=seed,
        held_out_score=None if held_out_score is None else lambda: held_out_score(params()),
        callback=None if callback is None else report,
        state=state,
        epochs=epochs,
        total_weight=weight,
    )
    return params(), trained


def _trained(
    model: _Model,
    solver: MiniBatch,
    tol: float,
    max_iter: int,
    start: Params | None,
    callback: Callable[[Progress], bool] | None,
    bound: bool,
    held_out_score: Callable[[Params], float] | None,
    seed: int,
) -> Solution:
    """Go through the epochs, then prove where they end, or go on to the minimum from there."""
    reached, trained = train(
        model.data,
        model.loss,
        model.penalty,
        C=model.C,
        fit_intercept=model.fit_intercept,
        solver=solver,
        start=start,
        callback=callback,
        held_out_score=held_out_score,
        seed=seed,
    )
    exact = solver.finish == "exact" and trained.is_complete
    n_epochs = trained.n_epochs

    def go_on(progress: Progress) -> bool:
        n_iter, n_passes = n_epochs + progress.n_iter, n_epochs + progress.n_passes
        return bool(callback and callback(replace(progress, n_iter=n_iter, n_passes=n_passes)))

    watch = go_on if exact and callback is not None else None
    smooth = _acting(model.penalty, 1 / model.C).smooth
    proof: str | Solver = Appraisal() if smooth else "auto"
    how: Any = solver if exact else proof
    try:
        found = _minimised(model, how, tol, max_iter if exact else 0, reached, watch, bound)
    except KeyboardInterrupt:
        if solver.on_interrupt != "keep":
            raise
        exact, trained = False, replace(trained, status=Status.INTERRUPTED)
        found = _minimised(model, proof, tol, 0, reached, None, bound)
    if Status.INTERRUPTED not in (trained.status, *found.status):
        Journal(solver.checkpoint, {}).finish()
    told = (Status.CONVERGED, Status.SEPARABLE)
    return replace(
        found,
        params=found.params if exact else reached,
        status=tuple(end if exact or end in told else trained.status for end in found.status),
        n_iter=found.n_iter + n_epochs,
        n_passes=found.n_passes + n_epochs,
        trained=trained,
    )


def _solve(
    objective: Objective,
    units: Units,
    penalty: Penalty,
    dtype: torch.dtype,
    solver: str | Solver,
    tol: float,
    max_iter: int,
    start: Params | None,
    callback: Callable[[Progress], bool] | None,
    bound: bool,
) -> Solution:
    loss, strength = objective.loss, objective.strength
    acting = _acting(penalty, strength)
    smooth = acting.smooth
    chosen = _solver(solver, smooth, objective)

    def balanced(params: Params) -> Params:
        return params if loss.n_outputs == 1 else _balanced(params, acting, strength)

    def ended(outcome: Outcome, status: Status) -> Solution:
        params = stored(balanced(units.outward(outcome.params, penalty)), units, dtype)
        reads = objective.data.n_passes
        gap = stored_gap(objective, units, params, outcome, dtype)
        return Solution(
            params=params,
            status=tuple(status if how is Status.MAX_ITER else how for how in outcome.status),
            n_iter=outcome.n_iter,
            n_passes=outcome.n_passes + objective.data.n_passes - reads,
            value=outcome.value,
            optimality=outcome.optimality,
            duality_gap=gap,
            logits=outcome.logits,
            total_weight=objective.data.weight.sum(dim=0).expand(len(strength)),
            directions=outcome.directions,
        )

    def report(iterate: Iterate) -> bool:
        progress = Progress(
            iterate.n_iter,
            iterate.value,
            iterate.optimality,
            iterate.n_passes,
            lambda: balanced(units.outward(iterate.params, penalty)),
        )
        with torch.inference_mode(False):  # a callback's own tensors may want gradients
            return bool(callback is not None and callback(progress))

    watch = None if callback is None else report
    groups = by_strength(objective)
    resumable = chosen.checkpoint is not None or chosen.on_interrupt == "keep"
    if len(groups) > 1 and smooth and start is None and max_iter > 0 and not resumable:
        turns = drive_in_turn(
            chosen,
            objective,
            groups,
            tol=tol,
            max_iter=max_iter,
            callback=watch,
            bound=bound,
        )
        return ended(turns, Status.MAX_ITER)
    keep, status = chosen.on_interrupt == "keep", Status.MAX_ITER
    known = {} if chosen.checkpoint is None else fingerprint(chosen, objective, tol)
    journal = Journal(chosen.checkpoint, known, most_bytes(chosen, objective))
    written = journal.resume()
    if written is not None:
        first, n_iter = objective.zeros(), 0
    elif start is not None:
        first, n_iter = units.inward(balanced(start)), 0
    else:
        try:
            first, n_iter = cold_start(objective, chosen, tol, max_iter)
        except KeyboardInterrupt:
            if not keep:
                raise
            first, n_iter = prior_start(objective), 0
            max_iter, status = 0, Status.INTERRUPTED

    outcome = drive(
        chosen,
        objective.rough() if smooth and (max_iter > 0 or written is not None) else objective,
        first,
        tol=tol,
        max_iter=max_iter,
        n_iter=n_iter,
        callback=watch,
        bound=bound,
        journal=journal,
        written=written,
        keep=keep,
    )
    return ended(outcome, status)


def models_at_once(
    n_samples: int, n_features: int, n_outputs: int, memory_budget: int | None = None
) -> int:
    """Models that one solve may take.

    So many that what is as long as the data fits a budget, and no more than pays: beyond some
    hundred logits a row a read of X is no cheaper, and what is as long as the coefficients
    leaves the cache.

    Parameters
    ----------
    n_samples, n_features : int
    n_outputs : int
        Logits a model.
    memory_budget : int or None
        Bytes; None: 1 GiB.
    """
    pays = min(_WIDEST, max(_COEFFICIENTS // n_features, _LEAST))
    return max(min(at_once(n_samples, memory_budget), pays) // n_outputs, 1)


def at_once(size: int, memory_budget: int | None = None) -> int:
    """Columns of ``size`` rows, with what a solve keeps beside them, that fit a budget."""
    budget = _MEMORY_BUDGET if memory_budget is None else memory_budget
    return max(int(budget) // (ROW_BYTES * size), 1)


def _solver(solver: str | Solver, smooth: bool, objective: Objective) -> Solver:
    """Instance of a solver that can minimise the objective, or finish what another has begun."""
    if isinstance(solver, MiniBatch):
        auto: Any = _solver("auto", smooth, objective)
        return replace(auto, on_interrupt=solver.on_interrupt)
    needs = "smooth" if smooth else "prox"
    if solver == "auto":
        if not smooth:
            return ProximalNewton()
        model = choose_curvature(objective)
        if model.exact and model.cost(len(objective.strength)) <= _NEWTON_COST:
            return small.SmallNewton() if small.serves(objective, model) else NewtonCholesky()
        return chord.ChordNewton() if chord.serves(objective, model) else LBFGS()
    chosen: Any = SOLVERS[solver]() if isinstance(solver, str) else solver
    if isinstance(chosen, NewtonCholesky) and smooth:
        # a Hessian for every model at every step has to fit: else they get theirs in turn
        fits = len(objective.strength) <= choose_curvature(objective).room()
        return chosen if fits else LBFGS(**chosen.resuming())
    if "smooth" in chosen.requires and needs == "prox":
        raise ValueError(
            f"{type(chosen).__name__} needs a smooth penalty, and this one is not; "
            "use solver='auto' or ProximalNewton()."
        )
    return chosen


def _acting(penalty: Penalty, strength: Tensor) -> Penalty:
    """Return the penalty, or that of no penalty where it says nothing at a strength of zero."""
    return penalty if penalty.constrains or bool(strength.any()) else L2()


def _balanced(params: Params, penalty: Penalty, strength: Tensor) -> Params:
    """Take out what is free: a constant added to the intercepts, or coefficients, of all classes.

    Under a smooth penalty the minimiser's coefficients sum to zero by themselves, and this
    removes rounding.
    """
    mean = params.intercept.mean(dim=1, keepdim=True)
    return Params(penalty.balanced(params.coef, strength), params.intercept - mean)
