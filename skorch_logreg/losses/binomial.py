"""The logistic loss of two classes."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

# softplus(x) is x to the last bit from here on; torch's own default, 20, loses 2e-9.
_LINEAR_FROM = 40.0


@dataclass(frozen=True)
class Binomial:
    """Logistic loss ``log(1 + exp(z)) - y z`` of one logit and y in {0, 1}.

    Computed from the margin ``u = (1 - 2 y) z`` as ``log(1 + exp(u))``, so that neither a value
    nor a residual is a difference of large numbers.

    References
    ----------
    Hastie, Tibshirani, Friedman (2009). The Elements of Statistical Learning, equation 4.20.

    Examples
    --------
    >>> import torch
    >>> from skorch_logreg.losses import Binomial
    >>> Binomial().value(torch.zeros(1, 1, 1, dtype=torch.float64), torch.tensor([1]))
    tensor([[0.6931]], dtype=torch.float64)
    """

    n_outputs: ClassVar[int] = 1

    def value(self, logits: Tensor, y: Tensor) -> Tensor:
        """Loss (rows, m)."""
        return softplus(_margin(logits, y), threshold=_LINEAR_FROM)[..., 0]

    def value_residual(self, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Loss (rows, m) and ``sigmoid(z) - y`` (rows, m, 1)."""
        sign = _sign(logits, y)
        margin = logits * sign
        value = softplus(margin, threshold=_LINEAR_FROM)[..., 0]
        return value, margin.sigmoid_().mul_(sign)

    def curvature(self, logits: Tensor) -> tuple[Tensor, None]:
        """``sigmoid(z) sigmoid(-z)`` (rows, m, 1); there is no rank-one part."""
        return torch.sigmoid(logits).mul_(torch.sigmoid(-logits)), None

    def conjugate(self, dual: Tensor, y: Tensor) -> Tensor:
        """Negative entropy (rows, m) of the probability ``|dual|`` given to the wrong class."""
        wrong = dual.abs()[..., 0].clamp(max=1.0)
        return torch.special.xlogy(wrong, wrong) + torch.special.xlog1py(1 - wrong, -wrong)

    def predict_proba(self, logits: Tensor) -> Tensor:
        """Probabilities (rows, m, 2) of the two classes."""
        return torch.sigmoid(torch.cat([-logits, logits], dim=-1))

    def log_proba(self, logits: Tensor) -> Tensor:
        """Log-probabilities (rows, m, 2) of the two classes."""
        return logsigmoid(torch.cat([-logits, logits], dim=-1))


def _sign(logits: Tensor, y: Tensor) -> Tensor:
    return (1 - 2 * y).to(logits.dtype)[:, None, None]


def _margin(logits: Tensor, y: Tensor) -> Tensor:
    return logits * _sign(logits, y)
