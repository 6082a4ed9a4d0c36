"""Cumulative logistic loss of ordered classes."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from skorch_logreg.kernels.logits import cumulative_loss, cumulative_sums


@dataclass(frozen=True, eq=False)
class CumulativeLogit:
    """Loss ``-log(sigmoid(t_y - z) - sigmoid(t_(y-1) - z))`` of one logit and ordered classes.

    The K - 1 thresholds t increase, and those below the first and above the last class are
    infinite. Without cancellation, also for close thresholds, the loss is::

        softplus(z - t_y) + softplus(t_(y-1) - z) - log(1 - exp(t_(y-1) - t_y))

    It is jointly convex in logit and thresholds. With two classes it is `Binomial` of the logit
    minus the threshold.

    Parameters
    ----------
    nuisance : Tensor of shape (m, K - 1), float64
        First threshold of every model and the differences of successive ones, which are positive;
        m = 1 if all models share them.

    References
    ----------
    McCullagh (1980). Regression models for ordinal data, Journal of the Royal Statistical Society
    B 42, section 2. Pratt (1981). Concavity of the log likelihood, Journal of the American
    Statistical Association 76.

    Examples
    --------
    >>> import torch
    >>> from skorch_logreg.losses import CumulativeLogit
    >>> loss = CumulativeLogit(torch.tensor([[0.0, 1.0]], dtype=torch.float64))
    >>> loss.predict_proba(torch.zeros(1, 1, dtype=torch.float64))
    tensor([[0.5000, 0.2311, 0.2689]], dtype=torch.float64)
    """

    n_outputs: ClassVar[int] = 1
    kernel: ClassVar[str | None] = None

    nuisance: Tensor

    @classmethod
    def of(cls, n_classes: int) -> "CumulativeLogit":
        """Return the loss of a number of classes with thresholds one apart."""
        return cls(torch.ones(1, n_classes - 1, dtype=torch.float64, device="cpu"))

    @property
    def n_classes(self) -> int:
        """Number of classes, K."""
        return self.nuisance.shape[1] + 1

    @property
    def thresholds(self) -> Tensor:
        """Thresholds (m, K - 1)."""
        return self.nuisance.cumsum(dim=1)

    def with_nuisance(self, nuisance: Tensor) -> "CumulativeLogit":
        """Return the loss with other thresholds."""
        return replace(self, nuisance=nuisance)

    def prior(self, class_weight: Tensor) -> Tensor:
        """Return the thresholds, as in `nuisance`, of class weights (m, K) at a logit of zero."""
        total = class_weight.sum(dim=1, keepdim=True)
        share = (class_weight / total).clamp(min=torch.finfo(torch.float64).eps)
        below = share.cumsum(dim=1)[:, :-1]
        above = share.flip(1).cumsum(dim=1).flip(1)[:, 1:]
        thresholds = below.log() - above.log()
        return torch.cat([thresholds[:, :1], thresholds.diff(dim=1)], dim=1)

    def encode(self, classes: Tensor) -> Tensor:
        """Return class indices (rows, m, 1)."""
        return classes.to(torch.int64)[..., None]

    def value(self, logits: Tensor, y: Tensor) -> Tensor:
        """Compute the loss (rows, m)."""
        above, below = self._distances(logits, y)
        return -logsigmoid(-above) - logsigmoid(-below) + _by_class(self._interval_loss, y)

    def value_residual(self, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the loss (rows, m) and ``sigmoid(z - t_y) - sigmoid(t_(y-1) - z)``."""
        above, below = self._distances(logits, y)
        value = -logsigmoid(-above) - logsigmoid(-below) + _by_class(self._interval_loss, y)
        return value, (above.sigmoid_() - below.sigmoid_())[..., None]

    def residual_curvature(self, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor, None]:
        """Compute the residual and the second derivative in the logit, (rows, m, 1)."""
        above, below = (part.sigmoid_() for part in self._distances(logits, y))
        curvature = _bend(above) + _bend(below)
        return (above - below)[..., None], curvature[..., None], None

    def curvature(self, logits: Tensor, y: Tensor | None = None) -> tuple[Tensor, None]:
        """Compute the second derivative in the logit (rows, m, 1), which depends on the class."""
        assert y is not None
        return self.residual_curvature(logits, y)[1], None

    def conjugate(self, dual: Tensor, y: Tensor) -> Tensor:
        """Compute the convex conjugate in the logit (rows, m) for these thresholds."""
        slope = dual[..., 0].clamp(-1.0, 1.0)
        upper, lower = (_by_class(ends, y) for ends in self._ends)
        # with t = exp(z - (t_y + t_(y-1)) / 2) and k^2 = exp(t_(y-1) - t_y), the residual is
        # k (t^2 - 1) / (k t^2 + (1 + k^2) t + k), a quadratic equation in t
        k2 = torch.exp(lower - upper).clamp(min=1e-300)
        half = slope * (1 + k2) / 2
        root = half.abs() + (half.square() + k2 * (1 - slope.square())).sqrt()
        positive = slope > 0
        above = 1 / (1 + torch.where(positive, (1 - slope) / root, root / (k2 * (1 + slope))))
        below = 1 / (1 + torch.where(positive, root / (k2 * (1 - slope)), (1 + slope) / root))
        above = torch.where(lower.isinf(), slope, torch.where(upper.isinf(), 0.0, above))
        below = torch.where(lower.isinf(), 0.0, torch.where(upper.isinf(), -slope, below))
        entropy = _negative_entropy(above.clamp(0.0, 1.0)) + _negative_entropy(
            below.clamp(0.0, 1.0)
        )
        limits = above * torch.where(upper.isinf(), 0.0, upper)
        limits -= below * torch.where(lower.isinf(), 0.0, lower)
        return entropy + limits - _by_class(self._interval_loss, y)

    def one_sided(self, y: Tensor) -> Tensor | None:
        """Return None: every logit may go to infinity in one direction."""
        return None

    def shares(self, y: Tensor) -> Tensor:
        """Return the one-hot encoded class of every row, (rows, m, K)."""
        share = torch.zeros(*y.shape[:2], self.n_classes, dtype=torch.float64, device=y.device)
        return share.scatter_(-1, y, 1.0)

    def margin(self, logits: Tensor, y: Tensor) -> Tensor:
        """Compute the distance (rows, m) of z to the nearer end of the interval of its class."""
        return -torch.maximum(*self._distances(logits, y))

    def predict_proba(self, logits: Tensor) -> Tensor:
        """Compute the probabilities (..., K), as products without cancellation."""
        upper, lower = (ends.T for ends in self._ends)
        proba = torch.sigmoid(upper - logits) * torch.sigmoid(logits - lower)
        return proba * -torch.expm1(-self._intervals.T)

    def log_proba(self, logits: Tensor) -> Tensor:
        """Compute the log-probabilities (..., K) of all classes."""
        upper, lower = (ends.T for ends in self._ends)
        return logsigmoid(upper - logits) + logsigmoid(logits - lower) - self._interval_loss.T

    def nuisance_sums(self, logits: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        """Sum the weighted terms of the rows by class, (K, 5, m); see `cumulative_sums`."""
        found = cumulative_sums(logits, y, weight, self._stacked_ends(logits))
        if found is not None:
            return found
        above, below = (part.sigmoid_() for part in self._distances(logits, y))
        rows = torch.stack([above, below, _bend(above), _bend(below), torch.ones_like(above)], 1)
        sums = rows.new_zeros(self.n_classes, *rows.shape[1:])
        index = y[:, None, :, 0].expand_as(rows)
        return sums.scatter_add_(0, index, rows * weight[:, None])

    def nuisance_derivatives(self, sums: Tensor) -> tuple[Tensor, Tensor]:
        """Return gradients (m, K - 1) and Hessians (m, K - 1, K - 1) in `nuisance`."""
        pull_up, pull_down, bend_up, bend_down, total = sums.unbind(dim=1)
        inside = total[1:-1].T  # weights of the classes between two thresholds
        slope = 1 / torch.expm1(self.nuisance[:, 1:])
        gradient = _suffix_sums((pull_down[1:] - pull_up[:-1]).T)
        gradient[:, 1:] -= inside * slope
        # a difference of thresholds moves all above it: entry (j, l) sums those above both
        bend = _suffix_sums((bend_up[:-1] + bend_down[1:]).T)
        place = torch.arange(bend.shape[1], device=bend.device)
        hessian = bend[:, torch.maximum(place[:, None], place)]
        hessian.diagonal(dim1=1, dim2=2)[:, 1:] += inside * slope * (1 + slope)
        return gradient, hessian

    def nuisance_gradient(self, logits: Tensor, y: Tensor) -> Tensor:
        """Compute the derivatives (rows, m, K - 1) of the loss in `nuisance`."""
        pull = torch.nn.functional.pad(1 / torch.expm1(self.nuisance[:, 1:].T), (0, 0, 1, 1))
        above, below = (part.sigmoid_() + _by_class(pull, y) for part in self._distances(logits, y))
        return self._in_nuisance(-above, below, y)

    def weighted(self, logits: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Sum weighted losses (m,), and compute weighted residuals (rows, m, 1)."""
        shares = self._interval_loss.expand(-1, logits.shape[1])
        found = cumulative_loss(logits, y, weight, self._stacked_ends(logits), shares)
        if found is not None:
            return found
        value, residual = self.value_residual(logits, y)
        return (value * weight).sum(dim=0), residual.mul_(weight[..., None])

    def _stacked_ends(self, logits: Tensor) -> Tensor:
        return torch.stack(self._ends, dim=1).expand(-1, -1, logits.shape[1])

    def mixed(self, logits: Tensor, y: Tensor) -> Tensor:
        """Compute the derivatives (rows, m, K - 1) of the residual in `nuisance`."""
        above, below = (_bend(part.sigmoid_()) for part in self._distances(logits, y))
        return self._in_nuisance(-above, -below, y)

    def _in_nuisance(self, upper: Tensor, lower: Tensor, y: Tensor) -> Tensor:
        """Return derivatives in `nuisance` from those in the thresholds of the row's class.

        Each entry moves all thresholds from its own on; those at infinity have derivative 0.
        """
        place = torch.arange(self.n_classes - 1, device=y.device)
        return upper[..., None] * (y >= place) + lower[..., None] * (y > place)

    def scaled_gap(self, logits: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        """Compute the Fenchel-Young gap (rows, m) of all terms at their derivatives times scale.

        The sum over rows bounds what these leave of logits and thresholds together, where the
        thresholds are the best ones.
        """
        gap = torch.zeros_like(logits[..., 0])
        for part in self._distances(logits, y):
            part = part.clamp(min=-1e300)
            dual = scale * part.sigmoid()
            gap += _negative_entropy(dual) - logsigmoid(-part) - dual * part
        interval = self.nuisance[:, 1:].T
        dual = scale / torch.expm1(interval)
        conjugate = torch.special.xlogy(dual, dual) - torch.special.xlog1py(1 + dual, dual)
        inside = self._interval_loss[1:-1] + conjugate + dual * interval
        ends = inside.new_zeros(1, inside.shape[1])
        return gap + _by_class(torch.cat([ends, inside, ends]), y)

    @cached_property
    def _ends(self) -> tuple[Tensor, Tensor]:
        """Upper and lower ends (K, m) of the intervals of the classes."""
        thresholds = self.thresholds.T
        most = torch.full_like(thresholds[:1], torch.inf)
        return torch.cat([thresholds, most]), torch.cat([-most, thresholds])

    @property
    def _intervals(self) -> Tensor:
        """Lengths (K, m) of the intervals, inf for the first and the last class."""
        return torch.nn.functional.pad(self.nuisance[:, 1:].T, (0, 0, 1, 1), value=torch.inf)

    @cached_property
    def _interval_loss(self) -> Tensor:
        """Share (K, m) of the loss that depends on the interval only, ``-log(1 - exp(-d))``."""
        return -(-torch.expm1(-self._intervals)).log()

    def _distances(self, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Compute ``z - t_y`` and ``t_(y-1) - z`` (rows, m), -inf beyond the last thresholds."""
        upper, lower = (_by_class(ends, y) for ends in self._ends)
        return logits[..., 0] - upper, lower - logits[..., 0]


def _bend(probability: Tensor) -> Tensor:
    """Return ``p (1 - p)``."""
    return torch.addcmul(probability, probability, probability, value=-1)


def _negative_entropy(probability: Tensor) -> Tensor:
    return torch.special.xlogy(probability, probability) + torch.special.xlog1py(
        1 - probability, -probability
    )


def _suffix_sums(values: Tensor) -> Tensor:
    """Return the sums (m, T) of entries from each one to the last."""
    return values.flip(1).cumsum(dim=1).flip(1)


def _by_class(values: Tensor, y: Tensor) -> Tensor:
    """Return the entries (rows, m) of values (K, m) by the class of every row."""
    if y.shape[1] == 1:
        return values.index_select(0, y[:, 0, 0])
    return values.expand(-1, y.shape[1]).gather(0, y[..., 0])
