"""Logistic losses of two classes, for classes and for probabilities as targets."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from skorch_logreg.losses.softmax import log_probabilities

# from here on softplus(x) equals x in float64; torch's default of 20 has an error of 2e-9
_LINEAR_FROM = -math.log(torch.finfo(torch.float64).eps)
_SIGNS = torch.tensor([-1, 1], dtype=torch.int8, device="cpu")  # of z in both classes' logits


@dataclass(frozen=True)
class Binomial:
    """Logistic loss ``log(1 + exp(z)) - c z`` of one logit and a class c in {0, 1}.

    Targets are signs, ``y = 1 - 2 c``, and the loss is ``log(1 + exp(y z))``, so that neither a
    value nor a residual is a difference of large numbers.

    References
    ----------
    Hastie, Tibshirani, Friedman (2009). The Elements of Statistical Learning, equation 4.20.

    Examples
    --------
    >>> import torch
    >>> from skorch_logreg.losses import Binomial
    >>> loss = Binomial()
    >>> y = loss.encode(torch.tensor([[1]]))
    >>> loss.value(torch.zeros(1, 1, 1, dtype=torch.float64), y)
    tensor([[0.6931]], dtype=torch.float64)
    """

    n_outputs: ClassVar[int] = 1
    kernel: ClassVar[str | None] = "logistic"
    nuisance: ClassVar[Tensor | None] = None

    def encode(self, classes: Tensor) -> Tensor:
        """Return signs (rows, m, 1): 1 for class 0, -1 for class 1."""
        return classes.to(torch.float64, copy=True).mul_(-2.0).add_(1.0).unsqueeze(-1)

    def value(self, logits: Tensor, y: Tensor) -> Tensor:
        """Compute the loss (rows, m)."""
        return softplus(logits * y, threshold=_LINEAR_FROM)[..., 0]

    def value_residual(self, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the loss (rows, m) and ``sigmoid(z) - c`` (rows, m, 1)."""
        margin = logits * y
        value = softplus(margin, threshold=_LINEAR_FROM)[..., 0]
        return value, margin.sigmoid_().mul_(y)

    def residual_curvature(self, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor, None]:
        """Compute ``sigmoid(z) - c`` and ``sigmoid(z) sigmoid(-z)`` (rows, m, 1)."""
        wrong = (logits * y).sigmoid_()
        return wrong * y, torch.addcmul(wrong, wrong, wrong, value=-1), None

    def curvature(self, logits: Tensor, y: Tensor | None = None) -> tuple[Tensor, None]:
        """Compute ``d = sigmoid(z) sigmoid(-z)`` (rows, m, 1); q is 0."""
        return torch.neg(logits).sigmoid_().mul_(torch.sigmoid(logits)), None

    def conjugate(self, dual: Tensor, y: Tensor) -> Tensor:
        """Compute the negative entropy (rows, m) of the wrong class's probability ``|dual|``."""
        wrong = dual.abs()[..., 0].clamp(max=1.0)
        return torch.special.xlogy(wrong, wrong) + torch.special.xlog1py(1 - wrong, -wrong)

    def one_sided(self, y: Tensor) -> Tensor | None:
        """Return None: every logit may go to infinity in one direction."""
        return None

    def shares(self, y: Tensor) -> Tensor:
        """Return the one-hot encoded class of every row, (rows, m, 2)."""
        return torch.cat([1 + y, 1 - y], dim=-1) / 2

    def margin(self, logits: Tensor, y: Tensor) -> Tensor:
        """Compute ``-y z`` (rows, m)."""
        return (-y * logits)[..., 0]

    def predict_proba(self, logits: Tensor) -> Tensor:
        """Compute the probabilities (..., 2); a sigmoid of both signs avoids cancellation."""
        return _both_logits(logits).sigmoid_()

    def log_proba(self, logits: Tensor) -> Tensor:
        """Compute the log-probabilities (..., 2) of the two classes."""
        proba = self.predict_proba(logits)
        return log_probabilities(proba, lambda: logsigmoid(_both_logits(logits)))


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

    kernel: ClassVar[str | None] = None

    def encode(self, classes: Tensor) -> Tensor:
        """Return probabilities (rows, m, 1) of the second class, from (rows, m)."""
        return classes.to(torch.float64)[..., None]

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


def _both_logits(logits: Tensor) -> Tensor:
    return logits * _SIGNS.to(logits.device)
