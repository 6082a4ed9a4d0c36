"""Maximum of the likelihoods of many outcomes with Jeffreys' prior."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from sklearn.utils import gen_batches
from torch import Tensor

from skorch_logreg.analysis.likelihood import ESTIMATE_RTOL
from skorch_logreg.data.protocol import add_terms
from skorch_logreg.data.tensors import PIECE_ENTRIES
from skorch_logreg.data.threads import sum_blocks
from skorch_logreg.losses import Binomial
from skorch_logreg.objective.line_search import MAX_STEPS

_LOSS = Binomial()


@dataclass(frozen=True)
class JeffreysBatch:
    """Log-likelihoods ``log L + log det(I) / 2`` of m outcomes of the rows Z (n_samples, q).

    ``target`` (n_samples, m) are the classes as the loss encodes them, ``weight`` (n_samples, m)
    or (n_samples, 1) the weights of their rows.
    """

    Z: Tensor
    target: Tensor
    weight: Tensor

    def take(self, outcomes: Tensor) -> "JeffreysBatch":
        """Return some of the outcomes."""
        own = self.weight if self.weight.shape[1] == 1 else self.weight[:, outcomes]
        return JeffreysBatch(self.Z, self.target[:, outcomes], own)

    def evaluate(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute values (m,), gradients (m, q) and inverse information (m, q, q) at theta (m, q).

        The value is -inf where the information is singular.
        """
        first, second = torch.tril_indices(len(theta[0]), len(theta[0]))

        def information(Z: Tensor, products: Tensor, y: Tensor, s: Tensor) -> tuple[Tensor, ...]:
            logits = (Z @ theta.T)[..., None]
            curvature = _LOSS.curvature(logits)[0][..., 0].mul_(s)
            return products @ curvature, _LOSS.value(logits, y[..., None]).mul_(s).sum(dim=0)

        packed, loss = self._sum(information)
        matrix = theta.new_zeros(len(theta), len(theta[0]), len(theta[0]))
        matrix[:, first, second] = matrix[:, second, first] = packed.T
        factor, failed = torch.linalg.cholesky_ex(matrix)
        factor[failed > 0] = torch.eye(len(theta[0]), dtype=torch.float64)
        inverse = torch.cholesky_inverse(factor)
        double = torch.where(first == second, 1.0, 2.0)[:, None]  # entries off the diagonal
        packed_inverse = inverse[:, first, second].T * double

        def gradient(Z: Tensor, products: Tensor, y: Tensor, s: Tensor) -> tuple[Tensor, ...]:
            logits = (Z @ theta.T)[..., None]
            residual, curvature, _ = _LOSS.residual_curvature(logits, y[..., None])
            centred = torch.tanh(logits[..., 0] / 2)  # 2 p - 1
            leverage = curvature[..., 0] * (products.T @ packed_inverse)
            return (((residual[..., 0] + leverage * centred / 2) * s).T @ Z,)

        (slope,) = self._sum(gradient)
        value = factor.diagonal(dim1=1, dim2=2).log().sum(dim=1) - loss
        return torch.where(failed > 0, -torch.inf, value), -slope, inverse

    def _sum(self, function: Callable[..., tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """Sum a function of pieces of the rows, with the products (q (q + 1) / 2, r) of columns."""
        first, second = torch.tril_indices(self.Z.shape[1], self.Z.shape[1])

        def of_rows(rows: slice) -> tuple[Tensor, ...]:
            Z = self.Z[rows]
            columns = Z.T.contiguous()
            products = columns[first] * columns[second]
            return function(Z, products, self.target[rows], self.weight[rows])

        step = max(PIECE_ENTRIES // max(self.target.shape[1], len(first)), 1)
        return sum_blocks(add_terms, of_rows, list(gen_batches(len(self.Z), step)))

    def maximise(self) -> tuple[Tensor, Tensor, Tensor]:
        """Maximise by Fisher scoring with backtracking.

        Returns theta (m, q), and the inverse information (m, q, q) and values (m,) there, which are
        nan for outcomes that need more steps.
        """
        m, q = self.target.shape[1], self.Z.shape[1]
        found, theta, step = (self.Z.new_zeros(m, q) for _ in range(3))
        value = self.Z.new_full((m,), -torch.inf)
        inverses, values = self.Z.new_full((m, q, q), torch.nan), self.Z.new_full((m,), torch.nan)
        active, batch = torch.arange(m), self
        rounding = 1e-14 * len(self.Z) ** 0.5
        for _ in range(MAX_STEPS):
            reached, slope, inverse = batch.evaluate(theta + step)
            is_better = reached >= value - rounding * (1 + reached.abs())
            theta = torch.where(is_better[:, None], theta + step, theta)
            value = torch.where(is_better, reached, value)
            newton = torch.einsum("mij,mj->mi", inverse, slope)
            step = torch.where(is_better[:, None], newton, step / 2)
            decrement = (newton * slope).sum(dim=1) / 2
            # a step changes no coefficient by more standard errors than the root of twice as much
            is_done = is_better & (2 * decrement <= ESTIMATE_RTOL**2)
            if bool(is_done.any()):
                place, kept = active[is_done], ~is_done
                found[place] = theta[is_done] + step[is_done]
                inverses[place], values[place] = inverse[is_done], value[is_done]
                active, batch = active[kept], batch.take(kept)
                theta, step, value = theta[kept], step[kept], value[kept]
            if not len(active):
                break
        found[active] = theta
        return found, inverses, values
