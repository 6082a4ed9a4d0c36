"""State of the solvers of smooth objectives, and updates of its curvatures."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from skorch_logreg.checkpoint import Resumable
from skorch_logreg.curvature import ClassBlocks, Curvature, join
from skorch_logreg.objective import (
    ROUNDING_DISTANCE,
    Objective,
    Point,
    duality_gap,
    duality_gap_nearby,
    inner,
    penalty_gap,
)
from skorch_logreg.solvers.choose import (
    PROOF_RATE,
    CurvaturePlan,
    affords_hessian,
    choose_curvature,
    needs_hessian,
)
from skorch_logreg.solvers.conjugate_gradient import newton_direction
from skorch_logreg.solvers.progress import ModelProgress

# curvature relative to a factor's shift, above which rounding does not hide it
MIN_CURVATURE_RATIO = 1e-4


@dataclass(frozen=True)
class SmoothState:
    """State of a solver of smooth objectives; see `State`.

    ``curvature`` is an approximate inverse Hessian ``B`` of every model and ``solved`` the product
    ``B gradient``, of shape (m, K, p + 1).  ``curvature_scale`` (m,) is the observed ratio of the
    curvature to that of the objective: rows that are classified with more certainty have less
    curvature than where it was built.  ``pairs`` are those of L-BFGS: step, change of the gradient,
    and 1 over their inner product.  ``direction`` holds the Newton directions of the models with
    `has_newton_direction`.
    """

    point: Point
    decrement: Tensor
    trusted: Tensor
    tol: float
    curvature: Curvature
    solved: Tensor
    progress: tuple[ModelProgress, ...]
    curvature_scale: Tensor
    pairs: tuple[tuple[Tensor, Tensor, Tensor], ...] = ()
    direction: Tensor | None = None

    @property
    def is_newton(self) -> tuple[bool, ...]:
        """True for models whose ``solved`` is from the exact Hessian of the point."""
        return tuple(model.plan.exact and model.age == 0 for model in self.progress)

    def select(self, models: Tensor) -> "SmoothState":
        """Return the state of some models."""
        return replace(
            self,
            point=self.point.select(models),
            decrement=self.decrement[models],
            trusted=self.trusted[models],
            curvature=self.curvature.select(models),
            solved=self.solved[models],
            progress=tuple(self.progress[i] for i in models.tolist()),
            curvature_scale=self.curvature_scale[models],
            pairs=tuple((s[models], y[models], rho[models]) for s, y, rho in self.pairs),
            direction=None if self.direction is None else self.direction[models],
        )

    def indices(self, models: Sequence[int]) -> Tensor:
        """Return model indices as a tensor."""
        return torch.tensor(models, device=self.decrement.device)


def n_models_left(progress: Sequence[ModelProgress], plan: CurvaturePlan) -> int:
    """Return the number of further models whose own curvatures fit the memory."""
    return max(plan.max_models() - sum(not model.plan.is_adaptive for model in progress), 0)


def start(objective: Objective, params: Tensor, tol: float) -> SmoothState:
    """Return the state at given parameters, with curvatures built there."""
    return _fresh(objective, objective.evaluate(params), choose_curvature(objective), tol)


def continued(
    objective: Objective, params: Tensor, tol: float, blocks: ClassBlocks | None
) -> SmoothState | None:
    """Return the state of a single model with blocks of another strength; None without any."""
    if blocks is None or len(params) > 1:
        return None
    plan = choose_curvature(objective)
    kept = replace(plan, build=blocks.at_strength)
    state = _fresh(objective, objective.evaluate(params), kept, tol)
    return replace(state, progress=(ModelProgress(plan),))


def _fresh(
    objective: Objective,
    point: Point,
    plan: CurvaturePlan,
    tol: float,
    before: Curvature | None = None,
) -> SmoothState:
    """Return the state at a point with a new curvature, perhaps in the memory of another one."""
    if plan.by_class and isinstance(before, ClassBlocks):
        curvature = plan.build(objective, point, before=before)
    elif plan.is_adaptive or plan.by_class:  # low precision suffices
        curvature = plan.build(objective, point)
    else:  # the point keeps its float32 logits: in float64 they would be taken for exact ones
        curvature = plan.build(objective.exact, point.exact())
    solved = curvature.solve(point.gradient)
    decrement = inner(point.gradient, solved) / 2
    trusted = torch.full_like(decrement, plan.exact, dtype=torch.bool)
    if plan.exact:
        trusted = ~is_damped(curvature, solved, point, decrement, tol)
    progress = (ModelProgress(plan),) * len(decrement)
    curvature_scale = torch.ones_like(decrement)
    return SmoothState(point, decrement, trusted, tol, curvature, solved, progress, curvature_scale)


def is_damped(
    curvature: Curvature, solved: Tensor, point: Point, decrement: Tensor, tol: float
) -> Tensor:
    """Return a mask (m,) of models whose damped factor may hide a decrement above its goal.

    With nearly collinear columns, a direction may have less curvature than the factorisation
    added to the diagonal.
    """
    near = decrement <= tol**2 * point.value
    if not any(near.tolist()):
        return near
    return near & has_damped_step(curvature, solved, point, tol)


def has_damped_step(curvature: Curvature, solved: Tensor, point: Point, tol: float) -> Tensor:
    """Return a mask (m,) of models whose step the shift of the diagonal may have shortened."""
    allowed = MIN_CURVATURE_RATIO * max(tol**2, ROUNDING_DISTANCE)
    return curvature.damping(solved) > allowed * point.value


def renewed(
    objective: Objective,
    state: SmoothState,
    models: Sequence[int],
    plan: CurvaturePlan | None = None,
) -> SmoothState:
    """Return the state with new curvatures of some models, by default by their next plan."""
    plan = plan or state.progress[models[0]].plan.next
    if len(models) == len(state.progress):
        return _fresh(objective, state.point, plan, state.tol, state.curvature)
    index = state.indices(models)
    new = _fresh(objective.select(index), state.point.select(index), plan, state.tol)
    others = [i for i in range(len(state.progress)) if i not in set(models)]
    rest = state.indices(others)
    kept = state.curvature.select(rest)
    progress = list(state.progress)
    for i, model in zip(models, new.progress, strict=True):
        progress[i] = model
    return replace(
        state,
        decrement=state.decrement.index_copy(0, index, new.decrement),
        trusted=state.trusted.index_copy(0, index, new.trusted),
        curvature=join([(rest, kept), (index, new.curvature)]),
        solved=state.solved.index_copy(0, index, new.solved),
        progress=tuple(progress),
        curvature_scale=state.curvature_scale.index_fill(0, index, 1.0),
        pairs=tuple((s, y, rho.index_fill(0, index, 0.0)) for s, y, rho in state.pairs),
    )


def moved(state: SmoothState, point: Point) -> SmoothState:
    """Return the state at the next point, with updated decrements and rates."""
    curvature = state.curvature.at(point)
    solved = curvature.solve(point.gradient)
    ratio = _curvature_ratio(state, point, solved)
    curvature_scale = _curvature_scale(state, ratio)
    decrement = curvature_scale * inner(point.gradient, solved) / 2
    progress = []
    # by the same curvature; a confirmed decrement is not comparable
    before = curvature_scale * inner(state.point.gradient, state.solved) / 2
    figures = zip(decrement.tolist(), before.tolist(), point.value.tolist(), strict=True)
    lost = torch.maximum(_unless_rounded(state, point, ratio), flattening(state.point, point))
    for model, most, (new, old, value) in zip(state.progress, lost.tolist(), figures, strict=True):
        contraction = new / old if old > 0 else 1.0
        progress.append(model.moved(contraction, new / max(state.tol**2 * value, 1e-300), most))
    return replace(
        state,
        point=point,
        curvature=curvature,
        decrement=decrement,
        solved=solved,
        trusted=torch.tensor([model.proven for model in progress], device=decrement.device),
        progress=tuple(progress),
        curvature_scale=curvature_scale,
        direction=None,
    )


def flattening(before: Point, after: Point) -> Tensor:
    """Estimate by how much the curvature decreased along a step, as a factor (m,) of at least 1.

    The curvature at the end is that of the cubic through both values and slopes.  If rows become
    saturated along the step, it is much smaller than the change of the slope suggests, and the
    decrement is too small by the same factor.

    References
    ----------
    Nocedal, Wright (2006). Numerical Optimization, equation 3.59.
    """
    step = after.params - before.params
    first, last = inner(before.gradient, step), inner(after.gradient, step)
    end = 6 * (before.value - after.value) + 2 * first + 4 * last
    larger = torch.maximum(-first, last - first)
    ratio = (larger / end.clamp(min=0.0)).nan_to_num(1.0, torch.inf)
    ratio = ratio.clamp(1.0, 1 / MIN_CURVATURE_RATIO)
    # rounding dominates the values of a very short step
    is_known = larger > ROUNDING_DISTANCE * before.value
    return torch.where(is_known, ratio, 1.0)


def _curvature_ratio(state: SmoothState, point: Point, solved: Tensor) -> Tensor:
    """Estimate the ratio (m,) of the curvature to the objective's along the last step.

    References
    ----------
    Nocedal, Wright (2006). Numerical Optimization, equation 7.20.
    """
    change = point.gradient - state.point.gradient
    seen = inner(point.params - state.point.params, change)
    ratio = (seen / inner(change, solved - state.solved)).nan_to_num(1.0, 1.0, 1.0)
    return torch.where(ratio > 0, ratio, 1.0)


def _unless_rounded(state: SmoothState, point: Point, ratio: Tensor) -> Tensor:
    """Return the ratios of `_curvature_ratio`, and 1 for steps whose slopes are rounding errors."""
    step, change = point.params - state.point.params, point.gradient - state.point.gradient
    is_known = inner(step, change) > ROUNDING_DISTANCE * state.point.value
    return torch.where(is_known, ratio, 1.0)


def _curvature_scale(state: SmoothState, ratio: Tensor) -> Tensor:
    """Return the ratios (m,) to scale decrements with, from those of the last step.

    They are at least 1 except for a diagonal, which says nothing of correlated columns.
    """
    plans = [model.plan for model in state.progress]
    is_known = [plan.exact or plan.is_adaptive for plan in plans]
    is_bounded = [not plan.is_diagonal for plan in plans]
    known, bounded = torch.tensor([is_known, is_bounded], device=ratio.device)
    return torch.where(known | (bounded & (ratio < 1)), 1.0, ratio)


def confirmed(objective: Objective, state: SmoothState, models: Sequence[int]) -> SmoothState:
    """Compute reliable decrements of some models at the same point.

    If the duality gap is small enough, it is the decrement.  Otherwise an exact curvature is
    built if it is affordable, or conjugate gradients compute the decrement.  On an adaptive
    curvature another step is cheaper than either, and confirms the decrement if it contracts.
    """
    state, models = _proven_by_duality(objective, *_with_definite(objective, state, models))
    build: list[int] = []
    ask: list[int] = []
    if not models:
        return state
    n_left = n_models_left(state.progress, state.progress[models[0]].plan)
    needed = needs_hessian(objective)
    for i in models:
        model = state.progress[i]
        plan, is_adaptive = model.plan.next, model.plan.is_adaptive
        is_damped_factor = model.plan.exact and model.age == 0
        # preconditioned by a curvature that was lost, conjugate gradients stop too early; a new
        # diagonal costs less than the Hessian
        lost = model.is_lost and not model.plan.is_diagonal
        pays = affords_hessian(objective, plan, len(models)) or (plan.exact and lost)
        rebuilds = (pays or needed) and not (model.uses_newton_cg or is_damped_factor)
        if rebuilds and (n_left > 0 or not is_adaptive):
            n_left -= is_adaptive
            build.append(i)
        else:
            ask.append(i)
    if build:
        last = state.progress[build[0]].plan.last if needed else None
        state = renewed(objective, state, build, last)
        ask += [i for i in build if not bool(state.trusted[i])]
    for i in ask:
        if state.progress[i].is_lost and state.progress[i].plan.is_diagonal:
            state = renewed(objective, state, [i], state.progress[i].plan)
    return with_newton_directions(objective, state, ask) if ask else state


def _with_definite(
    objective: Objective, state: SmoothState, models: Sequence[int]
) -> tuple[SmoothState, list[int]]:
    """Replace curvatures of some models that a negative decrement shows to be indefinite.

    Returns the state and the models that are left to confirm.
    """
    wrong = [i for i in models if float(state.decrement[i]) < 0 and state.progress[i].plan.fallback]
    while wrong:
        plan = state.progress[wrong[0]].plan.next
        state = renewed(objective, state, [i for i in wrong if state.progress[i].plan.next is plan])
        wrong = [i for i in wrong if state.progress[i].plan is not plan]
    return state, [i for i in models if not bool(state.trusted[i])]


def with_newton_directions(
    objective: Objective, state: SmoothState, models: Sequence[int]
) -> SmoothState:
    """Compute Newton directions and decrements of some models by conjugate gradients."""
    stale = [i for i in models if _has_better_partial(state.progress[i])]
    if stale:
        state = renewed(objective, state, stale)
    progress = list(state.progress)
    for i in models:
        progress[i] = replace(progress[i], has_newton_direction=True)
    index, part, own = state.indices(models), objective, state
    if len(models) < len(progress):
        part = objective.select(index)
        own = state.select(index)
    point = own.point.exact()
    damped = is_damped(own.curvature, own.solved, point, own.decrement, state.tol)
    # a factor that was damped needs more accurate directions
    ratio = MIN_CURVATURE_RATIO if bool(damped.any()) else 1.0
    found = newton_direction(part.exact, point, own.curvature, state.tol, ratio, solved=own.solved)
    old = torch.zeros_like(state.point.params) if state.direction is None else state.direction
    return replace(
        state,
        direction=old.index_copy(0, index, found[0]),
        decrement=state.decrement.index_copy(0, index, found[1]),
        trusted=state.trusted.index_fill(0, index, True),
        progress=tuple(progress),
    )


def newton_step(state: SmoothState, otherwise: Tensor) -> Tensor:
    """Return the available Newton directions, and ``otherwise`` for the other models."""
    ready = [i for i, model in enumerate(state.progress) if model.has_newton_direction]
    if not ready or state.direction is None:
        return otherwise
    if len(ready) == len(state.progress):
        return state.direction
    index = state.indices(ready)
    return otherwise.index_copy(0, index, state.direction[index])


def _has_better_partial(model: ModelProgress) -> bool:
    """Return True if a better curvature that is not exact can be built."""
    plan = model.plan
    if plan.next.exact or plan.follows_points:
        return False
    return model.is_lost or model.rate > PROOF_RATE or plan.is_adaptive


def _proven_by_duality(
    objective: Objective, state: SmoothState, models: Sequence[int]
) -> tuple[SmoothState, list[int]]:
    """Replace the decrement of some models by the duality gap if that meets the goal.

    Returns the state and the models whose convergence the gap does not prove.
    """
    goal = state.tol**2 * state.point.value
    # the penalty's share of the gap needs no pass, and often shows that the gap is too large
    is_small = (penalty_gap(objective, state.point)[0] <= goal).tolist()
    hopeful = [i for i in models if is_small[i]]
    if not hopeful or not objective.penalty.quadratic or objective.is_low_precision:
        return state, list(models)
    index = state.indices(hopeful)
    part, point = objective.select(index), state.point.select(index)
    gap = duality_gap_nearby(part, point) if part.fit_intercept else duality_gap(part, point)
    if gap is None:
        return state, list(models)
    is_proven = gap <= goal[index]
    proven = index[is_proven]
    return replace(
        state,
        decrement=state.decrement.index_copy(0, proven, gap[is_proven]),
        trusted=state.trusted.index_fill(0, proven, True),
    ), [i for i in models if i not in proven.tolist()]


@dataclass(frozen=True)
class SmoothSolver(Resumable):
    """Base class of solvers that start on the curvatures of `choose_curvature`."""

    requires: ClassVar[frozenset[str]] = frozenset({"smooth"})

    def init(self, objective: Objective, params: Tensor, tol: float) -> SmoothState:
        """Return the state at given parameters."""
        return start(objective, params, tol)

    def confirm(
        self, objective: Objective, state: SmoothState, models: Sequence[int]
    ) -> SmoothState:
        """Compute reliable decrements of some models at the same point."""
        return confirmed(objective, state, models)
