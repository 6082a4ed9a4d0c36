"""Exact fits: standardise the columns, choose a solver, minimise and certify."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from skorch_logreg.checkpoint import CheckpointWriter
from skorch_logreg.curvature import ClassBlocks, pass_seconds
from skorch_logreg.data import InMemory
from skorch_logreg.data.threads import several_threads, single_thread, workers
from skorch_logreg.fitting.request import FitRequest, FitResult, Progress
from skorch_logreg.fitting.rounding import stored, stored_gap
from skorch_logreg.fitting.starts import cold_start, predicted_start, prior_start
from skorch_logreg.losses import NuisanceLoss
from skorch_logreg.objective import MAX_EXCESS, Objective, Params, Units
from skorch_logreg.penalties import Penalty
from skorch_logreg.solvers import (
    LBFGS,
    SOLVERS,
    Iterate,
    NewtonCG,
    NewtonCholesky,
    Outcome,
    Solver,
    Status,
    drive,
)
from skorch_logreg.solvers.choose import (
    FIRST_PASSES,
    SAVING,
    choose_curvature,
    choose_solver,
    is_small,
)
from skorch_logreg.solvers.minibatch import trains_in_epochs
from skorch_logreg.solvers.newton import proven_at
from skorch_logreg.solvers.smooth import continued
from skorch_logreg.solvers.state_io import fingerprint, max_bytes


def minimise(request: FitRequest) -> FitResult:
    """Minimise on virtually standardised columns."""
    data, n_models, n_outputs = request.data, len(request.C), request.loss.n_outputs
    small = is_small(data.n_samples, n_models, n_outputs, data.n_features + 1)
    # calls are a quarter cheaper on tensors that never have gradients
    with workers(1 if small else None), single_thread(), torch.inference_mode(small):
        request, objective, units = standardised(request)
        # where threads take blocks, the work between them is short: a second thread would spin;
        # so it would between the many small solves of a penalty that is not smooth
        with several_threads(request.penalty.smooth and not (small or objective.data.is_split)):
            return _solve(request, objective, units)


def standardised(request: FitRequest) -> tuple[FitRequest, Objective, Units]:
    """Return the request without excluded columns, its objective on the others, and their units.

    The center of a penalty is zero in these units, and its logits are an offset.
    """
    penalty, excluded = request.penalty.without_excluded()
    if excluded is not None:
        request = replace(request, penalty=penalty)
    data, loss, C = request.data, request.loss, request.C
    units = Units.of(data, request.fit_intercept, excluded)
    penalty, prior = penalty.without_center()
    if prior is not None:
        units = replace(units, prior=prior if excluded is None else prior.masked_fill(excluded, 0))
    n_logits = len(C) * loss.n_outputs
    objective = Objective(
        data.standardised(units.center, units.scale, loss.encode(data.targets), n_logits),
        loss,
        penalty.in_units(units.scale),
        1 / C,
        request.fit_intercept and loss.nuisance is None,
        request.offset,
    )
    if loss.nuisance is not None:
        start = cast(NuisanceLoss, loss)
        loss = start.with_nuisance(start.prior(objective.class_weight()))
        objective = replace(objective, loss=loss)
    if units.prior is not None:
        objective = replace(objective, offset=_offset(objective, units))
    data = objective.data
    # other penalties and losses follow changes of logits by parts of the parameters
    if loss.n_outputs > 1 and request.effective_penalty.smooth and isinstance(data, InMemory):
        objective = replace(objective, data=data.for_outputs(loss.n_outputs))
    return request, objective, units


def _offset(objective: Objective, units: Units) -> Tensor:
    """Return the offset with the logits of the center of the penalty."""
    first = objective.select(torch.zeros(1, dtype=torch.int64, device=objective.data.device))
    none = first.zeros()
    to_prior = -units.to_solver(Params(none[..., :-1], none[..., -1]))
    to_prior[..., -1] = 0.0
    return objective.with_offset(first.logits(to_prior))


def _solve(request: FitRequest, objective: Objective, units: Units) -> FitResult:
    """Choose solver and start, and run them; models of several strengths perhaps one by one."""
    solver, smooth = _choose_solver(request, objective), request.effective_penalty.smooth
    keep, max_iter, status = solver.on_interrupt == "keep", request.max_iter, Status.MAX_ITER
    # one kernel may take all Newton steps, unless a solver was asked for or steps are reported
    tol, fused = request.tol, request.solver == "auto" and request.callback is None
    starts_cold = request.start is None and solver.checkpoint is None and not keep
    everything = [torch.arange(len(request.C), device=objective.reg_strength.device)]
    may_group = smooth and starts_cold and max_iter > 0
    groups = group_by_reg_strength(objective) if may_group else everything
    known = {} if solver.checkpoint is None else fingerprint(solver, objective, tol)
    writer = CheckpointWriter(solver.checkpoint, known, max_bytes(solver, objective))
    written = writer.resume()
    outcomes: list[Outcome] = []
    last, blocks = _last_fits(request, units, groups[0]), request.blocks
    for group in groups:
        part = objective if len(groups) == 1 else objective.select(group)
        first, n_iter = _known_start(request, units, part, last), torch.zeros_like(group)
        if written is not None:
            first = objective.zeros()
        elif first is None:
            try:
                first, part, n_iter = cold_start(part, solver, tol, max_iter, fused=fused)
            except KeyboardInterrupt:
                if not keep:
                    raise
                first = prior_start(part)
                max_iter, status = 0, Status.INTERRUPTED
        if smooth and (max_iter > 0 or written is not None):
            part = part.low_precision()
        found = proven_at(part, first, tol, n_iter) if fused and request.bound else None
        if not isinstance(found, Outcome):
            state = found if isinstance(solver, NewtonCholesky) else None
            found = drive(
                *(solver, part, first),
                state=state or continued(part, first, tol, blocks),
                tol=tol,
                max_iter=max_iter,
                n_iter=int(n_iter.max()),
                callback=_reporter(request, units),
                bound=request.bound,
                journal=writer,
                written=written,
                keep=keep,
            )
        outcome = replace(found, n_iter=found.n_iter + n_iter - n_iter.max())
        last = [*last, (1 / part.reg_strength, outcome.params)][-2:]
        blocks = _reusable_blocks(outcome)
        outcomes.append(replace(outcome, state=None))
    if len(outcomes) > 1:
        outcome = Outcome.joined(outcomes, torch.cat(groups).argsort())
    return replace(_solution(request, objective, units, outcome, status), blocks=blocks)


def _known_start(
    request: FitRequest, units: Units, part: Objective, last: list[tuple[Tensor, Tensor]]
) -> Tensor | None:
    """Return the prediction from the last fits, or the start of the request, or None."""
    if last:
        return predicted_start(1 / part.reg_strength, last)
    return None if request.start is None else _in_solver_units(request, units, request.start)


def _last_fits(request: FitRequest, units: Units, group: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return C and parameters of the last fits of some models, in the units of the solver."""
    last = ((C, _in_solver_units(request, units, params)) for C, params in request.last)
    return [(C[group], params[group]) for C, params in last]


