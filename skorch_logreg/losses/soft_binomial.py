"""Logistic loss of two classes with probabilities as targets."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from skorch_logreg.losses.binomial import Binomial


@dataclass(frozen=True)
class SoftBinomial(Binomial):
    """Logistic loss ``(1 - q) log(1 + exp(z)) + q log(1 + exp(-z))`` of a probability q.

    q in [0, 1] is the probability of the second class. Values are sums of non-negative terms, and
    so is what each class adds to a residual: at q = 0 and q = 1 no digit of `Binomial` is lost.

    References
    ----------
    Hastie, Tibshirani, Friedman (2009). The Elements of Statistical Learning, equation 4.20.

    Examples
    --------
    >>> import torch
    >>> from skorch_logreg.losses import SoftBinomial
    >>> loss = SoftBinomial()
    >>> y = loss.encode(torch.tensor([[0.75]], dtype=torch.float64))
    >>> loss.value_residual(torch.zeros(1, 1, 1, dtype=torch.float64), y)[1]
    tensor([[[-0.2500]]], dtype=torch.float64)
    """

    def encode(self, classes: Tensor) -> Tensor:
        """Return probabilities (rows, m, 1) of the second class, from (rows, m)."""
        return classes.to(torch.float64)[..., None]

    def class_weight(self, y: Tensor, weight: Tensor) -> Tensor:
        """Sum weight times probability of each of the two classes, (m, 2)."""
        share = y[..., 0]
        return torch.stack([(weight * (1 - share)).sum(dim=0), (weight * share).sum(dim=0)], dim=-1)

    def value(self, logits: Tensor, y: Tensor) -> Tensor:
        """Compute the loss (rows, m)."""
        # clamp infinite logits, because a probability of zero times infinity is NaN
        size = logits.abs().clamp_(max=torch.finfo(logits.dtype).max)
        wrong = torch.where(logits > 0, 1 - y, y)
        return softplus(-size).addcmul_(wrong, size)[..., 0]

    def value_residual(self, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the loss (rows, m) and ``(1 - q) sigmoid(z) - q sigmoid(-z)`` (rows, m, 1)."""
        return self.value(logits, y), _residual(torch.sigmoid(logits), torch.sigmoid(-logits), y)

    def residual_curvature(self, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor, None]:
        """Compute residual and curvature (rows, m, 1).

        These are ``(1 - q) sigmoid(z) - q sigmoid(-z)`` and ``sigmoid(z) sigmoid(-z)``.
        """
        second, first = torch.sigmoid(logits), torch.sigmoid(-logits)
        return _residual(second, first, y), first.mul_(second), None

    def conjugate(self, dual: Tensor, y: Tensor) -> Tensor:
        """Compute the negative entropy (rows, m) of the probability ``dual + q``."""
        smaller = torch.minimum(y + dual, (1 - y) - dual)[..., 0].clamp(0.0, 0.5)
        return torch.special.xlogy(smaller, smaller) + torch.special.xlog1py(1 - smaller, -smaller)

    def one_sided(self, y: Tensor) -> Tensor | None:
        """Return a mask (rows, m, K) of the logits of targets that are 0 or 1."""
        return (y == 0) | (y == 1)

    def shares(self, y: Tensor) -> Tensor:
        """Return the probabilities (rows, m, 2) of the two classes."""
        return torch.cat([1 - y, y], dim=-1)

    def margin(self, logits: Tensor, y: Tensor) -> Tensor:
        """Compute ``-|z|`` (rows, m) if both probabilities are positive."""
        first = torch.where(y < 1, -logits, torch.inf)
        second = torch.where(y > 0, logits, torch.inf)
        return torch.minimum(first, second)[..., 0]


def _residual(second: Tensor, first: Tensor, y: Tensor) -> Tensor:
    return ((1 - y) * second).addcmul_(y, first, value=-1)
