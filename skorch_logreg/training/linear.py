"""Linear models in the training loop, in the units of X."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import scipy.sparse as sp
import torch
from torch import Tensor, nn

from skorch_logreg.data import InMemory
from skorch_logreg.data.threads import several_threads
from skorch_logreg.losses import Loss
from skorch_logreg.penalties import Penalty
from skorch_logreg.solvers.minibatch import MiniBatch
from skorch_logreg.training.batches import InMemoryBatches
from skorch_logreg.training.loop import Epoch, Trained, train
from skorch_logreg.training.objective import BatchObjective
from skorch_logreg.training.record import journal_of

_THREADED = 1 << 17  # numbers of a batch from which on a second thread pays


def train_linear(
    data: InMemory,
    loss: Loss,
    penalty: Penalty,
    strength: Tensor,
    solver: MiniBatch,
    head: "LinearHead",
    *,
    seed: int = 0,
    held_out_score: Callable[[], float] | None = None,
    callback: Callable[[Epoch], bool] | None = None,
    state: dict[str, Any] | None = None,
    epochs: int | None = None,
    total_weight: Tensor | None = None,
) -> Trained:
    """Train m linear models side by side; none knows of the others.

    Parameters
    ----------
    data : InMemory
        As it was given, not standardised.
    loss : Loss
    penalty : Penalty
    strength : Tensor of shape (m,)
        ``1 / C``.
    solver : MiniBatch
    head : LinearHead
        Where training starts and, in place, ends.
    seed : int
        Of the order of the rows.
    held_out_score, callback, state, epochs
        As in `train`.
    total_weight : Tensor of shape (1,) or (m,), or None
        Weight of all rows that the penalty stands beside; None: that of the data.

    Returns
    -------
    trained : Trained
    """
    layer, n_models, n_outputs = head.layer, len(strength), loss.n_outputs
    dtype = layer.weight.dtype
    batches, objective = prepared(data, loss, penalty, strength, solver, seed, dtype, total_weight)
    rows = min(solver.batch_size or data.n_samples, data.n_samples)
    with several_threads(rows * (data.n_features + n_models * n_outputs) >= _THREADED):
        return train(
            layer,
            layer,
            batches,
            objective,
            solver,
            forward=None if not data.is_sparse and data.X.dtype == dtype else head.logits,
            held_out_score=held_out_score,
            callback=callback,
            journal=journal_of(layer, data, loss, penalty, strength, solver, seed),
            state=state,
            epochs=epochs,
        )


def prepared(
    data: InMemory,
    loss: Loss,
    penalty: Penalty,
    strength: Tensor,
    solver: MiniBatch,
    seed: int,
    dtype: torch.dtype,
    total_weight: Tensor | None,
    together: bool = False,
) -> tuple[InMemoryBatches, BatchObjective]:
    """Mini-batches of the rows, and the objective over them, in a network's type.

    Models that are trained together share their scale, so that a cell counts the same in each.
    """
    n_models, n_outputs = len(strength), loss.n_outputs
    targets = data.targets
    if n_outputs == 1:
        targets = targets.reshape(len(targets), -1).to(dtype)
    elif targets.is_floating_point():
        targets = targets.to(dtype)
    weight = data.weight.sum(dim=0)
    if together:
        weight = weight.mean(dim=0, keepdim=True)
        total_weight = None if total_weight is None else total_weight.mean(dim=0, keepdim=True)
    weighted = bool((data.weight != 1).any())
    batches = InMemoryBatches(
        data.X,
        targets,
        (data.weight / (weight / data.n_samples)).to(dtype) if weighted else None,
        solver.batch_size,
        solver.shuffle,
        seed,
    )
    share = 1.0 if total_weight is None else weight / total_weight
    objective = BatchObjective.of(n_models, n_outputs, weight, penalty, strength * share, dtype)
    return batches, objective


@dataclass(frozen=True)
class LinearHead:
    """The weights of m linear models, as a layer of torch.

    Parameters
    ----------
    layer : nn.Linear
        From p columns to m K logits.
    n_models : int
    """

    layer: nn.Linear
    n_models: int

    @classmethod
    def of(
        cls,
        n_features: int,
        n_models: int,
        n_outputs: int,
        bias: bool,
        dtype: torch.dtype,
        device: torch.device,
    ) -> "LinearHead":
        """Zeros."""
        layer: nn.Linear = nn.utils.skip_init(  # a layer of its own draws from torch's generator
            nn.Linear,
            n_features,
            n_models * n_outputs,
            bias=bias,
            dtype=dtype,
            device=device,
        )
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)
        return cls(layer, n_models)

    def load(self, coef: Tensor, intercept: Tensor) -> None:
        """Set the weights, of coefficients (m, K, p) and intercepts (m, K)."""
        with torch.no_grad():
            self.layer.weight.copy_(coef.reshape(self.layer.weight.shape))
            if self.layer.bias is not None:
                self.layer.bias.copy_(intercept.reshape(-1))

    def params(self) -> tuple[Tensor, Tensor]:
        """Coefficients (m, K, p) and intercepts (m, K), float64 and of memory of their own."""
        weight = self.layer.weight.detach().to(torch.float64, copy=True)
        coef = weight.unflatten(0, (self.n_models, -1))
        if self.layer.bias is None:
            return coef, coef.new_zeros(coef.shape[:2])
        bias = self.layer.bias.detach().to(torch.float64, copy=True)
        return coef, bias.unflatten(0, (self.n_models, -1))

    def logits(self, X: Any) -> Tensor:
        """Logits (rows, m K) of dense or sparse rows."""
        if isinstance(X, Tensor):
            return self.layer(X.to(self.layer.weight.dtype))
        product: Any = _SparseProduct.apply
        logits: Tensor = product(self.layer.weight, X)
        return logits if self.layer.bias is None else logits + self.layer.bias


class _SparseProduct(torch.autograd.Function):
    """``X weight'`` of a SciPy array: torch's own sparse rows are in beta, and warn of it."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, X: sp.csr_array) -> Tensor:
        ctx.X = X
        return torch.from_numpy(X @ weight.detach().numpy().T)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return torch.from_numpy(ctx.X.T @ gradient.numpy()).T, None
