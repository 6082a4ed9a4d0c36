"""When a model stops: convergence, exhausted precision, an optimum at infinity."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from skorch_logreg.curvature.cholesky import rounding_shift
from skorch_logreg.objective import (
    MAX_EXCESS,
    ROUNDING_DISTANCE,
    SUM_RTOL,
    VALUE_ROUNDING,
    Objective,
    Point,
    duality_gap,
    gap_rounding,
    gradient_rounding,
    is_resolved,
)
from skorch_logreg.recession import keeps_saturated_rows, saturated_models
from skorch_logreg.solvers.choose import needs_hessian
from skorch_logreg.solvers.long_steps import loss_after_long_step, missed_ahead
from skorch_logreg.solvers.outcome import FinalPoint, Status
from skorch_logreg.solvers.protocol import Solver
from skorch_logreg.solvers.smooth import newton_step
from skorch_logreg.solvers.unbounded import (
    free_columns,
    hides_curvature,
    rare_classes,
    recession_directions,
    saturation_limit,
    separating_directions,
)
from skorch_logreg.subproblems.quadratic import MAX_STALLS

_NEAR = 1e-2  # optimality below which models and steps are checked for an optimum at infinity
_QUIET_FAR = SUM_RTOL**0.5  # optimality below which rounding makes that check unreliable


@dataclass(frozen=True)
class RunState:
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
    least : tuple of tuple of float
        Least value, and least decrement, of each model before the current state.
    before : tuple of float
        Optimality before the last step with low-precision products.
    quiet : tuple of (bool or None)
        True if a step has shown that a model does not diverge to infinity, False if that can no
        longer be shown, None if it is open.
    missed : tuple of float
        Suboptimality that the decrement of the last step may not count.
    final_points : tuple of FinalPoint
        Final points of the models that have stopped.
    """

    objective: Objective
    state: Any
    models: tuple[int, ...]
    stalls: tuple[int, ...]
    first: int
    n_iter: int
    least: tuple[tuple[float, ...], ...]
    before: tuple[float, ...]
    quiet: tuple[bool | None, ...]
    missed: tuple[float, ...]
    final_points: tuple[FinalPoint, ...] = ()

    @property
    def least_so_far(self) -> tuple[tuple[float, ...], ...]:
        """`least` with the current state."""
        now = self.state.point.value.tolist(), self.state.decrement.tolist()
        return tuple(tuple(map(min, *ends)) for ends in zip(self.least, now, strict=True))