def _in_solver_units(request: FitRequest, units: Units, params: Params) -> Tensor:
    """Return parameters in the units of the solver, without a constant for all classes.

    Coefficients of a lasso do not sum to zero over the classes: from columns with large means
    that constant may be so large that steps are lost in the rounding of logits.
    """
    found = units.to_solver(_centered(request, params))
    if found.shape[1] > 1:
        found[..., -1] -= found[..., -1].mean(dim=1, keepdim=True)
    return found


def _reusable_blocks(outcome: Outcome) -> ClassBlocks | None:
    """Return the blocks of classes of a single model if another C may begin with them."""
    curvature = getattr(outcome.state, "curvature", None)
    if not (isinstance(curvature, ClassBlocks) and outcome.trace):
        return None
    if Status.INTERRUPTED in outcome.status:  # perhaps while they were written
        return None
    # after more passes, new blocks for the next fit cost less
    return curvature if outcome.n_passes - outcome.trace[0][0] <= FIRST_PASSES else None


def group_by_reg_strength(objective: Objective) -> list[Tensor]:
    """Group the models of a batch by penalty strength, strongest first, if that is faster.

    Joint passes read X only once, which matters if each row has few logits.  With many logits
    the arithmetic dominates, and starting at the solution of the next stronger penalty saves more
    iterations than the additional reads cost.  Otherwise all models are in one group.
    """
    m, n_outputs, _ = objective.shape
    data = objective.data
    everything = [torch.arange(m, device=objective.reg_strength.device)]
    if m == 1 or n_outputs == 1 or not isinstance(data, InMemory):
        return everything
    strengths = objective.reg_strength.unique(sorted=True).flip(0)
    groups = [(objective.reg_strength == strength).nonzero()[:, 0] for strength in strengths]
    size = m // len(groups)
    if len(groups) == 1 or any(len(group) != size for group in groups):
        return everything
    apart = pass_seconds(data.n_samples, n_outputs, data.row_size, size) * len(groups)
    together = pass_seconds(data.n_samples, n_outputs, data.row_size, m)
    return groups if apart <= SAVING * together else everything


