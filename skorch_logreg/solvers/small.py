"""Newton's method for small data, with as few calls as possible."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from skorch_logreg.checkpoint import Resumable
from skorch_logreg.curvature import ExactHessian
from skorch_logreg.curvature.cholesky import damped_cholesky, rounding_shift
from skorch_logreg.curvature.exact import whole_hessian
from skorch_logreg.data import Block
from skorch_logreg.objective import Objective, Point, inner, penalty_diagonal
from skorch_logreg.solvers.conjugate_gradient import newton_direction
from skorch_logreg.solvers.descent import accept_step
from skorch_logreg.solvers.smooth import MIN_CURVATURE_RATIO, is_damped


@dataclass(frozen=True)
class OneModelState:
    """State of a solver of one model; see `State`.

    ``solved`` is the product ``H^-1 gradient`` of shape (1, K, p + 1).
    """

    point: Point
    decrement: Tensor
    trusted: Tensor
    solved: Tensor
    tol: float

    @property
    def is_newton(self) -> tuple[bool, ...]:
        """True if the next step uses the Hessian of the point."""
        return (True,)

    def select(self, models: Tensor, objective: Objective) -> Self:
        """Return the state unchanged: there is only one model."""
        return self


@dataclass(frozen=True)
class SmallState(OneModelState):
    """State of `SmallNewton`, with the constant diagonal (1, K, p + 1) of the penalty's Hessian."""

    ridge: Tensor


@dataclass(frozen=True)
class SmallNewton(Resumable):
    """`NewtonCholesky` for one model whose rows are one block, with as few calls as possible.

    With a few hundred rows the overhead of calls dominates, so value, gradient and Hessian are
    computed in one pass over the rows, and the Hessian is factored without scaling.
    """

    requires: ClassVar[frozenset[str]] = frozenset({"smooth"})

    def init(self, objective: Objective, params: Tensor, tol: float) -> SmallState:
        """Return the state at given parameters."""
        ridge = penalty_diagonal(objective, params)
        if not objective.fit_intercept:  # any positive value: the gradient is zero there
            ridge[..., -1] = 1.0
        return _at(objective, params, ridge, tol)

    def step(self, objective: Objective, state: SmallState) -> SmallState:
        """Take one Newton step."""
        moved = _at(objective, state.point.params - state.solved, state.ridge, state.tol)
        point, _ = accept_step(objective, state.point, -state.solved, moved.point)
        if point is moved.point:
            return moved
        return _at(objective, point.params, state.ridge, state.tol)

    def confirm(self, objective: Objective, state: SmallState, models: Sequence[int]) -> SmallState:
        """Compute the decrement by conjugate gradients, as the factor was damped."""
        curvature = ExactHessian.build(objective, state.point)
        found = newton_direction(objective, state.point, curvature, state.tol, MIN_CURVATURE_RATIO)
        trusted = torch.ones_like(state.trusted)
        return replace(state, solved=-found[0], decrement=found[1], trusted=trusted)


def _at(objective: Objective, params: Tensor, ridge: Tensor, tol: float) -> SmallState:
    objective = objective.exact
    return _compiled_at(objective, params, ridge, tol) or _torch_at(objective, params, ridge, tol)


def _compiled_at(
    objective: Objective, params: Tensor, ridge: Tensor, tol: float
) -> SmallState | None:
    """Return the state at given parameters by one kernel, or None."""
    if not objective.loss.has_kernel:
        return None
    intercept, shift = objective.fit_intercept, rounding_shift(params.shape[-1])

    def kernel(block: Block) -> tuple[Tensor, ...]:
        return block.logistic_newton(params, ridge, shift=shift, fit_intercept=intercept) or ()

    found = objective.data.reduce(kernel, reads=0)
    if not found:
        return None
    objective.data.reads[0] += 2
    logits, sums, factor, value, decrement = found
    gradient, diagonal, solved = (row.view_as(params) for row in sums)
    point = Point(params, logits, value, gradient)
    trusted = torch.ones_like(decrement, dtype=torch.bool)
    if decrement.item() <= tol**2 * value.item():
        curvature = ExactHessian(
            factor.tril()[None], diagonal.rsqrt()[0], diagonal.new_tensor([shift])
        )
        trusted = ~is_damped(curvature, solved, point, decrement, tol)
    return SmallState(point, decrement, trusted, solved, tol, ridge)


def _torch_at(objective: Objective, params: Tensor, ridge: Tensor, tol: float) -> SmallState:
    loss = objective.loss

    def kernel(block: Block) -> tuple[Tensor, ...]:
        logits = block.matmul(params)
        value, residual = loss.value_residual(logits, block.targets)
        diagonal, rank_one = loss.curvature(logits)
        weight = block.weight[..., None]
        second = None if rank_one is None else rank_one * weight.sqrt()
        return (
            logits,
            (value * block.weight).sum(dim=0),
            block.rmatmul(residual.mul_(weight)),
            block.gram(diagonal * weight, second),
        )

    # counted as two reads, those of a point and of its Hessian
    logits, value, gradient, gram = objective.data.reduce(kernel, reads=2)
    penalty_gradient = params * ridge
    value.add_(inner(penalty_gradient, params), alpha=0.5)
    point = Point(
        params, logits, value, objective.add_penalty_gradient(gradient, penalty_gradient[..., :-1])
    )
    matrix = whole_hessian(objective, gram, ridge)
    # the rounding error of a factor does not depend on the scale of the matrix
    shift = rounding_shift(matrix.shape[-1])
    diagonal = matrix.diagonal(dim1=-2, dim2=-1).mul_(1 + shift)
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if failed.item():
        curvature = ExactHessian(*damped_cholesky(matrix))
        solved = curvature.solve(gradient)
    else:
        curvature = None
        solved = torch.cholesky_solve(gradient.view(1, -1, 1), factor).view_as(gradient)
    decrement = inner(gradient, solved).div_(2)
    trusted = torch.ones_like(decrement, dtype=torch.bool)
    if decrement.item() <= tol**2 * value.item():
        if curvature is None:
            curvature = ExactHessian(factor, diagonal.rsqrt(), diagonal.new_tensor([shift]))
        trusted = ~is_damped(curvature, solved, point, decrement, tol)
    return SmallState(point, decrement, trusted, solved, tol, ridge)