@dataclass(frozen=True)
class StoppingRule:
    """Decide which models of a run stop, and why.

    ``whole`` is the objective of all models, ``proof`` whether convergence has to be confirmed.
    """

    whole: Objective
    tol: float
    max_iter: int
    proof: bool

    def status(
        self, run: RunState, reached: list[float]
    ) -> tuple[list[Status | None], list[Tensor | None]]:
        """Return the status of models that stop, and directions of recession of separable ones."""
        state = run.state
        exhausted = self._exhausted(run)
        converged = [
            trusted and r <= self.tol
            for r, trusted in zip(reached, state.trusted.tolist(), strict=True)
        ]
        status = [Status.CONVERGED if c else e for c, e in zip(converged, exhausted, strict=True)]
        directions = self._recession_directions(run, status, reached)
        value = state.point.value.tolist()
        for i, direction in enumerate(directions):
            if direction is not None:
                status[i] = Status.SEPARABLE
            elif converged[i] and run.missed[i] > self._allowed * value[i]:
                value[i] = max(value[i], torch.finfo(torch.float64).tiny)
                status[i], reached[i] = exhausted[i], math.sqrt(run.missed[i] / value[i])
            elif converged[i] and (hidden := self._hidden_by_rounding(run, i)):
                status[i], reached[i] = exhausted[i], math.sqrt(hidden)
        return status, directions

    def _exhausted(self, run: RunState) -> list[Status | None]:
        """Return the status of models that stop without convergence."""
        return [
            Status.PRECISION
            if stalls >= MAX_STALLS
            else Status.MAX_ITER
            if run.n_iter >= self.max_iter
            else None
            for stalls in run.stalls
        ]

    @property
    def _allowed(self) -> float:
        """What decrements may miss, relative to the objective, of models that stop."""
        return max(self.tol**2, VALUE_ROUNDING)

    def _may_stop_after(self, run: RunState, state: Any, left: Tensor) -> Tensor:
        """Return True for models that may stop at a state, whose decrements miss ``left`` (m,).

        The others are asked after their next step, since the answer costs passes.
        """
        stops = [how is not None for how in self._exhausted(run)]
        exhausted, near = torch.tensor(
            [stops, [r <= self.tol for r in optimality(state)]], device=left.device
        )
        # below that, the next step may be one of rounding errors
        near &= state.decrement > ROUNDING_DISTANCE * state.point.value
        few = left <= self._allowed * state.point.value
        return torch.where(left > 0, few | exhausted, near)

    def after_step(
        self, run: RunState, state: Any, stalls: tuple[int, ...], n_steps: int = 1
    ) -> RunState:
        """Return a run with the state after a step, and what the step says about both."""
        after = replace(run, stalls=stalls, n_iter=run.n_iter + n_steps, least=run.least_so_far)
        state, missed = self._doubted(after, state)
        quiet = self._updated_quiet(run, state, missed)
        return replace(after, state=state, quiet=quiet, missed=missed)

    def _doubted(self, run: RunState, state: Any) -> tuple[Any, tuple[float, ...]]:
        """Doubt decrements after steps along which the curvature may have changed.

        Only a Hessian of the point itself is trusted after such a step, and what its decrement may
        miss is returned as well. A duality gap is a bound anywhere.
        """
        objective, penalty, point = run.objective, run.objective.penalty, state.point
        none = (0.0,) * len(run.models)
        if state is run.state:  # the step overflowed
            return state, run.missed
        if not self.proof:
            return state, none
        if not penalty.smooth:
            fall = (run.state.point.value - point.value) / MAX_EXCESS
            return state, self._uncounted(run, state, fall)
        if min(optimality(state)) > self.tol:
            return state, none
        left = loss_after_long_step(objective, run.state.point, point)
        is_newton = torch.tensor(getattr(state, "is_newton", (True,) * len(left)))
        is_newton = is_newton.to(left.device)
        trusted = state.trusted & ((left == 0) | is_newton)
        is_solved = getattr(state, "direction", None) is not None
        is_old = not is_solved and bool((trusted & ~is_newton).any())
        # past steps also measure lost curvature, so that a larger share is needed (flights, where
        # the largest is .017, takes 1.25 times as long with another Hessian)
        if is_old and needs_hessian(objective, 0.05):
            trusted &= is_newton
        # after a short Newton step the next one is shorter; that says nothing of other steps
        asked = trusted & ((left > 0) | ~_is_whole_newton_step(run.state, point))
        asked &= self._may_stop_after(run, state, left)
        missed = torch.maximum(left, self._ahead(objective, state, asked))
        return replace(state, trusted=trusted), tuple(missed.tolist())

    def _uncounted(self, run: RunState, state: Any, fall: Tensor | float) -> tuple[float, ...]:
        """Return what decrements of a penalty that is not smooth may miss.

        ``fall`` is by how much the last step lowered the objective, divided by `MAX_EXCESS`.
        """
        objective = run.objective
        # a gap shows what is left, unless its own rounding is more than that
        bounded = objective.penalty.coercive(objective.reg_strength)
        bounded &= self.tol**2 >= ROUNDING_DISTANCE
        # The next quadratic problem may find what rounding hid in this one. Where the logits of
        # the minimiser differ by r, the decrease may be e r decrements, because the curvature
        # falls by up to a factor of e per unit (Bach 2010, section 2); r is taken to be 37.
        missed = torch.where(bounded, 0.0, (MAX_EXCESS**2 * state.decrement).clamp(min=fall))
        asked = ~bounded & self._may_stop_after(run, state, missed)
        ahead = self._ahead(objective, state, asked)
        return tuple(torch.maximum(missed, ahead).tolist())

    def at_start(self, run: RunState) -> RunState:
        """Return a run with what the decrement of its first state may miss."""
        state = run.state
        if not self.proof or min(optimality(state)) > self.tol:
            return run
        if not run.objective.penalty.smooth:
            return replace(run, missed=self._uncounted(run, state, 0.0))
        missed = self._ahead(run.objective, state, torch.ones_like(state.trusted))
        return replace(run, missed=tuple(missed.tolist()))

    def after_proof(self, run: RunState, state: Any) -> RunState:
        """Return a run with a confirmed state, and what its decrement may miss."""
        missed = run.missed
        if self.proof and run.objective.penalty.smooth:
            left = state.decrement.new_tensor(missed)
            asked = self._may_stop_after(run, state, left)
            ahead = self._ahead(run.objective, state, asked)
            missed = tuple(torch.maximum(left, ahead).tolist())
        return replace(run, state=state, missed=missed)

    def _ahead(self, objective: Objective, state: Any, asked: Tensor) -> Tensor:
        """Return what decrements (m,) may miss if the next steps of some models are long, or 0."""
        step, direction = getattr(state, "solved", None), getattr(state, "direction", None)
        if direction is not None:  # of a smooth solver only some models may have one
            step = direction if step is None else newton_step(state, step)
        if step is None or not bool(asked.any()):
            return torch.zeros_like(state.decrement)
        index = asked.nonzero()[:, 0]
        part, point = objective.select(index), state.point.select(index)
        rest = step[index], state.decrement[index], self.tol
        is_inexact = direction is not None and objective.penalty.smooth
        missed = missed_ahead(part, point, *rest, is_inexact=is_inexact)
        return torch.zeros_like(state.decrement).index_copy(0, index, missed)

    def _updated_quiet(
        self, run: RunState, state: Any, missed: tuple[float, ...]
    ) -> tuple[bool | None, ...]:
        """Update `RunState.quiet`: the models that are known not to diverge to infinity.

        Below `_QUIET_FAR` a model is not checked any more, because rounding may hide its
        divergence. A decrement that grows was too low before, and so was what it has shown. With a
        penalty that is not smooth, a step may leave out the coefficients that diverge, so that
        every step is checked.
        """
        is_open = state is not run.state and state.point.nuisance is None
        if not is_open or not self.proof or not any(self._free):
            return run.quiet
        grown = (state.decrement > run.state.decrement).tolist()
        again = not run.objective.penalty.smooth
        before = [
            None if known and (g or again and reached >= _QUIET_FAR) else known
            for known, g, reached in zip(run.quiet, grown, optimality(state), strict=True)
        ]
        near = max(self.tol, _NEAR)
        figures = zip(optimality(state), self._measured(state, missed), strict=True)
        asked = [
            known is None and measured and reached <= near and self._free[i]
            for i, known, (reached, measured) in zip(run.models, before, figures, strict=True)
        ]
        quiet = [False] * len(asked)
        if any(asked):
            quiet = self._is_quiet(run, replace(state, decrement=_left(state, missed)))
        now = [
            True if ask and found else False if reached < _QUIET_FAR else None
            for ask, found, reached in zip(asked, quiet, optimality(state), strict=True)
        ]
        return tuple(
            new if known is None else known for known, new in zip(before, now, strict=True)
        )

    def _measured(self, state: Any, missed: tuple[float, ...]) -> list[bool]:
        """Return True for models whose decrement, and what it misses, is known after a step."""
        if not self.whole.penalty.smooth:
            return state.trusted.tolist()
        # of the others, `_may_stop_after` leaves open what the decrement misses
        few = state.decrement.new_tensor(missed) <= self._allowed * state.point.value
        return (state.trusted & few).tolist()

    def _hidden_by_rounding(self, run: RunState, model: int) -> float:
        """Return the relative suboptimality that rounding may hide of a converged model, or 0.

        It is that of the duality gap where that is finite; else a predicted decrement may be wrong,
        and 1 is the only bound.
        """
        if not self.proof or run.objective.penalty.smooth:
            return 0.0
        index = torch.tensor([model], device=run.state.decrement.device)
        objective, point = run.objective.select(index), run.state.point.select(index)
        goal, gap = max(self.tol**2, ROUNDING_DISTANCE), 1.0
        if bool(objective.penalty.coercive(objective.reg_strength)):
            error = gap_rounding(point, gradient_rounding(objective, point))
            if bool(error <= self.tol**2 * point.value):
                return 0.0
            gap = float(duality_gap(objective, point) / point.value)
        small = gap <= max(MAX_EXCESS * self.tol**2, ROUNDING_DISTANCE)
        return 0.0 if small or is_resolved(objective, point, goal) else gap

    def _recession_directions(
        self, run: RunState, status: list[Status | None], reached: list[float]
    ) -> list[Tensor | None]:
        """Find directions of recession of models whose objective may have no minimiser."""
        objective, point = run.objective, run.state.point
        free = [self._free[i] for i in run.models]
        none: list[Tensor | None] = [None] * len(free)
        if run.n_iter > run.first and not any(free) and not any(status):
            return none
        asked = [f and s is not Status.CONVERGED for f, s in zip(free, status, strict=True)]
        if run.n_iter == run.first:  # classes without weight are visible at the start
            rare = rare_classes(objective, point)
            asked = [a or r for a, r in zip(asked, rare, strict=True)]
        directions = separating_directions(objective, point, asked) if any(asked) else none
        near = [
            i
            for i, how in enumerate(status)
            if directions[i] is None
            and (
                how is not None
                and reached[i] <= max(_NEAR, self.tol)
                # coefficients within bounds may separate rows that others separate in the end
                or free[i]
                and reached[i] > _NEAR
                and float(point.value[i]) <= VALUE_ROUNDING * self._total_weight[run.models[i]]
            )
        ]
        if near and self.proof:
            quiet = [
                known and how is Status.CONVERGED
                for known, how in zip(run.quiet, status, strict=True)
            ]
            doubted = [f and not q for f, q in zip(free, quiet, strict=True)]
            left = _left(run.state, run.missed)
            found = recession_directions(objective, point, left, near, doubted)
            for i, direction in zip(near, found, strict=True):
                directions[i] = direction
        return directions

    def _is_quiet(self, run: RunState, state: Any) -> list[bool]:
        before, point = run.state.point, state.point
        # Rounding and the shift of a factor add a share of the largest curvature to that along any
        # direction. Where the curvature along this step or the next one is below the root of this
        # share, steps may be too short and decrements too low: neither proves a minimiser.
        share = rounding_shift(point.params[0].numel())
        least = 0.5 * share**0.5 * point.value
        solved = getattr(state, "solved", None)
        hidden = least * (point.params - before.params).square().sum(dim=(1, 2))
        sound = (hidden <= run.state.decrement) & ~hides_curvature(point)
        if solved is not None:
            sound &= least * solved.square().sum(dim=(1, 2)) <= state.decrement
        limit = saturation_limit(point, state.decrement)
        saturated = saturated_models(run.objective, point, limit)
        if not any(saturated):
            return sound.tolist()
        exact = torch.tensor(getattr(run.state, "is_newton", (False,) * len(saturated)))
        exact = exact.to(point.params.device)
        if bool(exact.any()):
            whole = (point.params == before.params - run.state.solved).flatten(1).all(dim=1)
            sound &= whole | ~exact  # a part of a Newton step changes rows by that part only
            exact = exact & whole
        kept = keeps_saturated_rows(run.objective, before.logits, point, limit, exact)
        # no step follows the curvature of rows that they hide
        hidden_rows = saturated_models(
            run.objective, point, saturation_limit(point, share * point.value)
        )
        found = zip(kept, sound.tolist(), hidden_rows, strict=True)
        return [k and s and not h for k, s, h in found]

    @cached_property
    def _free(self) -> list[bool]:
        return free_columns(self.whole)

    @cached_property
    def _total_weight(self) -> list[float]:
        total: Tensor = self.whole.data.weight.sum(dim=0)
        return total.expand(len(self.whole.reg_strength)).tolist()


