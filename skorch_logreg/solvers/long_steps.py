"""Bound what a Newton decrement misses where a step changes logits by more than 1/2."""

import torch
from torch import Tensor

from skorch_logreg.data import Block
from skorch_logreg.data.tensors import CACHED_ENTRIES, pieces
from skorch_logreg.kernels.logits import loss_of_moved
from skorch_logreg.losses import Loss
from skorch_logreg.objective import ROUNDING_DISTANCE, VALUE_ROUNDING, Objective, Point, inner
from skorch_logreg.solvers.choose import (
    PROOF_RATE,
    affords_hessian,
    choose_curvature,
    needs_hessian,
)
from skorch_logreg.solvers.conjugate_gradient import newton_direction
from skorch_logreg.solvers.proximal import predicted_step
from skorch_logreg.solvers.smooth import MIN_CURVATURE_RATIO, is_damped

# change of a logit in a step, half of that of a Newton step on an exponential, which never ends
MAX_CHANGE = 0.5
_FLAT = torch.finfo(torch.float32).max  # logit without loss and curvature


def loss_after_long_step(objective: Objective, before: Point, point: Point) -> Tensor:
    """Bound the loss (m,) of the logits that a step has changed by more than 1/2; 0 without any.

    For a class it is about its residual, times the logarithm of a probability that is too small.
    X is not read. A change of nuisance parameters is added to that of the logits.
    """
    shift: Tensor | float = 0.0
    if point.nuisance is not None and before.nuisance is not None:
        change = point.nuisance - before.nuisance
        shift = change.cumsum(dim=1).abs().amax(dim=1, keepdim=True)
    loss = objective.at(point).loss

    def kernel(block: Block, before: Tensor, logits: Tensor) -> tuple[Tensor, ...]:
        rows = {"targets": block.targets, "weight": block.weight}
        found = loss_of_moved(loss.kernel, logits, before, MAX_CHANGE, **rows)
        if found is not None:
            return (found,)
        far = _is_far(loss, block, before, logits, shift)
        if not bool(far.any()):
            return (logits.new_zeros(logits.shape[1], dtype=torch.float64),)
        residual, _, rank_one = loss.residual_curvature(logits, block.targets)
        if point.nuisance is not None:
            deficit = -loss.margin(logits, block.targets)[..., None]
        elif rank_one is None:
            deficit = logits * residual.sign()
        else:
            deficit = torch.where(residual < 0, logits.amax(dim=-1, keepdim=True) - logits, 0.0)
        left = residual.abs() * deficit.clamp(min=1.0) * block.weight[..., None]
        # more than zero, because there are such logits
        return (
            torch.where(far, left, 0.0).sum(dim=(0, 2))
            + far.any(dim=2).any(dim=0) * torch.finfo(torch.float64).tiny,
        )

    return objective.data.reduce(kernel, before.logits, point.logits, reads=0)[0]


def missed_ahead(
    objective: Objective,
    point: Point,
    step: Tensor,
    decrement: Tensor,
    tol: float,
    *,
    is_inexact: bool = False,
) -> Tensor:
    """Bound what decrements miss of the distance to the minimum if the next step is long.

    An inexact step, of conjugate gradients, may leave out what is long of the Newton step: that is
    computed where its Hessian costs less than a few passes.

    Returns (m,) the loss of the logits that the step changes by more than 1/2, plus the decrement
    of the objective without them; 0 if it changes none.

    Notes
    -----
    Along a change of a logit by ``t`` its curvature may fall by a factor of ``exp(-t)``, so that
    a small decrement may hide that the minimum is far away.  The terms of these logits are at
    least 0, as if they were infinite; where a target between 0 and 1 makes them grow, all of the
    objective counts.  For changes below 1/2 the decrease is at most 1.3 decrements.  Without some
    of the curvature the step is longer, so that it is measured again.  Where the Hessian for that
    costs more than further steps, all of the objective counts until the decrement is small;
    conjugate gradients then take the place of the Hessian.

    References
    ----------
    Bach (2010). Self-concordant analysis for logistic regression, section 2.
    """
    objective, point = objective.exact, point.exact()
    missed = torch.zeros_like(decrement)
    is_short = not is_inexact and _is_short(objective, step, reads=False)
    if is_short or _all_near(objective, point, decrement, is_inexact):
        return missed
    is_expensive = objective.penalty.smooth and _is_expensive(objective)
    if is_inexact and not is_expensive:
        own = [(objective.select(some), point.select(some)) for some in _in_parts(objective)]
        exact = [_newton_step(*of, tol, is_expensive) for of in own]
        step, missed = (torch.cat(parts) for parts in zip(*exact, strict=True))
    if _is_short(objective, step, reads=True):
        return missed
    flat, far = _flattened(objective, point, point.logits + objective.logits(step), point.logits)
    models = far.nonzero()[:, 0]
    if not len(models):
        return missed
    # two steps cost less than to measure it again (300,000 x 50 and 20 classes at tol=1e-2)
    least = max((PROOF_RATE * tol) ** 2, ROUNDING_DISTANCE)
    if is_expensive and bool((decrement > least * point.value).any()):
        return torch.where(far, point.value, missed)
    for some in (models[part] for part in _in_parts(objective.select(models))):
        part, at = objective.select(some), point.select(some)
        found = _missed(part, at, flat[:, some], tol, is_expensive)
        missed[some] = torch.where(found < at.value, found, at.value)  # it decreases by no more
    return missed


