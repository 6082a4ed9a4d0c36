"""Multinomial logistic loss of three or more classes with probabilities as targets."""

from dataclasses import dataclass

import torch
from torch import Tensor

from skorch_logreg.losses.multinomial import Multinomial
from skorch_logreg.losses.softmax import log_softmax


@dataclass(frozen=True)
class SoftMultinomial(Multinomial):
    """Multinomial loss ``log(sum_k exp(z_k)) - sum_k q_k z_k`` of probabilities q.

    q_k >= 0 sum to 1. The probability of the class with the largest logit, which may round to 1,
    is computed from the sum of all others, as in `Multinomial`.

    Parameters
    ----------
    n_outputs : int
        Number of classes, K.

    References
    ----------
    Hastie, Tibshirani, Friedman (2009). The Elements of Statistical Learning, section 4.4.

    Examples
    --------
    >>> import torch
    >>> from skorch_logreg.losses import SoftMultinomial
    >>> loss = SoftMultinomial(4)
    >>> y = loss.encode(torch.tensor([[[0.5, 0.5, 0.0, 0.0]]], dtype=torch.float64))
    >>> loss.value_residual(torch.zeros(1, 1, 4, dtype=torch.float64), y)[1]
    tensor([[[-0.2500, -0.2500,  0.2500,  0.2500]]], dtype=torch.float64)
    """

    def encode(self, classes: Tensor) -> Tensor:
        """Return the probabilities (rows, m, K) as float64."""
        return classes.to(torch.float64)

    def class_weight(self, y: Tensor, weight: Tensor) -> Tensor:
        """Sum weight times probability of each class, (m, K)."""
        return (y * weight[..., None]).sum(dim=0)

    def value_residual(self, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the loss (rows, m) and ``softmax(z) - q`` (rows, m, K)."""
        log_proba = log_softmax(logits)
        far, leader = log_proba.max(dim=-1, keepdim=True)
        residual = log_proba.exp()
        wrong = residual.scatter_(-1, leader, 0.0).sum(dim=-1, keepdim=True)
        share = y.expand_as(logits).gather(-1, leader)
        residual = (residual - y).scatter_(-1, leader, (1 - share) - wrong)
        log_proba.scatter_(-1, leader, torch.where(wrong < 0.5, torch.log1p(-wrong), far))
        # clamp at overflow, because a probability of zero times infinity is NaN
        log_proba.clamp_(min=torch.finfo(logits.dtype).min)
        return -(log_proba * y).sum(dim=-1), residual

    def conjugate(self, dual: Tensor, y: Tensor) -> Tensor:
        """Compute the negative entropy (rows, m) of the probabilities ``dual + q``."""
        proba = (dual + y).clamp_(min=0.0)
        others = proba.scatter(-1, proba.argmax(dim=-1, keepdim=True), 0.0)
        wrong = others.sum(dim=-1).clamp(max=1.0)
        right = torch.special.xlog1py(1 - wrong, -wrong)
        return torch.special.xlogy(others, others).sum(dim=-1) + right

    def one_sided(self, y: Tensor) -> Tensor | None:
        """Return a mask (rows, m, K) of the logits of targets that are 0 or 1."""
        return (y == 0) | (y == 1)

    def shares(self, y: Tensor) -> Tensor:
        """Return the probabilities (rows, m, K) unchanged."""
        return y

    def margin(self, logits: Tensor, y: Tensor) -> Tensor:
        """Compute the smallest margin (rows, m) of the classes with positive probability."""
        two = logits.topk(2, dim=-1)
        leads = torch.arange(self.n_outputs, device=logits.device) == two.indices[..., :1]
        best_other = torch.where(leads, two.values[..., 1:], two.values[..., :1])
        return torch.where(y > 0, logits - best_other, torch.inf).amin(dim=-1)