def proven(solver: Solver, objective: Objective, state: Any, tol: float) -> tuple[Any, list[float]]:
    """Compute the optimality of all models; confirm those that would stop on a prediction."""
    reached = optimality(state)
    doubted = [
        i
        for i, (r, trusted) in enumerate(zip(reached, state.trusted.tolist(), strict=True))
        if r <= tol and not trusted
    ]
    if doubted:
        state = solver.confirm(objective, state, doubted)
        reached = optimality(state)
    return state, reached


def optimality(state: Any) -> list[float]:
    """Return ``sqrt(decrement / F)``, the root of the relative suboptimality; infinite for NaN."""
    return list(map(_root_of_ratio, state.decrement.tolist(), state.point.value.tolist()))


def _root_of_ratio(decrement: float, value: float) -> float:
    if decrement <= 0 and value < math.inf:
        return 0.0
    return math.sqrt(decrement / value) if decrement > 0 and 0 < value < math.inf else math.inf


def _is_whole_newton_step(before: Any, point: Point) -> Tensor:
    """Return a mask (m,) of models that a whole step of an exact Hessian has taken to a point."""
    solved, n_models = getattr(before, "solved", None), len(point.params)
    if solved is None:
        return torch.zeros(n_models, dtype=torch.bool, device=point.params.device)
    is_newton = torch.tensor(getattr(before, "is_newton", (True,) * n_models))
    whole: Tensor = (point.params == before.point.params - solved).flatten(1).all(dim=1)
    return whole & is_newton.to(whole.device)


def _left(state: Any, missed: tuple[float, ...]) -> Tensor:
    """Return the decrements (m,), or what they may miss if that is more."""
    return torch.maximum(state.decrement, state.decrement.new_tensor(missed))