def _reporter(request: FitRequest, units: Units) -> Callable[[Iterate], bool] | None:
    """Return a function that passes iterates, in the units of X, on to the callback of a fit."""
    callback = request.callback
    if callback is None:
        return None

    def report(iterate: Iterate) -> bool:
        def params() -> Params:
            return _centered(request, units.from_solver(iterate.params, request.penalty))

        n_iter, value, optimality = iterate.n_iter, iterate.value, iterate.optimality
        with torch.inference_mode(False):  # a callback's own tensors may need gradients
            return bool(callback(Progress(n_iter, value, optimality, iterate.n_passes, params)))

    return report


def _solution(
    request: FitRequest, objective: Objective, units: Units, outcome: Outcome, status: Status
) -> FitResult:
    """Round the parameters to the type in which they are stored, and certify those."""
    params = _centered(request, units.from_solver(outcome.params, request.penalty))
    # a loss of its own parameters has thresholds, which are stored in float64
    params = stored(params, units, request.dtype, coef_only=objective.loss.nuisance is not None)
    reads = objective.data.n_passes
    gap, increase = stored_gap(
        objective, units, params, outcome, dtype=request.dtype, tol=request.tol
    )
    # without a gap, nothing else tells of parameters that their type cannot hold; of ordinary data,
    # rounding them costs far less than one roundoff of the objective
    allowed = max(MAX_EXCESS * request.tol**2, objective.rounding, torch.finfo(request.dtype).eps)

    converged = torch.tensor([how is Status.CONVERGED for how in outcome.status])
    spoiled = converged.to(gap.device) & gap.isnan() & (increase > allowed)
    if not request.bound:  # a coercive objective has a gap, which was not asked for
        spoiled &= ~objective.penalty.coercive(objective.reg_strength)

    def ended(how: Status, is_spoiled: bool) -> Status:
        if is_spoiled:
            return Status.PRECISION
        return status if how is Status.MAX_ITER else how

    return FitResult.of(
        outcome,
        params,
        objective,
        status=tuple(map(ended, outcome.status, spoiled.tolist())),
        optimality=torch.where(spoiled, increase.sqrt(), outcome.optimality),
        n_passes=outcome.n_passes + objective.data.n_passes - reads,
        duality_gap=gap,
    )


def _choose_solver(request: FitRequest, objective: Objective) -> Solver:
    """Return a solver that can minimise the objective, or continue what another one began."""
    solver, smooth = request.solver, request.effective_penalty.smooth
    if trains_in_epochs(solver):
        auto: Any = _choose_solver(replace(request, solver="auto"), objective)
        return replace(auto, on_interrupt=solver.on_interrupt)
    if solver == "auto":
        return SOLVERS[choose_solver(objective, smooth)]()
    chosen: Any = SOLVERS[solver]() if isinstance(solver, str) else solver
    if isinstance(chosen, NewtonCholesky) and smooth:
        plan = choose_curvature(objective)
        if not plan.last.exact:
            return NewtonCG(**chosen.resuming())
        # a Hessian for every model at every step has to fit: else they get theirs in turn
        fits = len(objective.reg_strength) <= plan.max_models()
        return chosen if fits else LBFGS(**chosen.resuming())
    if "smooth" in chosen.requires and not smooth:
        raise ValueError(
            f"{type(chosen).__name__} needs a smooth penalty, and this one is not; "
            "use solver='auto' or ProximalNewton()."
        )
    return chosen


def _centered(request: FitRequest, params: Params) -> Params:
    return centered(params, request.effective_penalty, 1 / request.C)


def centered(params: Params, penalty: Penalty, reg_strength: Tensor) -> Params:
    """Remove what is not determined: a constant added to the parameters of all classes.

    Under a smooth penalty the coefficients of the minimiser sum to zero by themselves, and this
    removes rounding. Models of two classes have one row of coefficients, which is determined.
    """
    if params.coef.shape[1] == 1:
        return params
    mean = params.intercept.mean(dim=1, keepdim=True)
    return Params(penalty.balanced(params.coef, reg_strength), params.intercept - mean)
