"""Limited-memory BFGS, preconditioned with a model of the Hessian."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from skorch_logreg.checkpoint import Resumable
from skorch_logreg.objective import Objective, Point, inner
from skorch_logreg.solvers.descent import descend
from skorch_logreg.solvers.smooth import (
    MARGIN,
    SmoothState,
    Track,
    confirmed,
    conjugated,
    flattening,
    is_damped,
    moved,
    newton_step,
    renewed,
    room_left,
    start,
)

_SLOW_STEPS = 30  # remaining steps at which a partial curvature gives way to Newton-CG
_PAIR_NUMBERS = 1 << 26  # in all pairs
_FEW_PAIRS = 3
_FIRST_STEPS = 6
_TIRED = 0.1  # contraction a step that is slow for a curvature which follows
_PATIENCE = 6  # steps after which a rate is known


@dataclass(frozen=True)
class LBFGS(Resumable):
    """Preconditioned limited-memory BFGS.

    The gradient is exact and the curvature cheap: a Hessian model that was factored once, and
    the pairs of the last steps on top.  The model is rebuilt when, at the rate at which the
    decrement falls, the remaining steps would cost more than a new one.  Where no exact Hessian
    is affordable and the rate stays slow, Newton-CG takes over, whose decrement is its proof.

    Parameters
    ----------
    memory : int, default=10
        Pairs that are kept; fewer, from 3, where they would take more than half a gigabyte.
    checkpoint, on_interrupt
        As every solver has them; see `Resumable`.

    References
    ----------
    Nocedal, Wright (2006). Numerical Optimization, algorithm 7.4.

    Examples
    --------
    >>> from skorch_logreg.solvers import LBFGS
    >>> LBFGS(memory=5)
    LBFGS(memory=5)
    """

    requires: ClassVar[frozenset[str]] = frozenset({"smooth"})
    memory: int = 10

    def init(self, objective: Objective, params: Tensor, tol: float) -> SmoothState:
        """State at given parameters."""
        return start(objective, params, tol)

    def step(self, objective: Objective, state: SmoothState) -> SmoothState:
        """One descent step, on new curvatures where the old ones have become too dear."""
        worn = _worn(state.tracks)
        if worn:
            state = renewed(objective, state, worn)
        point = state.point
        direction = newton_step(state, -_two_loop(state))
        last = all(track.age and track.far * track.rate <= 1 for track in state.tracks)
        target, change = descend(objective, point, direction, last)
        pair = _pair(change, target.gradient - point.gradient)
        kept = min(self.memory, max(_PAIR_NUMBERS // (2 * change.numel()), _FEW_PAIRS))
        state = moved(replace(state, pairs=(*state.pairs, pair)[-kept:]), target)
        return self._conjugated(objective, _doubted(point, state))

    def confirm(
        self, objective: Objective, state: SmoothState, models: Sequence[int]
    ) -> SmoothState:
        """Find decrements of the same point that can be trusted."""
        return confirmed(objective, state, models)

    def _conjugated(self, objective: Objective, state: SmoothState) -> SmoothState:
        """State in which Newton-CG has taken over the models that are slow."""
        tracks = tuple(
            replace(track, conjugate=True) if _is_slow(track) else track for track in state.tracks
        )
        models = [i for i, track in enumerate(tracks) if track.conjugate]
        if not models:
            return state
        return conjugated(objective, replace(state, tracks=tracks), models)


def _doubted(before: Point, state: SmoothState) -> SmoothState:
    """State whose decrement is that of the last steps where it is far beyond the curvature's.

    Where rows have become certain since the curvature was built, the objective is flatter than
    it says; the pairs have seen that up to the last step, whose end the values tell.
    """
    goal = state.tol**2 * state.point.value
    near = state.decrement <= goal
    if not bool(near.any()):
        return state
    seen = state.decrement
    if not state.curvature.reads:
        seen = torch.maximum(inner(state.point.gradient, _two_loop(state)) / 2, seen)
    seen = seen * flattening(before, state.point)
    near &= seen > MARGIN * goal
    damped = is_damped(state.curvature, state.solved, state.point, state.decrement, state.tol)
    trusted = state.trusted & ~near & ~damped
    # a proof that was refuted here is none at the next point
    tracks = tuple(
        replace(track, proven=track.proven and kept)
        for track, kept in zip(state.tracks, trusted.tolist(), strict=True)
    )
    return replace(
        state, decrement=torch.where(near, seen, state.decrement), trusted=trusted, tracks=tracks
    )


def _worn(tracks: Sequence[Track]) -> list[int]:
    """Models whose steps left would cost more than a new curvature and its two steps.

    Those with the same way to build one come in one batch.
    """
    candidates = [
        i
        for i, track in enumerate(tracks)
        if track.far > 1
        and not track.directed
        # the first steps are slow whatever the curvature, where a model follows or sees a part
        and track.age >= (_FIRST_STEPS if track.model.follows or not track.model.trust else 1)
    ]
    worn = [i for i in candidates if _is_worn(tracks[i], len(candidates))]
    if not worn:
        return []
    model = tracks[worn[0]].model.next
    worn = [i for i in worn if tracks[i].model.next is model]
    own = [i for i in worn if not tracks[i].model.follows]
    others = [i for i in worn if tracks[i].model.follows]
    return own + others[: room_left(tracks, model)]


def _is_worn(track: Track, n_models: int) -> bool:
    price = track.model.cost(n_models) + 2
    # what a model that follows has cost already, it may cost again: its estimate is no bound
    tired = track.model.follows and track.age > price and track.rate > _TIRED
    return tired or track.steps_left() > price


def _is_last(track: Track) -> bool:
    """Whether a partial model is the best there is."""
    return not track.model.exact and track.model.stronger is None


def _is_slow(track: Track) -> bool:
    """Whether no exact Hessian is affordable and the partial one is not enough."""
    return _is_last(track) and track.age >= _PATIENCE and track.steps_left() > _SLOW_STEPS


def _two_loop(state: SmoothState) -> Tensor:
    """Inverse Hessian estimate times the gradient."""
    if not state.pairs:
        return state.solved
    q = state.point.gradient
    alphas = []
    for s, y, rho in reversed(state.pairs):
        alpha = rho * inner(s, q)[:, None, None]
        q = q - alpha * y
        alphas.append(alpha)
    r = state.curvature.solve(q) * state.stretch[:, None, None]
    for (s, y, rho), alpha in zip(state.pairs, reversed(alphas), strict=True):
        r = r + (alpha - rho * inner(y, r)[:, None, None]) * s
    return r


def _pair(step: Tensor, change: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Keep a pair with its inverse product; 0 where rounding has the last word."""
    product = inner(step, change)
    size = (inner(step, step) * inner(change, change)).sqrt()
    rho = torch.where(product > 1e-14 * size, 1 / product, 0.0)
    return step, change, rho[:, None, None]