def _all_near(objective: Objective, point: Point, decrement: Tensor, is_inexact: bool) -> bool:
    """Return True if a Newton step surely changes no logit by more than 1/2; X is not read.

    The curvature of a row along the step is at most that of the objective, two decrements.  One of
    an inexact step may be too small, by the factor by which the least curvature of a row is less
    than that of the preconditioner, at most 1/4.
    """
    loss = objective.at(point).loss
    least = (2 / MAX_CHANGE) ** 2 * decrement[:, None]  # twice as much as needed

    def kernel(block: Block, logits: Tensor) -> tuple[Tensor, ...]:
        n_rows, found = len(logits), torch.zeros(1, dtype=torch.float64, device=logits.device)
        # most often there is such a row among the first ones
        for rows in pieces(0, n_rows, max(CACHED_ENTRIES * n_rows // logits.numel(), 1)):
            curvature = loss.curvature(logits[rows], block.targets[rows])[0]
            weight = block.weight[rows, :, None]
            share = (4 * curvature).clamp(max=1.0) if is_inexact else 1.0
            if bool(((share * curvature * weight < least) & (weight > 0)).any()):
                return (found + 1.0,)
        return (found,)

    return not bool(objective.data.reduce(kernel, point.logits, reads=0)[0].any())


def _is_expensive(objective: Objective) -> bool:
    """Return True if an exact Hessian takes more than a few passes, and is not needed."""
    plan = choose_curvature(objective).last
    return not (affords_hessian(objective, plan) or needs_hessian(objective))


def _in_parts(objective: Objective) -> tuple[Tensor, ...]:
    """Divide models into parts whose Hessians fit the memory."""
    models = torch.arange(len(objective.reg_strength), device=objective.reg_strength.device)
    if not objective.penalty.smooth:  # their steps are computed one after the other
        return (models,)
    return models.split(choose_curvature(objective).last.max_models())


def _is_short(objective: Objective, step: Tensor, *, reads: bool) -> bool:
    """Return True if the largest entries of columns show that no logit changes by more than 1/2.

    With several classes a logit's change less the mean is at most the range over classes.
    """
    largest = objective.data.largest_entries(reads=reads)
    if largest is None:
        return False
    ends = step.amax(dim=1), step.amin(dim=1)
    size = ends[0] - ends[1] if step.shape[1] > 1 else ends[0].abs()
    return bool((size[:, :-1] @ largest + size[:, -1] <= MAX_CHANGE).all())


def _missed(
    objective: Objective, point: Point, logits: Tensor, tol: float, is_expensive: bool
) -> Tensor:
    """Return what the decrements may miss (m,); some ``logits`` have no curvature."""
    goal = tol**2 * point.value
    while True:
        flat = objective.at_logits(point.params, logits, point.nuisance)
        missed = point.value - flat.value
        # a target between 0 and 1 has its least loss at a finite logit
        is_least = missed >= -VALUE_ROUNDING * point.value
        missed = torch.where(is_least, missed, point.value)
        if not bool((missed <= goal).any()):
            return missed
        step, decrement = _newton_step(objective, flat, tol, is_expensive)
        missed += decrement
        if not bool((missed <= goal).any()):
            return missed
        ahead = point.logits + objective.logits(step)
        logits, far = _flattened(objective, point, ahead, logits)
        if not bool((far & (missed <= goal)).any()):
            return missed


def _newton_step(
    objective: Objective, point: Point, tol: float, is_expensive: bool
) -> tuple[Tensor, Tensor]:
    """Return a Newton step (m, K, p + 1), or one on the penalty, and its decrement (m,)."""
    if not objective.penalty.smooth:
        return predicted_step(objective, point)
    plan = choose_curvature(objective)
    if is_expensive:
        return newton_direction(objective, point, plan.build(objective, point), tol)
    curvature = plan.last.build(objective, point)
    solved = curvature.solve(point.gradient)
    decrement = inner(point.gradient, solved) / 2
    if bool(is_damped(curvature, solved, point, decrement, tol).any()):
        ratio = MIN_CURVATURE_RATIO
        return newton_direction(objective, point, curvature, tol, ratio, solved=solved)
    return -solved, decrement


def _flattened(
    objective: Objective, point: Point, other: Tensor, flat: Tensor
) -> tuple[Tensor, Tensor]:
    """Replace logits of ``flat`` by infinite ones where two others differ by more than 1/2.

    Large numbers stand for infinity.  Also returns a mask (m,) of models with new ones.
    """
    loss = objective.at(point).loss
    out = torch.empty_like(flat)

    def kernel(block: Block, *rows: Tensor) -> tuple[Tensor, ...]:
        other, logits, flat, out = rows
        far = _is_far(loss, block, other, logits) & (flat.abs() < _FLAT)
        out.copy_(flat)
        if bool(far.any()):
            residual = loss.residual_curvature(logits, block.targets)[0]
            out.masked_fill_(far & (residual < 0), _FLAT).masked_fill_(
                far & (residual >= 0), -_FLAT
            )
        return (far.sum(dim=(0, 2)).to(torch.float64),)

    (count,) = objective.data.reduce(kernel, other, point.logits, flat, out, reads=0)
    return out, count > 0


def _is_far(
    loss: Loss, block: Block, other: Tensor, logits: Tensor, shift: Tensor | float = 0.0
) -> Tensor:
    """Return a mask (rows, m, K) of logits that differ by more than 1/2, less their mean change."""
    change = other - logits
    if loss.n_outputs > 1 and bool((change.abs() > MAX_CHANGE / 2).any()):
        _, share = loss.curvature(logits)
        if share is not None:
            change -= (share * change).sum(dim=-1, keepdim=True)
    return (change.abs() + shift > MAX_CHANGE) & (block.weight > 0)[..., None]
