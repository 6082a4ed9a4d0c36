"""Hessian blocks of each class over all columns."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import itemgetter

import torch
from torch import Tensor

from skorch_logreg.curvature.cholesky import (
    low_precision_damping,
    scaled_cholesky,
    solve_scaled,
)
from skorch_logreg.curvature.protocol import Curvature
from skorch_logreg.data import Block, InMemory
from skorch_logreg.data.tensors import PIECE_ENTRIES, pieces
from skorch_logreg.data.threads import map_blocks, thread_count
from skorch_logreg.objective import Objective, Point, penalty_diagonal, total_curvature

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
    def build(
        cls,
        objective: Objective,
        point: Point,
        n_rows: int | None = None,
        before: "ClassBlocks | None" = None,
    ) -> "ClassBlocks":
        """Factor low-precision blocks at a point in one pass over X.

        Each is the sum over at most about ``n_rows`` rows; None means all rows.  Blocks ``before``
        of rows in memory are overwritten, since two sets of them would not fit.
        """
        total = total_curvature(objective, point.logits)
        least = None if n_rows is None else (total.reshape(-1, 1) / n_rows).float()

        def weights(block: Block, logits: Tensor, index: Tensor) -> Tensor:
            diagonal, rank_one = objective.loss.curvature(logits)
            own = diagonal if rank_one is None else diagonal - rank_one.square()
            flat = own.mul(block.weight[..., None]).flatten(1).T
            flat = flat.to(torch.float32, memory_format=torch.contiguous_format)
            if least is not None:
                thin(flat, least, index.to(torch.float64).mul_(_GOLDEN_RATIO).frac_().float())
            return flat

        if isinstance(objective.data, InMemory):
            blocks = _grams(objective, point, weights, before)
        else:
            data, before = objective.data, None
            index = data.beside(torch.arange(data.n_samples))

            def product(block: Block, logits: Tensor, index: Tensor) -> tuple[Tensor, ...]:
                return (block.bfloat16_grams(weights(block, logits, index).T),)

            blocks = data.reduce(product, point.logits, index, few=True)[0]
        if not objective.fit_intercept:
            blocks[..., -1, :] = 0.0
            blocks[..., -1] = 0.0
        for block in blocks:
            block.copy_(block.tril().mT)
        blocks = blocks.view(*objective.shape[:2], *blocks.shape[1:])
        diagonal = blocks.diagonal(dim1=-2, dim2=-1).clone()
        found = cls._factored(objective, point, blocks, diagonal)
        if before is None:
            return found
        before.scale.copy_(found.scale)
        before.diagonal.copy_(diagonal)
        return replace(found, scale=before.scale, diagonal=before.diagonal)

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
            (factor,), (found,), _ = scaled_cholesky(lower[None], damping)
            block.triu_(1).add_(factor)
            unit.copy_(found)
        return cls(blocks, scale, diagonal)

    def at_strength(self, objective: Objective, point: Point) -> "ClassBlocks":
        """Return the blocks of the same rows with the penalty of another objective.

        They take the memory of these, which are lost.
        """
        return self._factored(objective, point, self.factor, self.diagonal)

    def solve(self, gradient: Tensor) -> Tensor:
        factor, scale = self.factor.flatten(0, 1), self.scale.flatten(0, 1)
        out = solve_scaled(factor, scale, gradient.flatten(0, 1)[..., None]).view_as(gradient)
        # separate blocks violate the zero sum over classes
        return out - out.mean(dim=1, keepdim=True) if out.shape[1] > 1 else out


def _grams(
    objective: Objective,
    point: Point,
    weights: Callable[..., Tensor],
    before: ClassBlocks | None,
) -> Tensor:
    """Return low-precision Gram matrices (m K, q, q) of rows in memory, in that of others.

    ``weights`` returns those (m K, rows) of a block; only the positive ones are stored.
    """
    found, data = [], objective.data.exact
    index = torch.arange(data.n_samples, dtype=torch.int32, device=data.device)

    def choose(block: Block, logits: Tensor, index: Tensor) -> tuple[Tensor, ...]:
        flat = weights(block, logits, index)
        classes, rows = flat.nonzero(as_tuple=True)
        found.append((int(index[0]), (classes.int(), index[rows], flat[classes, rows])))
        return ()

    objective.data.reduce(choose, point.logits, index, reads=0)
    found.sort(key=itemgetter(0))
    classes, rows, values = map(torch.cat, zip(*(some for _, some in found), strict=True))
    found.clear()
    m, n_outputs, side = objective.shape
    shape = m * n_outputs, side, side
    if before is None:
        blocks = torch.empty(shape, dtype=torch.float32, device=data.device)
    else:
        blocks = before.factor.view(shape)
    counts = classes.bincount(minlength=len(blocks)).tolist()
    order = classes.argsort(stable=True)
    chosen = [*zip(rows[order].split(counts), values[order].split(counts), strict=True)]
    del classes, rows, values, order

    def product(block: Block, weight: Tensor) -> tuple[Tensor, ...]:
        return (block.bfloat16_grams(weight),)

    def fill(part: slice) -> None:
        some = chosen[part]
        weight = blocks.new_zeros(len(some), data.n_samples)
        for own, (places, values) in zip(weight, some, strict=True):
            own[places.long()] = values
        reads = int(part.start == 0)  # the threads read the same rows
        blocks[part] = data.reduce(product, weight.T, reads=reads, few=True)[0]

    # threads that take some classes need less memory than those that add all up over some rows
    most = max(PIECE_ENTRIES // max(data.n_samples, side**2), 1)
    size = min(-(-len(blocks) // (2 * thread_count())), most)
    map_blocks(fill, [*pieces(0, len(blocks), size)])
    return blocks


def thin(weight: Tensor, least: Tensor, place: Tensor) -> None:
    """Round weights (k, rows) below ``least`` (k, 1) up to it or down to zero, in place.

    A weight is rounded up if its share of ``least`` is above the row's ``place`` (rows,).  Where
    places are evenly spread in [0, 1), sums of weights hardly change.
    """
    kept = weight > least * place
    weight.clamp_(min=least).mul_(kept)
