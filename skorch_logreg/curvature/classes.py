"""Hessian blocks of each class over all columns."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skorch_logreg.curvature.cholesky import (
    drop_intercept,
    low_precision_damping,
    scaled_cholesky,
    solve_scaled,
)
from skorch_logreg.curvature.protocol import Curvature
from skorch_logreg.data import Block, InMemory
from skorch_logreg.data.tensors import pieces
from skorch_logreg.data.threads import map_blocks, thread_count
from skorch_logreg.objective import Objective, Point, penalty_diagonal

_GOLDEN_RATIO = (math.sqrt(5) - 1) / 2  # its multiples modulo 1 are the most evenly spread ones


@dataclass(frozen=True)
class ClassBlocks(Curvature):
    """Hessian blocks of each class, without the coupling between classes.

    Conjugate gradients preconditioned by these need 3 products where ``X'X`` needs 24, since the
    blocks differ by more than a factor.  Most rows have little weight in the block of a class, so
    that a sample drawn by weight stands for all of them.
    """

    factor: Tensor
    scale: Tensor
    ridge: Tensor  # diagonal of the penalty's Hessian

    @classmethod
    def build(cls, objective: Objective, point: Point, n_rows: int | None = None) -> "ClassBlocks":
        """Factor low-precision blocks at a point in one pass over X.

        Each is the sum over at most about ``n_rows`` rows; None means all rows.
        """
        data = objective.data.exact
        weight, total = _weights(objective, point)
        least = None if n_rows is None else total.reshape(-1, 1) / n_rows
        place = torch.arange(data.n_samples, dtype=torch.float64, device=data.device)
        place = data.beside(place.mul_(_GOLDEN_RATIO).frac_())
        side = objective.shape[2]
        blocks = torch.empty(total.numel(), side, side, dtype=torch.float32, device=data.device)

        def fill(classes: slice) -> None:
            def product(block: Block, weight: Tensor, place: Tensor) -> tuple[Tensor, ...]:
                flat = weight.flatten(1)[:, classes].T
                flat = flat.to(torch.float32, memory_format=torch.contiguous_format)
                if least is not None:
                    thin(flat, least[classes].float(), place.float())
                return (block.bfloat16_grams(flat.T),)

            reads = int(classes.start == 0)  # the threads read the same rows
            blocks[classes] = data.reduce(product, weight, place, reads=reads, few=True)[0]

        # threads that take some classes need less memory than those that add all up over some rows
        n_parts = 2 * thread_count() if isinstance(data, InMemory) else 1
        map_blocks(fill, [*pieces(0, len(blocks), -(-len(blocks) // n_parts))])
        if not objective.fit_intercept:
            drop_intercept(blocks)
        ridge = penalty_diagonal(objective, point.params)
        return cls._factored(blocks, ridge, ridge)

    @classmethod
    def _factored(cls, blocks: Tensor, change: Tensor, ridge: Tensor) -> "ClassBlocks":
        """Factor blocks after a change of their diagonals, one by one in their own memory."""
        blocks.diagonal(dim1=-2, dim2=-1).add_(change.flatten(0, 1))
        damping = low_precision_damping(blocks.device, blocks.shape[-1])
        scale = blocks.new_empty(blocks.shape[:2])
        for k in range(len(blocks)):
            (blocks[k],), (scale[k],) = scaled_cholesky(blocks[k : k + 1], damping)
        return cls(blocks, scale, ridge)

    def at_strength(self, objective: Objective, point: Point) -> "ClassBlocks":
        """Return the blocks of the same rows with the penalty of another objective."""
        blocks = torch.empty_like(self.factor)
        for block, factor, scale in zip(blocks, self.factor, self.scale, strict=True):
            root = factor / scale[:, None]
            torch.mm(root, root.T, out=block)
        ridge = penalty_diagonal(objective, point.params)
        return self._factored(blocks, ridge - self.ridge, ridge)

    def solve(self, gradient: Tensor) -> Tensor:
        flat = gradient.flatten(0, 1)[..., None]
        out = solve_scaled(self.factor, self.scale, flat).view_as(gradient)
        # separate blocks violate the zero sum over classes
        return out - out.mean(dim=1, keepdim=True) if out.shape[1] > 1 else out

    def select(self, models: Tensor) -> "ClassBlocks":
        n_outputs = self.ridge.shape[1]
        rows = (models[:, None] * n_outputs + torch.arange(n_outputs, device=models.device)).ravel()
        return replace(
            self, factor=self.factor[rows], scale=self.scale[rows], ridge=self.ridge[models]
        )


def _weights(objective: Objective, point: Point) -> tuple[Tensor, Tensor]:
    """Compute the second derivatives (n, m, K) of the loss in each logit, and their sums (m, K)."""

    def kernel(block: Block, logits: Tensor, out: Tensor) -> tuple[Tensor, ...]:
        diagonal, rank_one = objective.loss.curvature(logits)
        own = diagonal if rank_one is None else diagonal - rank_one.square()
        torch.mul(own, block.weight[..., None], out=out)
        return (out.sum(dim=0, dtype=torch.float64),)

    out = objective.data.empty_rows(*objective.shape[:2])
    return out, objective.data.reduce(kernel, point.logits, out, reads=0)[0]


def thin(weight: Tensor, least: Tensor, place: Tensor) -> None:
    """Round weights (k, rows) below ``least`` (k, 1) up to it or down to zero, in place.

    A weight is rounded up if its share of ``least`` is above the row's ``place`` (rows,).  Where
    places are evenly spread in [0, 1), sums of weights hardly change.
    """
    kept = weight > least * place
    weight.clamp_(min=least).mul_(kept)
