"""Main loop of all solvers: stopping criteria, non-finite checks, callbacks, checkpoints."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from skorch_logreg.checkpoint import CheckpointWriter
from skorch_logreg.objective import LOW_PRECISION_ROUNDING, Objective
from skorch_logreg.solvers.choose import PROOF_RATE
from skorch_logreg.solvers.long_steps import loss_after_long_step
from skorch_logreg.solvers.outcome import FinalPoint, Outcome, Status
from skorch_logreg.solvers.protocol import Solver
from skorch_logreg.solvers.stalls import count_stalls, stuck_models
from skorch_logreg.solvers.state_io import from_tree, to_tree
from skorch_logreg.solvers.stopping import RunState, StoppingRule, optimality, proven
from skorch_logreg.solvers.verify import ResumedSolver, check_run, is_proven, matches_params


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
    """
    journal = journal or CheckpointWriter(None, {})
    rule = StoppingRule(objective.exact, tol, max_iter, proof)
    loop = _Loop(solver, params, rule, callback, journal)
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


class _Loop:
    """Implementation of `drive`."""

    run: Any = None  # RunState

    def __init__(
        self,
        solver: Solver,
        params: Tensor,
        rule: StoppingRule,
        callback: Callable[[Iterate], bool] | None,
        journal: CheckpointWriter,
    ) -> None:
        self._solver: Any = solver
        self._rule, self._whole = rule, rule.whole
        self._callback, self._journal = callback, journal
        self._params, self._is_single = params, params.shape[0] == 1
        self._earlier = 0  # passes before the run was resumed, less those that check the file
        self._stopped = False
        self._trace: list[tuple[int, float]] = []  # passes and optimality of a single model

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
            state = self._solver.init(objective, self._params, self._rule.tol)
        objective.data.confirm_finite(state.point.value, state.point.gradient)
        m = len(self._params)
        self.run = RunState(
            objective,
            state,
            models=tuple(range(m)),
            stalls=(0,) * m,
            first=n_iter,
            n_iter=n_iter,
            least=_none_yet(m),
            before=(0.0,) * m,
            quiet=(None,) * m,
            missed=(0.0,) * m,
        )

    def _resume(self, objective: Objective, written: dict[str, Any]) -> None:
        """Resume from a checkpoint after checking its points against their parameters."""
        try:
            final_points = from_tree(written["final_points"], objective, objective)
            own, models = objective, tuple(range(len(self._params)))
            for final in final_points:  # in the order in which models stopped
                if len(set(final.models) & set(models)) < len(final.models):
                    raise ValueError(f"{final.models} have ended before")
                kept = [i for i, model in enumerate(models) if model not in final.models]
                models = tuple(models[i] for i in kept)
                own = own.select(self._index(kept))
            trace, knows_largest = written["trace"], bool(written["knows_largest"])
            apart = ("n_passes", "trace", "knows_largest")
            tree = {k: value for k, value in written.items() if k not in apart}
            tree |= {"class": "RunState", "models": models, "final_points": final_points}
            run = from_tree(tree, own, objective)
            points = [
                (self._whole.select(self._index(final.models)), final.point)
                for final in final_points
            ]
            points.append((run.objective, run.state.point))
            check_run(run, points, written["n_passes"])
            self._trace = [(int(passes), float(reached)) for passes, reached in trace]
        except Exception as error:
            raise self._journal.damaged() from error
        if not all(matches_params(part, point) for part, point in points):
            raise self._journal.damaged()
        self.run = run
        self._whole.data.largest_entries(reads=knows_largest)
        # passes that check the file, or were taken before, are not part of the fit
        self._earlier = written["n_passes"] - self._whole.data.n_passes
        self._solver = ResumedSolver(self._solver, self._rule.tol, self._journal.damaged)
        written.clear()

    def prove(self) -> None:
        """Verify, after a resume, that the converged models are optimal at their parameters."""
        if not isinstance(self._solver, ResumedSolver):
            return
        solver, before = self._solver.solver, self._whole.data.n_passes
        if not all(
            is_proven(solver, self._whole, final, self._rule.tol) for final in self.run.final_points
        ):
            raise self._journal.damaged()
        self._earlier -= self._whole.data.n_passes - before

    def _index(self, models: Sequence[int]) -> Tensor:
        return torch.tensor(models, device=self._params.device)

    def run_low_precision(self) -> None:
        """Take the first steps with low-precision products, if the objective has them."""
        run, solver = self.run, self._solver
        if not run.objective.is_low_precision:
            return
        while True:
            reached = optimality(run.state)
            self._call_back(run, reached)
            if self._stopped or run.n_iter >= self._rule.max_iter - 1:
                break
            near = _is_nearly_converged(run.before, reached, self._rule.tol)
            if near and not any(run.missed):
                break
            moved = solver.step(run.objective, run.state)
            stuck = stuck_models(run.least_so_far, moved)
            if None in stuck or all(stuck):
                break
            missed = self._missed_by_long_step(run, moved)
            n_iter, before = run.n_iter + 1, tuple(reached)
            run = replace(run, state=moved, n_iter=n_iter, before=before, missed=missed)
            self._keep(run)
        exact, n_steps = run.objective.exact, 0
        if self._stopped or run.n_iter >= self._rule.max_iter:
            moved = solver.init(exact, run.state.point.params, self._rule.tol)
        else:
            moved, n_steps = solver.step(exact, run.state), 1
            if None in stuck_models(run.least_so_far, moved):
                moved = solver.init(exact, run.state.point.params, self._rule.tol)
        run = self._rule.after_step(replace(run, objective=exact), moved, run.stalls, n_steps)
        # values of low precision are no measure of exact ones
        self._keep(replace(run, least=_none_yet(len(run.models))))

    def _missed_by_long_step(self, run: RunState, moved: Any) -> tuple[float, ...]:
        """Return what decrements may miss after a step with products of low precision.

        At a loose `tol` steps with exact products would have to follow a long step.  Zeros where
        that holds for less than half of the models.
        """
        least, tol, reached = LOW_PRECISION_ROUNDING**0.5, self._rule.tol, optimality(moved)
        near = _is_nearly_converged(tuple(optimality(run.state)), reached, tol)
        open_ = [r > max(PROOF_RATE * tol, least) for r in reached]
        none = (0.0,) * len(reached)
        if not (near and self._rule.proof and tol > least) or 2 * sum(open_) < len(open_):
            return none
        left = loss_after_long_step(run.objective, run.state.point, moved.point)
        left = left.where(left.new_tensor(open_, dtype=torch.bool), 0.0)
        return tuple(left.tolist()) if 2 * int((left > 0).sum()) >= len(left) else none

    def finish(self) -> None:
        """Iterate with exact products until every model has stopped."""
        before = None  # stalls before the last step
        while True:
            run = self.run
            if self._rule.proof:
                state, reached = proven(self._solver, run.objective, run.state, self._rule.tol)
            else:
                state = replace(run.state, trusted=torch.ones_like(run.state.trusted))
                reached = optimality(state)
            if state is not run.state:
                # an unconfirmed decrement may have made the last step look like progress
                stalls = run.stalls
                if before is not None:
                    stalls = count_stalls(before, stuck_models(run.least, state, self._rule.tol))
                self.run = run = self._rule.after_proof(replace(run, stalls=stalls), state)
            if run.n_iter == run.first:
                self.run = run = self._rule.at_start(run)
            if not self._stopped:
                self._call_back(run, reached)
            status, directions = self._rule.status(run, reached)
            if self._stopped:
                status = [Status.STOPPED if s in (None, Status.MAX_ITER) else s for s in status]
            self.run = run = self._without(run, status, reached, directions)
            if not run.models:
                return
            moved = self._solver.step(run.objective, run.state)
            stuck = stuck_models(run.least_so_far, moved, self._rule.tol)
            # after an overflow the previous point is the last valid one
            overflows = None in stuck
            before = None if overflows else run.stalls
            state = run.state if overflows else moved
            self._keep(self._rule.after_step(run, state, count_stalls(run.stalls, stuck)))

    def interrupt(self) -> None:
        """Stop the active models at their current points."""
        run = self.run
        if not run.models:
            return
        m, state, reached = len(run.models), run.state, optimality(run.state)
        if run.objective.is_low_precision:
            state = replace(state, point=run.objective.exact.evaluate(state.point.params))
        status: list[Status | None] = [Status.INTERRUPTED] * m
        self.run = self._without(replace(run, state=state), status, reached, [None] * m)

    def outcome(self, bound: bool) -> Outcome:
        """Collect the results of all models."""
        run = self.run
        single = {"state": run.state, "trace": tuple(self._trace)}
        fields = single if self._is_single else {}
        return Outcome.of(self._whole, run.final_points, self._earlier, bound, **fields)

    def _call_back(self, run: RunState, reached: list[float]) -> None:
        """Record the current iterate, and pass it to the callback, which may stop all models."""
        if self._is_single:
            self._trace.append((self._whole.data.n_passes + self._earlier, reached[0]))
        if self._callback is not None and run.n_iter > run.first:
            params, active = self._params.clone(), (run.models, run.state.point)
            for models, point in (*((end.models, end.point) for end in run.final_points), active):
                params[list(models)] = point.params
            optimality = self._params.new_tensor(reached)
            n_passes = self._whole.data.n_passes + self._earlier
            iterate = Iterate(run.n_iter, params, run.state.point.value, optimality, n_passes)
            self._stopped = bool(self._callback(iterate))

    def _keep(self, run: RunState) -> None:
        """Store the run after an iteration, and write a checkpoint if it is due."""
        self.run = run
        if self._journal.due(run.n_iter):
            tree = to_tree(run)
            del tree["class"], tree["models"]
            tree["n_passes"] = self._whole.data.n_passes + self._earlier
            tree["trace"] = tuple(self._trace)
            tree["knows_largest"] = self._whole.data.largest_entries(reads=False) is not None
            self._journal.write(run.n_iter, tree)

    def _without(
        self,
        run: RunState,
        status: list[Status | None],
        reached: list[float],
        directions: list[Tensor | None],
    ) -> RunState:
        """Return the run without the models that have stopped."""
        if not any(status):
            return run
        kept = [i for i, how in enumerate(status) if how is None]
        gone = [i for i, how in enumerate(status) if how is not None]
        point = run.state.point
        final = FinalPoint(
            tuple(run.models[i] for i in gone),
            point.select(self._index(gone)) if kept else point,
            tuple(reached[i] for i in gone),
            tuple(how for how in status if how is not None),
            run.n_iter,
            tuple(directions[i] for i in gone),
        )
        final_points = (*run.final_points, final)
        if not kept:
            return replace(run, models=(), final_points=final_points)
        index = self._index(kept)
        return replace(
            run,
            objective=run.objective.select(index),
            state=run.state.select(index),
            models=tuple(run.models[i] for i in kept),
            stalls=tuple(run.stalls[i] for i in kept),
            least=tuple(tuple(of[i] for i in kept) for of in run.least),
            quiet=tuple(run.quiet[i] for i in kept),
            missed=tuple(run.missed[i] for i in kept),
            final_points=final_points,
        )


def _none_yet(m: int) -> tuple[tuple[float, ...], ...]:
    return ((math.inf,) * m,) * 2


def _is_nearly_converged(before: tuple[float, ...], reached: list[float], tol: float) -> bool:
    """Return True if low precision cannot improve most models, or one more step suffices."""
    near = [
        r <= max(tol, LOW_PRECISION_ROUNDING**0.5) or r * r <= tol * b
        for b, r in zip(before, reached, strict=True)
    ]
    return 2 * sum(near) >= len(near)
