"""Multinomial logistic losses, for classes and for probabilities as targets."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from skorch_logreg.losses.softmax import log_probabilities, log_softmax, softmax


@dataclass(frozen=True)
class Multinomial:
    """Multinomial loss ``log(sum_k exp(z_k)) - z_y`` of K logits and a class y in 0..K-1.

    Every class has its own logit (no reference class), so that adding a constant to all of them
    changes nothing. The loss of a well classified row is computed as ``-log(1 - e)`` from the
    probability ``e`` of all other classes, because the difference of logits would round it to 0.

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
    >>> from skorch_logreg.losses import Multinomial
    >>> loss = Multinomial(3)
    >>> y = loss.encode(torch.tensor([[2]]))
    >>> loss.value(torch.zeros(1, 1, 3, dtype=torch.float64), y)
    tensor([[1.0986]], dtype=torch.float64)
    """

    kernel: ClassVar[str | None] = "multinomial"
    nuisance: ClassVar[Tensor | None] = None

    n_outputs: int

    def encode(self, classes: Tensor) -> Tensor:
        """Return class indices (rows, m, 1)."""
        return classes.to(torch.int64)[..., None]

    def value(self, logits: Tensor, y: Tensor) -> Tensor:
        """Compute the loss (rows, m)."""
        return self.value_residual(logits, y)[0]

    def value_residual(self, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the loss (rows, m) and ``softmax(z) - onehot(y)`` (rows, m, K)."""
        index = y.expand(-1, logits.shape[1], 1)
        top = logits.amax(dim=-1, keepdim=True)
        residual = (logits - top).exp_()
        right = residual.gather(-1, index)
        wrong = residual.scatter_(-1, index, 0.0).sum(dim=-1, keepdim=True)
        total = right + wrong
        residual.div_(total).scatter_(-1, index, -wrong / total)
        far = total.log() + (top - logits.gather(-1, index))
        value = torch.where(wrong < right, torch.log1p(wrong / right), far)
        return value[..., 0], residual

    def residual_curvature(self, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute ``softmax(z) - onehot(y)`` and the Hessian's d and q (rows, m, K)."""
        return (self.value_residual(logits, y)[1], *self.curvature(logits))

    def curvature(self, logits: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute ``d = q = softmax(z)`` (rows, m, K) of the Hessian ``diag(p) - p p'``."""
        proba = softmax(logits)
        return proba, proba

    def conjugate(self, dual: Tensor, y: Tensor) -> Tensor:
        """Compute the negative entropy (rows, m) of the probabilities ``dual + onehot(y)``."""
        index = y.expand(-1, dual.shape[1], 1)
        others = dual.scatter(-1, index, 0.0).clamp(min=0.0)
        wrong = others.sum(dim=-1).clamp(max=1.0)
        right = torch.special.xlog1py(1 - wrong, -wrong)
        return torch.special.xlogy(others, others).sum(dim=-1) + right

    def one_sided(self, y: Tensor) -> Tensor | None:
        """Return None: every logit may go to infinity in one direction."""
        return None

    def shares(self, y: Tensor) -> Tensor:
        """Return the one-hot encoded class of every row, (rows, m, K)."""
        share = torch.zeros(*y.shape[:2], self.n_outputs, dtype=torch.float64, device=y.device)
        return share.scatter_(-1, y, 1.0)

    def margin(self, logits: Tensor, y: Tensor) -> Tensor:
        """Compute ``z_y`` minus the largest other logit (rows, m)."""
        index = y.expand(-1, logits.shape[1], 1)
        others = logits.scatter(-1, index, -torch.inf).amax(dim=-1)
        return logits.gather(-1, index)[..., 0] - others

    def predict_proba(self, logits: Tensor) -> Tensor:
        """Compute the probabilities (..., K)."""
        return softmax(logits)

    def log_proba(self, logits: Tensor) -> Tensor:
        """Compute the log-probabilities (..., K)."""
        return log_probabilities(softmax(logits), lambda: log_softmax(logits))


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

    kernel: ClassVar[str | None] = None

    def encode(self, classes: Tensor) -> Tensor:
        """Return the probabilities (rows, m, K) as float64."""
        return classes.to(torch.float64)

    def value_residual(self, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the loss (rows, m) and ``softmax(z) - q`` (rows, m, K)."""
        log_proba = log_softmax(logits)
        far, leader = log_proba.max(dim=-1, keepdim=True)
        residual = log_proba.exp()
        wrong = residual.scatter_(-1, leader, 0.0).sum(dim=-1, keepdim=True)
        # 1 minus the target of the leader, which would be rounded if the target is almost 1
        others = y.expand_as(logits).scatter(-1, leader, 0.0).sum(dim=-1, keepdim=True)
        residual = (residual - y).scatter_(-1, leader, others - wrong)
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
