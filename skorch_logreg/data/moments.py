"""Weighted moments of columns, however far from zero these lie."""

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
MIN_VARIANCE_SHARE = (
    1e-6  # share of a mean square that is left of it without the mean: nine digits are
)
_MAX_ROUNDS = 5  # each leaves of the distance to the mean what rounding makes of it


def moments(data: "InMemory") -> tuple[Tensor, Tensor]:
    """Weighted mean and standard deviation (p,) of the columns of X, from two reads.

    The deviation is 0 where all entries are equal, those of rows of weight 0 apart, and only
    there.
    """
    weight = data.weight if data.n_weights == 1 else data.weight.mean(dim=1, keepdim=True)
    weight = weight / weight.sum()
    if data.is_small:  # the same in fewer calls
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
    if data.is_sparse:  # squares of far columns cancel
        doubtful = ~are_near_zero(mean, deviation)
    else:  # what rounding of the mean alone may make of a constant
        rounding = 2 * _EPS * data.n_samples * mean.abs()
        doubtful = (deviation > 0) & (deviation <= rounding)
    return refine_moments(data, mean, deviation, doubtful)


def refine_moments(
    data: "Rows", mean: Tensor, deviation: Tensor, doubtful: Tensor
) -> tuple[Tensor, Tensor]:
    """Take moments of some columns again, about their means, until nothing cancels.

    Parameters
    ----------
    data : InMemory or PartitionedData
    mean, deviation : Tensor of shape (p,)
        The means are those of the doubtful columns to some digits.
    doubtful : Tensor of shape (p,), bool

    Returns
    -------
    mean, deviation : Tensor of shape (p,)
        Of a column with equal entries, this entry and 0.

    Notes
    -----
    A pass over X; two, where columns are constant.

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
