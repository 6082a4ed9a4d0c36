"""Newton's method where calls cost more than arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from skorch_logreg.checkpoint import Resumable
from skorch_logreg.curvature import ExactHessian
from skorch_logreg.curvature.cholesky import damped_cholesky
from skorch_logreg.curvature.exact import whole_hessian
from skorch_logreg.data import Block
from skorch_logreg.objective import Objective, Point, inner
from skorch_logreg.solvers.choose import CurvaturePlan
from skorch_logreg.solvers.conjugate_gradient import newton_direction
from skorch_logreg.solvers.descent import accept_step
from skorch_logreg.solvers.smooth import MIN_CURVATURE_RATIO, is_damped

_SHIFT = 1e-14  # of the diagonal, a row of the matrix: what makes a singular one definite


@dataclass(frozen=True)
class SmallState:
    """State of `SmallNewton`; see `State`.

    Attributes
    ----------
    point, decrement, trusted
        As `State` has them.
    solved : Tensor of shape (1, K, p + 1)
        ``H^-1 gradient``.
    ridge : Tensor of shape (1, K, p + 1)
        Diagonal of the penalty's Hessian, the same everywhere.
    tol : float
        The optimality that will be asked for.
    """

    point: Point
    decrement: Tensor
    trusted: Tensor
    solved: Tensor
    ridge: Tensor
    tol: float

    @property
    def is_newton(self) -> tuple[bool, ...]:
        """Yes: the next step is from the Hessian of the point."""
        return (True,)

    def select(self, models: Tensor, objective: Objective) -> Self:
        """Keep the one model."""
        return self


@dataclass(frozen=True)
class SmallNewton(Resumable):
    """`NewtonCholesky` of one model, over rows that are one block, with as few calls as will do.

    A fit of a few hundred rows consists of calls: value, gradient and Hessian come from one
    look at the rows, and the Hessian is factored as it is.
    """

    requires: ClassVar[frozenset[str]] = frozenset({"smooth"})

    def init(self, objective: Objective, params: Tensor, tol: float) -> SmallState:
        """State at given parameters."""
        ridge = objective.penalty_diagonal(params)
        if not objective.fit_intercept:  # which is zero, and of no consequence
            ridge[..., -1] = 1.0
        return _at(objective, params, ridge, tol)

    def step(self, objective: Objective, state: SmallState) -> SmallState:
        """One Newton step."""
        moved = _at(objective, state.point.params - state.solved, state.ridge, state.tol)
        point, _ = accept_step(objective, state.point, -state.solved, moved.point)
        if point is moved.point:
            return moved
        return _at(objective, point.params, state.ridge, state.tol)

    def confirm(self, objective: Objective, state: SmallState, models: Sequence[int]) -> SmallState:
        """Find the decrement with conjugate gradients: the factor was damped."""
        curvature = ExactHessian.build(objective, state.point)
        found = newton_direction(objective, state.point, curvature, state.tol, MIN_CURVATURE_RATIO)
        trusted = torch.ones_like(state.trusted)
        return replace(state, solved=-found[0], decrement=found[1], trusted=trusted)


def is_applicable(objective: Objective, plan: CurvaturePlan) -> bool:
    """Whether `SmallNewton` can minimise a smooth objective, of which ``model`` is the best."""
    single = len(objective.reg_strength) == 1 and objective.data.whole is not None
    return (
        single
        and objective.offset is None
        and plan.build == ExactHessian.build
        and objective.penalty.quadratic
    )


def _at(objective: Objective, params: Tensor, ridge: Tensor, tol: float) -> SmallState:
    objective = objective.exact
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

    # two reads, as those of a point and its Hessian are where they do not share one
    logits, value, gradient, gram = objective.data.reduce(kernel, reads=2)
    penalty_gradient = params * ridge
    value.add_(inner(penalty_gradient, params), alpha=0.5)
    point = Point(
        params, logits, value, objective.add_penalty_gradient(gradient, penalty_gradient[..., :-1])
    )
    matrix = whole_hessian(objective, gram, ridge)
    # what a factor loses by rounding does not depend on the scale of the matrix
    shift = _SHIFT * matrix.shape[-1]
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
    return SmallState(point, decrement, trusted, solved, ridge, tol)
