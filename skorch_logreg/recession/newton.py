"""Proof by a Newton step that an objective has a minimiser."""

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from skorch_logreg.data import Block
from skorch_logreg.losses import Loss
from skorch_logreg.objective import SUM_RTOL, Objective, Point, loss_hessian, multiply_curvature
from skorch_logreg.recession.saturated import MIN_SHARE

# Newton steps after which a proof is given up, which saves a linear program (letter, C = inf: 0.03
# seconds in place of 32)
_MAX_STEPS = 4
# change of logits along a flat direction that counts as rounding
CONSTANT_LOGIT = torch.finfo(torch.float64).eps ** 0.5


class NewtonStepper(Protocol):
    """Protocol of Newton steps of one model from one Hessian."""

    @property
    def flat(self) -> Tensor:
        """Directions (r, K, p + 1) in which rounding may hide the curvature of some rows."""

    def step(self, gradient: Tensor) -> Tensor:
        """Compute the Newton step (K, p + 1) for a gradient (K, p + 1)."""


@dataclass(frozen=True)
class NewtonSteps:
    """Newton steps of one model over its coefficients without a penalty, from one Hessian."""

    columns: Tensor  # indices of these coefficients among the columns and the intercept
    shape: tuple[int, int]  # (K, p + 1)
    scale: Tensor  # of the coefficients, which makes the Hessian's diagonal 1
    vectors: Tensor  # eigenvectors of the scaled Hessian, without flat directions
    values: Tensor  # their eigenvalues
    flat: Tensor  # as in `NewtonStepper`

    @classmethod
    def at(cls, objective: Objective, point: Point, columns: Tensor) -> "NewtonSteps":
        """Compute the Hessian at a point.

        Notes
        -----
        One pass over X, and ``(K c)^3`` operations.
        """
        n_outputs, width = objective.shape[1:]
        gram = loss_hessian(objective, point, columns)[0]
        total = gram[:, -1, :, -1].diagonal().sum()
        within = torch.cat([columns, columns.new_tensor([width - 1])])
        if n_outputs > 1:  # a constant for all classes has no curvature: add any
            shared = gram.diagonal(dim1=0, dim2=2).sum(dim=-1) / n_outputs**2
            gram = gram + shared[None, :, None, :]
        if not objective.fit_intercept:
            gram, within = gram[:, :-1, :, :-1], columns
        side = n_outputs * len(within)
        matrix = gram.reshape(side, side)
        diagonal = matrix.diagonal()
        scale = torch.where(diagonal > 0, diagonal, 1.0).rsqrt()
        values, vectors = torch.linalg.eigh(matrix * scale * scale[:, None])
        curved = values > SUM_RTOL  # an eigenvalue of less may be a rounding error
        empty = scale.new_zeros(0, n_outputs, width)
        steps = cls(within, (n_outputs, width), scale, vectors[:, curved], values[curved], empty)
        flat = vectors[:, ~curved].T * scale * total.sqrt()
        return replace(steps, flat=steps._whole(flat))

    def _whole(self, part: Tensor) -> Tensor:
        """Return directions (r, K, p + 1) that are zero for coefficients with a penalty."""
        out = part.new_zeros(len(part), *self.shape)
        out[..., self.columns] = part.reshape(len(part), self.shape[0], len(self.columns))
        return out

    def step(self, gradient: Tensor) -> Tensor:
        """Compute the Newton step, as in `NewtonStepper`."""
        flat = gradient[:, self.columns].reshape(-1) * self.scale
        solved = self.vectors @ ((self.vectors.T @ flat) / self.values)
        return self._whole(-(solved * self.scale)[None])[0]


def proves_minimiser(objective: Objective, point: Point, steps: NewtonStepper) -> bool:
    """Return True if Newton steps prove that one model has no direction of recession.

    Let ``r`` be the residuals of the rows, ``V`` their Hessians in the logits and ``u`` the change
    of the logits by the Newton step over all coefficients without a penalty. Then
    ``X'(r + V u) = 0`` over these coefficients. If every entry of ``r + V u`` has the sign of the
    same entry of r, then no direction lowers the loss of a row without raising that of another
    (Stiemke's lemma). Entries that would change their sign are fixed at a share of r, and another
    step with the same Hessian compensates for them. This works unless such rows are the only ones
    that a direction changes.

    Notes
    -----
    One pass over X, and one for every further step.

    References
    ----------
    Albert, Anderson (1984). On the existence of maximum likelihood estimates in logistic
    regression models, Biometrika 71.
    """
    loss = objective.loss
    gradient = objective.loss_gradient(point)[0]
    taken: list[Tensor] = []
    for _ in range(_MAX_STEPS):
        taken.append(steps.step(gradient))
        directions = torch.cat([torch.stack(taken), steps.flat])

        def kernel(
            block: Block, logits: Tensor, directions: Tensor = directions, n: int = len(taken)
        ) -> tuple[Tensor, ...]:
            counts = block.weight > 0
            change = block.matmul(directions)
            sided = loss.one_sided(block.targets)
            residual, diagonal, rank_one = loss.residual_curvature(logits, block.targets)
            left = residual
            for own in change[:, :n].split(1, dim=1):
                left = left + multiply_curvature(diagonal, rank_one, own)
                lost = ~(left / residual >= MIN_SHARE)
                lost = lost if sided is None else lost & sided
                fixed = torch.where(lost, MIN_SHARE * residual, left)
                left = _zero_sum(left, fixed, block.targets, loss)
            others = change[:, n:]
            spread = others.abs().amax(dim=-1)
            if loss.n_outputs > 1:
                spread = others.amax(dim=-1) - others.amin(dim=-1)
            moved = (spread > CONSTANT_LOGIT).any(dim=-1)
            return (
                (lost.any(dim=-1) & counts).sum(),
                (moved[:, None] & counts).sum(),
                block.rmatmul(left * block.weight[..., None]),
            )

        lost, moved, gradient = objective.data.reduce(kernel, point.logits)
        gradient = gradient[0]
        if not int(lost) or int(moved):
            break
    return not int(lost) and not int(moved)


def _zero_sum(free: Tensor, held: Tensor, targets: Tensor, loss: Loss) -> Tensor:
    """Return a dual point with the entries ``held``, adjusted to sum to zero over classes."""
    if loss.n_outputs == 1:
        return held
    share = loss.shares(targets).expand_as(held)
    absent = torch.where(share == 0, held, free)
    own = share.argmax(dim=-1, keepdim=True)
    return absent.scatter_add(-1, own, -absent.sum(dim=-1, keepdim=True))
