"""Loss functions of the logits of a row."""

import torch
from torch import Tensor

from skorch_logreg.losses.binomial import Binomial, SoftBinomial
from skorch_logreg.losses.multinomial import Multinomial, SoftMultinomial
from skorch_logreg.losses.ordinal import CumulativeLogit
from skorch_logreg.losses.protocol import Loss, NuisanceLoss

__all__ = [
    "Binomial",
    "CumulativeLogit",
    "Loss",
    "Multinomial",
    "NuisanceLoss",
    "SoftBinomial",
    "SoftMultinomial",
]


def class_weight(loss: Loss, y: Tensor, weight: Tensor) -> Tensor:
    """Sum weights (rows, m) times class probabilities over the rows, (m, classes)."""
    # classes: a one-hot array would be K times as long
    if y.dtype is torch.int64 and y.shape[1] == 1:
        n_classes = loss.shares(y[:1]).shape[-1]
        total = weight.new_zeros(n_classes, weight.shape[1])
        return total.index_add_(0, y[:, 0, 0], weight).T
    if loss.kernel == "logistic" and weight.stride(0) == 0:  # signs, whose sum is exact
        difference = y.sum(dim=0)  # numbers of rows of the first class less those of the second
        counts = (len(y) + difference * y.new_tensor([1.0, -1.0])) / 2
        return counts * weight[:1].sum(dim=0)[:, None]
    if y.is_floating_point() and y.shape[-1] == 1:
        # linear in y: arrays of one class at a time take a quarter of the time
        low, high = loss.shares(y.new_tensor([[[0.0]], [[1.0]]]))[:, 0]
        shares = (a + (b - a) * y[..., 0] for a, b in zip(low, high, strict=True))
        return torch.stack([(share * weight).sum(dim=0) for share in shares], dim=-1)
    return (loss.shares(y) * weight[..., None]).sum(dim=0)


def loss_of(n_classes: int, soft: bool = False, ordered: bool = False) -> Loss:
    """Return the loss of a number of classes, with classes or probabilities as targets."""
    if ordered:
        return CumulativeLogit.of(n_classes)
    if soft:
        return SoftBinomial() if n_classes == 2 else SoftMultinomial(n_classes)
    return Binomial() if n_classes == 2 else Multinomial(n_classes)
