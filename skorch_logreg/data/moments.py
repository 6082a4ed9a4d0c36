"""Weighted means and standard deviations of columns, exact for columns far from zero."""

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from skorch_logreg.data.gram import are_near_zero
from skorch_logreg.data.protocol import Block

if TYPE_CHECKING:
    from skorch_logreg.data.memory import InMemory
    from skorch_logreg.data.partitioned import PartitionedData

    Rows = TypeVar("Rows", InMemory, PartitionedData)

_EPS = torch.finfo(torch.float64).eps
# least variance relative to the mean square: with it, nine digits of the variance are right
MIN_VARIANCE_SHARE = 1e-6
_MAX_ROUNDS = 5  # each shrinks the distance to the mean to its rounding error


def moments(data: "InMemory") -> tuple[Tensor, Tensor]:
    """Compute the weighted mean and standard deviation (p,) of the columns of X in two reads.

    The deviation is 0 if and only if all entries in rows of positive weight are equal.
    """
    weight = data.weight if data.n_weights == 1 else data.weight.mean(dim=1, keepdim=True)
    weight = weight / weight.sum()
    if data.is_small:  # same result with fewer function calls
        X, row = data.X.to(torch.float64), weight.T
        mean = (row @ X)[0]
        variance = (row @ (X - mean).square_())[0]
        data.reads[0] += 2
    else:
        zero, one = torch.zeros_like(data.center), torch.ones_like(data.center)
        plain = replace(data, center=zero, scale=one)
        (mean,) = plain.reduce(lambda block, w: (block.rmatmul(w[..., None])[0, 0, :-1],), weight)
        centred = replace(data, center=mean, scale=one)
        (variance,) = centred.reduce(lambda block, w: (block.column_squares(w)[0, :-1],), weight)
    deviation = variance.sqrt()
    if data.is_sparse:  # the squares of columns far from zero cancel
        doubtful = ~are_near_zero(mean, deviation)
    else:  # deviations that rounding of the mean gives to a constant column
        rounding = 2 * _EPS * data.n_samples * mean.abs()
        doubtful = (deviation > 0) & (deviation <= rounding)
    return refine_moments(data, mean, deviation, doubtful)


def refine_moments(
    data: "Rows", mean: Tensor, deviation: Tensor, doubtful: Tensor
) -> tuple[Tensor, Tensor]:
    """Recompute moments of some columns about their means, until nothing cancels.

    Parameters
    ----------
    data : InMemory or PartitionedData
    mean, deviation : Tensor of shape (p,)
        Moments; the means of the doubtful columns need only some correct digits.
    doubtful : Tensor of shape (p,), bool
        Mask of the columns to recompute.

    Returns
    -------
    mean, deviation : Tensor of shape (p,)
        Refined moments. A column with equal entries has this entry as mean, and deviation 0.

    Notes
    -----
    One pass over X; two if columns are constant.

    References
    ----------
    Chan, Golub, LeVeque (1983). Algorithms for computing the sample variance: analysis and
    recommendations, The American Statistician 37, section 4.
    """
    if not bool(doubtful.any()):
        return mean, deviation
    columns = doubtful.nonzero()[:, 0]

    def kernel(block: Block) -> tuple[Tensor, ...]:
        weight = block.weight.mean(dim=1)
        return weight.sum(), block.deviations(weight, columns)

    for _ in range(_MAX_ROUNDS):
        about = mean[columns]
        centred = replace(data, center=mean, scale=torch.ones_like(mean))
        total, sums = centred.reduce(kernel)
        shift, square = sums / total
        variance = square - shift.square()
        mean = mean.index_copy(0, columns, about + shift)
        settled = (variance >= MIN_VARIANCE_SHARE * square) | (mean[columns] == about)
        if bool(settled.all()):
            break
    return mean, deviation.index_copy(0, columns, variance.clamp(min=0.0).sqrt())
