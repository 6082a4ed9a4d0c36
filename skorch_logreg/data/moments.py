"""Weighted means and standard deviations of columns, in which nothing cancels."""

import torch
from torch import Tensor

from skorch_logreg.data.gram import FAR_DEVIATIONS, are_near_zero
from skorch_logreg.data.protocol import Block, Data
from skorch_logreg.kernels import passes

# variance relative to the mean square of a column that is not far: nine digits of it are right
_SHARE = FAR_DEVIATIONS**-2
_MAX_ROUNDS = 5  # each shrinks the distance to the mean to its rounding error


def moments(
    data: Data, about: Tensor, *, is_sparse: bool, rows: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Compute the weighted mean and standard deviation (p,) of the columns of X, in a read of it.

    Sums are those of entries less ``about``, numbers near the means; of sparse rows it is zero.
    They are computed again, about the means that were found, of columns where they cancelled. The
    deviation is 0 if and only if all entries in rows of positive weight are equal. ``rows`` are
    those of X if there are so few that calls cost more than sums.

    References
    ----------
    Chan, Golub, LeVeque (1983). Algorithms for computing the sample variance: analysis and
    recommendations, The American Statistician 37, section 4.
    """

    def sums_about(center: Tensor, columns: Tensor | None = None) -> tuple[Tensor, ...]:
        def kernel(block: Block) -> tuple[Tensor, ...]:
            weight = _mean(block.weight)
            return weight.sum(), block.deviations(weight, columns)

        return data.centred(center).reduce(kernel)

    if rows is None:
        total, sums = sums_about(about)
    else:
        weight = _mean(data.weight)
        data.reads[0] += 1
        total, found = weight.sum(), passes.moments(rows, about, weight)
        if found is None:
            z = rows.to(torch.float64) - about
            found = torch.stack([weight @ z, weight @ z.square_()])
        sums = found
    shift, square = (sums / total).unbind()
    variance = square - shift.square()
    mean, deviation = about + shift, variance.clamp(min=0.0).sqrt()
    settled = are_near_zero(mean, deviation) if is_sparse else variance >= _SHARE * square
    columns = (~settled).nonzero()[:, 0]
    for _ in range(_MAX_ROUNDS if len(columns) else 0):
        total, sums = sums_about(mean, columns)
        shift, square = sums / total
        variance = square - shift.square()
        before = mean
        mean = mean.index_copy(0, columns, mean[columns] + shift)
        deviation = deviation.index_copy(0, columns, variance.clamp(min=0.0).sqrt())
        if bool(((variance >= _SHARE * square) | (mean == before)[columns]).all()):
            break
    return mean, deviation


def _mean(weight: Tensor) -> Tensor:
    """Average weights (rows, m) over the models; the mean of one column is slow to compute."""
    return weight[:, 0] if weight.shape[1] == 1 else weight.mean(dim=1)
