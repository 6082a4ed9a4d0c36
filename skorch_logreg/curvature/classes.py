"""Hessian blocks of each class over all columns."""

import math
from dataclasses import dataclass

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

    factor: Tensor  # lower triangles (m, K, q, q); strictly above are the blocks without a penalty
    scale: Tensor  # (m, K, q)
    diagonal: Tensor  # of the blocks, (m, K, q)

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
        for block in blocks:
            block.copy_(block.tril().mT)
        blocks = blocks.unflatten(0, objective.shape[:2])
        return cls._factored(objective, point, blocks, blocks.diagonal(dim1=-2, dim2=-1).clone())

    @classmethod
    def _factored(
        cls, objective: Objective, point: Point, blocks: Tensor, diagonal: Tensor
    ) -> "ClassBlocks":
        """Factor blocks of given diagonals, one by one, below those in the same memory."""
        damping = low_precision_damping(blocks.device, blocks.shape[-1])
        scale = torch.empty_like(diagonal)
        whole = (diagonal + penalty_diagonal(objective, point.params)).flatten(0, 1)
        each = zip(blocks.flatten(0, 1), whole, scale.flatten(0, 1), strict=True)
        for block, own, unit in each:
            lower = block.mT.tril(-1)
            lower.diagonal().copy_(own)
            (factor,), (found,) = scaled_cholesky(lower[None], damping)
            block.triu_(1).add_(factor)
            unit.copy_(found)
        return cls(blocks, scale, diagonal)

    def at_strength(self, objective: Objective, point: Point) -> "ClassBlocks":
        """Return the blocks of the same rows with the penalty of another objective."""
        return self._factored(objective, point, self.factor.clone(), self.diagonal)

    def solve(self, gradient: Tensor) -> Tensor:
        factor, scale = self.factor.flatten(0, 1), self.scale.flatten(0, 1)
        out = solve_scaled(factor, scale, gradient.flatten(0, 1)[..., None]).view_as(gradient)
        # separate blocks violate the zero sum over classes
        return out - out.mean(dim=1, keepdim=True) if out.shape[1] > 1 else out


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
