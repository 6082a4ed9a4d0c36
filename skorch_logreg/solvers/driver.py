"""Main loop of all solvers: stopping criteria, non-finite checks, callbacks, checkpoints."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from skorch_logreg.checkpoint import CheckpointWriter
from skorch_logreg.objective import Objective, far_moves, is_resolved
from skorch_logreg.recession import keeps_saturated_rows, saturated_models, saturation_limit
from skorch_logreg.solvers.outcome import FinalPoint, Outcome, Status
from skorch_logreg.solvers.protocol import Solver
from skorch_logreg.solvers.state_io import from_tree, to_tree
from skorch_logreg.solvers.unbounded import (
    free_columns,
    rare_classes,
    recession_directions,
    separating_directions,
)
from skorch_logreg.solvers.verify import ResumedSolver, check_run, is_proven, matches_params

_STALLS = 4  # steps without progress after which the precision is taken to be exhausted
_ROUNDING = 4e-16  # relative decrease of the objective that is rounding error
_LAST_FALL = 10.0  # fall in the last step, in goals, up to which a decrement without a bound counts
_NEAR = 1e-2  # optimality below which a model that stopped is checked for an optimum at infinity
_QUIET_NEAR = 1e-5  # optimality below which steps are checked for divergence to infinity
_QUIET_FAR = 1e-6  # optimality below which rounding makes that check unreliable
_ROUGH_ITER = 8  # maximum number of steps with float32 products
_ROUGH_TOL = 3e-5  # optimality that is reached with float32 products
_MOST = 0.5  # share of nearly converged models at which products become exact


@dataclass(frozen=True)
class Iterate:
    """Progress after an iteration, as a callback receives it.

    Attributes
    ----------
    n_iter : int
        Number of iterations so far.
    params : Tensor of shape (m, K, p + 1)
        Parameters of all models, including those that have stopped.
    value, optimality : Tensor
        Objective and optimality of the models that have not stopped.
    n_passes : int
        Number of full reads of X so far.
    """

    n_iter: int
    params: Tensor
    value: Tensor
    optimality: Tensor
    n_passes: int


def drive(
    solver: Solver,
    objective: Objective,
    params: Tensor,
    *,
    tol: float,
    max_iter: int,
    n_iter: int = 0,
    callback: Callable[[Iterate], bool] | None = None,
    bound: bool = True,
    journal: CheckpointWriter | None = None,
    written: dict[str, Any] | None = None,
    keep: bool = False,
    state: Any = None,
    proof: bool = True,
) -> Outcome:
    """Iterate until every model has converged or cannot improve.

    A model that has stopped is removed from the batch: the remaining passes become cheaper, and
    the other models cannot change its result.

    Parameters
    ----------
    solver : Solver
        Solver whose steps are iterated.
    objective : Objective
        Objective of all models, possibly with low-precision products.
    params : Tensor of shape (m, K, p + 1)
        Initial parameters.
    tol : float
        Convergence threshold on the optimality.
    max_iter : int
        Maximum number of iterations.
    n_iter : int, default=0
        Number of iterations that led to the initial parameters; they count towards ``max_iter``.
    callback : callable or None
        Called with an `Iterate` after every iteration; all models stop if it returns True.
    bound : bool, default=True
        Whether to compute the duality gap, which costs about two passes; else it is nan.
    journal : CheckpointWriter or None
        Writer of the checkpoint; the file is deleted when the fit is complete.
    written : dict or None
        Content of a checkpoint from which to resume; the dict is emptied.
    keep : bool, default=False
        Whether a KeyboardInterrupt stops the models at their current points instead of being
        raised.
    state : State or None
        State of the solver at the initial parameters, if it is known.
    proof : bool, default=True
        Whether convergence has to be confirmed; False also accepts predicted decrements, for
        results that are only used as a start.

    Returns
    -------
    outcome : Outcome
        Final parameters of all models, with status and certificate.
    """
    journal = CheckpointWriter(None, {}) if journal is None else journal
    loop = _Loop(
        solver,
        objective.exact,
        params,
        tol,
        max_iter,
        callback=callback,
        journal=journal,
        proof=proof,
    )
    try:
        loop.begin(objective, n_iter, written, state)
        objective = objective.exact  # free the memory of the low-precision products
        loop.run_low_precision()
        loop.finish()
        loop.prove()
        found = loop.outcome(bound)
    except KeyboardInterrupt:
        if not keep:
            raise
        if loop.run is None:
            loop.begin(objective, n_iter, written)
        loop.interrupt()
        found = loop.outcome(bound)
    if Status.INTERRUPTED not in found.status:
        journal.finish()
    return found


@dataclass(frozen=True)
class _RunState:
    """State of a drive; replaced as a whole, so that it is consistent at any interrupt.

    Attributes
    ----------
    objective : Objective
        Objective of the active models; its products have low precision in the first steps.
    state : State
        State of the solver for the active models.
    models, stalls : tuple of int
        Indices of the active models, and for each the number of steps without progress in a row.
    first, n_iter : int
        Number of iterations before the drive, and in total.
    before : tuple of float
        Optimality before the last step with low-precision products.
    quiet : tuple of (bool or None)
        True if a step has shown that a model does not diverge to infinity, False if that can no
        longer be shown, None if it is open.
    final_points : tuple of FinalPoint
        Final points of the models that have stopped.
    """

    objective: Objective
    state: Any
    models: tuple[int, ...]
    stalls: tuple[int, ...]
    first: int
    n_iter: int
    before: tuple[float, ...]
    quiet: tuple[bool | None, ...]
    final_points: tuple[FinalPoint, ...] = ()

    @classmethod
    def of(cls, objective: Objective, state: Any, n_iter: int) -> "_RunState":
        m = len(objective.reg_strength)
        return cls(
            objective, state, tuple(range(m)), (0,) * m, n_iter, n_iter, (0.0,) * m, (None,) * m
        )


class _Loop:
    """Implementation of `drive`."""

    run: _RunState | None = None

    def __init__(
        self,
        solver: Solver,
        whole: Objective,
        params: Tensor,
        tol: float,
        max_iter: int,
        *,
        callback: Callable[[Iterate], bool] | None,
        journal: CheckpointWriter,
        proof: bool,
    ) -> None:
        self._solver: Any = solver
        self._whole = whole
        self._tol, self._max_iter = tol, max_iter
        self._callback, self._journal, self._proof = callback, journal, proof
        self._params, self._everyone = params, params.clone()
        self._earlier = 0  # passes before the run was resumed, less those that check the file
        self._stopped = False

    def begin(
        self,
        objective: Objective,
        n_iter: int,
        written: dict[str, Any] | None,
        state: Any = None,
    ) -> None:
        """Start at the initial parameters, or resume from a checkpoint."""
        if written is not None:
            self._resume(objective, written)
            return
        if state is None:
            state = self._solver.init(objective, self._params, self._tol)
        self.run = _RunState.of(objective, state, n_iter)

    def _resume(self, objective: Objective, written: dict[str, Any]) -> None:
        """Resume from a checkpoint after checking its points against their parameters."""
        try:
            final_points = from_tree(written["ends"], objective, objective)
            own, models = objective, tuple(range(len(self._params)))
            for final in final_points:  # in the order in which models stopped
                if len(set(final.models) & set(models)) < len(final.models):
                    raise ValueError(f"{final.models} have ended before")
                kept = [i for i, model in enumerate(models) if model not in final.models]
                models = tuple(models[i] for i in kept)
                own = own.select(self._index(kept))
                self._everyone[list(final.models)] = final.point.params
            run = _RunState(
                own if written["is_rough"] else own.exact,
                from_tree(written["state"], own, objective),
                models,
                written["stalls"],
                written["first"],
                written["n_iter"],
                written["before"],
                written["quiet"],
                final_points,
            )
            points = [
                (self._whole.select(self._index(final.models)), final.point)
                for final in final_points
            ]
            points.append((run.objective, run.state.point))
            check_run(run, points, written["n_passes"])
        except Exception as error:
            raise self._journal.damaged() from error
        if not all(matches_params(part, point) for part, point in points):
            raise self._journal.damaged()
        self.run = run
        # passes that check the file are not part of the fit
        self._earlier = written["n_passes"] - self._whole.data.n_passes
        self._solver = ResumedSolver(self._solver, self._tol, self._journal.damaged)
        written.clear()

    def prove(self) -> None:
        """Verify, after a resume, that the converged models are optimal at their parameters."""
        if not isinstance(self._solver, ResumedSolver):
            return
        solver, before = self._solver.solver, self._whole.data.n_passes
        if not all(
            is_proven(solver, self._whole, final, self._tol) for final in self._at_work.final_points
        ):
            raise self._journal.damaged()
        self._earlier -= self._whole.data.n_passes - before

    def _index(self, models: Sequence[int]) -> Tensor:
        return torch.tensor(models, device=self._params.device)

    def run_low_precision(self) -> None:
        """Take the first steps with low-precision products, if the objective has them."""
        run, solver = self._at_work, self._solver
        if not run.objective.is_low_precision:
            return
        while True:
            reached = _optimality(run.state)
            self._call_back(run, reached)
            steps = run.n_iter - run.first
            if self._stopped or run.n_iter >= self._max_iter - 1 or steps >= _ROUGH_ITER:
                break
            if _is_nearly_converged(run.before, reached, self._tol):
                break
            moved = solver.step(run.objective, run.state)
            if None in _stuck(run.state, moved):
                break
            run = replace(run, state=moved, n_iter=run.n_iter + 1, before=tuple(reached))
            self._keep(run)
        exact, n_iter = run.objective.exact, run.n_iter
        if self._stopped or n_iter >= self._max_iter:
            moved = solver.init(exact, run.state.point.params, self._tol)
        else:
            moved, n_iter = solver.step(exact, run.state), n_iter + 1
            if None in _stuck(run.state, moved):
                moved = solver.init(exact, run.state.point.params, self._tol)
        self._keep(replace(run, objective=exact, state=moved, n_iter=n_iter))

    def finish(self) -> None:
        """Iterate with exact products until every model has stopped."""
        before = None
        while True:
            run, left = self._at_work, None
            if before is not None and self._proof:
                run, left = self._doubted(before, run)
            if self._proof:
                state, reached = _proven(self._solver, run.objective, run.state, self._tol)
            else:
                state = replace(run.state, trusted=torch.ones_like(run.state.trusted))
                reached = _optimality(state)
            if state is not run.state:
                # an unconfirmed decrement may have made the last step look like progress
                stalls = run.stalls if before is None else _stalls(before, state)
                self.run = run = replace(run, state=state, stalls=stalls)
            if not self._stopped:
                self._call_back(run, reached)
            status, directions = self._stopping_status(run, reached, left)
            self.run = run = self._without(run, status, reached, directions)
            if not run.models:
                return
            moved = self._solver.step(run.objective, run.state)
            stuck = _stuck(run.state, moved)
            stalls = _stalls(run, moved)
            # after an overflow the previous point is the last valid one
            overflows = None in stuck
            before = None if overflows else run
            state = run.state if overflows else moved
            quiet = self._updated_quiet(run, state)
            self._keep(replace(run, state=state, n_iter=run.n_iter + 1, stalls=stalls, quiet=quiet))

    def interrupt(self) -> None:
        """Stop the active models at their current points."""
        run = self._at_work
        if not run.models:
            return
        point = run.state.point
        if run.objective.is_low_precision:
            point = run.objective.exact.evaluate(point.params)
        status = (Status.INTERRUPTED,) * len(run.models)
        none = (None,) * len(run.models)
        final = FinalPoint(
            run.models, point, tuple(_optimality(run.state)), status, run.n_iter, none
        )
        self.run = replace(run, models=(), final_points=(*run.final_points, final))

    def outcome(self, bound: bool) -> Outcome:
        """Collect the results of all models."""
        run = self._at_work
        found = Outcome.of(self._whole, run.final_points, self._earlier, bound)
        return replace(found, state=run.state) if len(self._params) == 1 else found

    @property
    def _at_work(self) -> _RunState:
        assert self.run is not None  # it was started or resumed
        return self.run

    def _call_back(self, run: _RunState, reached: list[float]) -> None:
        """Pass the current iterate to the callback, which may stop all models."""
        if self._callback is not None and run.n_iter > run.first:
            self._everyone[list(run.models)] = run.state.point.params
            optimality = self._params.new_tensor(reached)
            n_passes = self._whole.data.n_passes + self._earlier
            iterate = Iterate(
                run.n_iter, self._everyone, run.state.point.value, optimality, n_passes
            )
            self._stopped = bool(self._callback(iterate))

    def _stopping_status(
        self, run: _RunState, reached: list[float], left: Tensor | None
    ) -> tuple[list[Status | None], list[Tensor | None]]:
        """Return the status of models that stop, and directions of recession of separable ones."""
        state = run.state
        status: list[Status | None] = []
        converged = [
            trusted and r <= self._tol
            for r, trusted in zip(reached, state.trusted.tolist(), strict=True)
        ]
        for has_converged, stalls in zip(converged, run.stalls, strict=True):
            if has_converged:
                status.append(Status.CONVERGED)
            elif stalls >= _STALLS:
                status.append(Status.PRECISION)
            elif run.n_iter >= self._max_iter:
                status.append(Status.MAX_ITER)
            else:
                status.append(None)
        directions = self._recession_directions(run, status, reached)
        near = [True] * len(status)
        if left is not None:
            goal = max(self._tol**2, _ROUNDING) * state.point.value
            near = (left <= goal).tolist()
        for i, direction in enumerate(directions):
            if direction is not None:
                status[i] = Status.SEPARABLE
            elif status[i] is Status.CONVERGED and not near[i]:
                status[i] = None
            elif status[i] is Status.CONVERGED and self._hides_curvature(run, i):
                status[i], reached[i] = Status.PRECISION, 1.0
        if self._stopped:
            status = [Status.STOPPED if s in (None, Status.MAX_ITER) else s for s in status]
        return status, directions

    def _hides_curvature(self, run: _RunState, model: int) -> bool:
        """Return True if a predicted decrement may be wrong: without a gap nobody would see it."""
        penalty, strength = run.objective.penalty, run.objective.reg_strength
        if not self._proof or penalty.smooth or bool(penalty.coercive(strength)[model]):
            return False
        index = torch.tensor([model], device=strength.device)
        return not is_resolved(run.objective.select(index), run.state.point.select(index))

    def _recession_directions(
        self, run: _RunState, status: list[Status | None], reached: list[float]
    ) -> list[Tensor | None]:
        """Find directions of recession of models whose objective may have no minimiser."""
        objective, point = run.objective, run.state.point
        free = [self._free[i] for i in run.models]
        if run.n_iter > run.first and not any(free) and not any(status):
            return [None] * len(free)
        asked = [f and s is not Status.CONVERGED for f, s in zip(free, status, strict=True)]
        if run.n_iter == run.first:  # classes without weight are visible at the start
            rare = rare_classes(objective, point)
            asked = [a or r for a, r in zip(asked, rare, strict=True)]
        directions = separating_directions(objective, point, asked)
        near = [
            i
            for i, how in enumerate(status)
            if directions[i] is None and how is not None and reached[i] <= max(_NEAR, self._tol)
        ]
        if near and self._proof:
            quiet = [
                known and how is Status.CONVERGED
                for known, how in zip(run.quiet, status, strict=True)
            ]
            doubted = [f and not q for f, q in zip(free, quiet, strict=True)]
            found = recession_directions(objective, point, run.state.decrement, near, doubted)
            for i, direction in zip(near, found, strict=True):
                directions[i] = direction
        return directions

    def _doubted(self, before: _RunState, run: _RunState) -> tuple[_RunState, Tensor | None]:
        """Doubt decrements after steps along which the curvature may have changed.

        Returns the run, in which only a Hessian of the point itself is still trusted after such a
        step, and the loss (m,) that the decrement of any Hessian may miss; None if nothing is.
        A duality gap is a bound anywhere.
        """
        objective, state = run.objective, run.state
        if min(_optimality(state)) > self._tol:
            return run, None
        penalty = objective.penalty
        if not penalty.smooth:
            if bool(penalty.coercive(objective.reg_strength).all()):
                return run, None
            # the next quadratic problem may find what rounding hid in this one
            return run, (before.state.point.value - state.point.value) / _LAST_FALL
        count, left = far_moves(objective, before.state.point.logits, state.point.logits)
        if not bool(count.any()):
            return run, None
        is_newton = torch.tensor(getattr(state, "is_newton", (True,) * len(count)))
        trusted = state.trusted & ((count == 0) | is_newton.to(count.device))
        return replace(run, state=replace(state, trusted=trusted)), left

    def _updated_quiet(self, run: _RunState, state: Any) -> tuple[bool | None, ...]:
        """Update `_RunState.quiet`: the models that are known not to diverge to infinity.

        Below `_QUIET_FAR` a model is not checked any more, because rounding may hide its
        divergence.
        """
        if state is run.state or not self._proof or not any(self._free):
            return run.quiet
        near = max(self._tol, _QUIET_NEAR)
        figures = zip(_optimality(state), state.trusted.tolist(), strict=True)
        asked = [
            known is None and trusted and reached <= near and self._free[i]
            for i, known, (reached, trusted) in zip(run.models, run.quiet, figures, strict=True)
        ]
        quiet = [False] * len(asked)
        if any(asked):
            quiet = self._is_quiet(run, state)
        now = [
            True if ask and found else False if reached < _QUIET_FAR else None
            for ask, found, reached in zip(asked, quiet, _optimality(state), strict=True)
        ]
        return tuple(
            new if known is None else known for known, new in zip(run.quiet, now, strict=True)
        )

    def _is_quiet(self, run: _RunState, state: Any) -> list[bool]:
        before, point = run.state.point, state.point
        limit = saturation_limit(point, state.decrement)
        saturated = saturated_models(run.objective, point, limit)
        if not any(saturated):
            return [True] * len(saturated)
        exact = torch.tensor(getattr(run.state, "is_newton", (False,) * len(saturated)))
        exact = exact.to(point.params.device)
        if bool(exact.any()):  # full Newton steps only
            whole = (point.params == before.params - run.state.solved).flatten(1).all(dim=1)
            exact = exact & whole
        return keeps_saturated_rows(run.objective, before.logits, point, limit, exact)

    @cached_property
    def _free(self) -> list[bool]:
        return free_columns(self._whole)

    def _keep(self, run: _RunState) -> None:
        """Store the run after an iteration, and write a checkpoint if it is due."""
        self.run = run
        if self._journal.due(run.n_iter):
            tree = {
                "is_rough": run.objective.is_low_precision,
                "state": to_tree(run.state),
                "stalls": run.stalls,
                "first": run.first,
                "n_iter": run.n_iter,
                "before": run.before,
                "quiet": run.quiet,
                "ends": to_tree(run.final_points),
                "n_passes": self._whole.data.n_passes + self._earlier,
            }
            self._journal.write(run.n_iter, tree)

    def _without(
        self,
        run: _RunState,
        status: list[Status | None],
        reached: list[float],
        directions: list[Tensor | None],
    ) -> _RunState:
        """Return the run without the models that have stopped."""
        if not any(status):
            return run
        kept = [i for i, how in enumerate(status) if how is None]
        gone = [i for i, how in enumerate(status) if how is not None]
        device = self._params.device
        point = run.state.point
        if self._callback is not None:
            self._everyone[list(run.models)] = point.params
        final = FinalPoint(
            tuple(run.models[i] for i in gone),
            point.select(torch.tensor(gone, device=device)) if kept else point,
            tuple(reached[i] for i in gone),
            tuple(how for how in status if how is not None),
            run.n_iter,
            tuple(directions[i] for i in gone),
        )
        final_points = (*run.final_points, final)
        if not kept:
            return replace(run, models=(), final_points=final_points)
        index = torch.tensor(kept, device=device)
        objective = run.objective.select(index)
        return replace(
            run,
            objective=objective,
            state=run.state.select(index, objective),
            models=tuple(run.models[i] for i in kept),
            stalls=tuple(run.stalls[i] for i in kept),
            quiet=tuple(run.quiet[i] for i in kept),
            final_points=final_points,
        )


def _is_nearly_converged(before: tuple[float, ...], reached: list[float], tol: float) -> bool:
    """Return True if low precision cannot improve most models, or one more step suffices."""
    near = [
        r <= max(tol, _ROUGH_TOL) or r * r <= tol * b for b, r in zip(before, reached, strict=True)
    ]
    return sum(near) >= _MOST * len(near)


def _proven(
    solver: Solver, objective: Objective, state: Any, tol: float
) -> tuple[Any, list[float]]:
    """Compute the optimality of all models; confirm those that would stop on a prediction."""
    reached = _optimality(state)
    doubted = [
        i
        for i, (r, trusted) in enumerate(zip(reached, state.trusted.tolist(), strict=True))
        if r <= tol and not trusted
    ]
    if doubted:
        state = solver.confirm(objective, state, doubted)
        reached = _optimality(state)
    return state, reached


def _optimality(state: Any) -> list[float]:
    """Return ``sqrt(decrement / F)``, the root of the relative suboptimality."""
    pairs = zip(state.decrement.tolist(), state.point.value.tolist(), strict=True)
    return [math.sqrt(d / f) if d > 0 and f > 0 else 0.0 if d <= 0 else math.inf for d, f in pairs]


def _stuck(before: Any, state: Any) -> list[bool | None]:
    """Return True for models without progress in value and decrement, None after overflow."""
    old = zip(before.point.value.tolist(), before.decrement.tolist(), strict=True)
    new = zip(state.point.value.tolist(), state.decrement.tolist(), strict=True)
    return [
        f1 >= f0 * (1 - _ROUNDING) and d1 > 0.5 * d0
        if math.isfinite(f1) and math.isfinite(d1)
        else None
        for (f0, d0), (f1, d1) in zip(old, new, strict=True)
    ]


def _stalls(before: _RunState, state: Any) -> tuple[int, ...]:
    """Count the steps without progress in a row of each model."""
    return tuple(
        _STALLS if s is None else s * (n + 1)
        for s, n in zip(_stuck(before.state, state), before.stalls, strict=True)
    )
