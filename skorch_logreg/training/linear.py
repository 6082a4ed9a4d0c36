"""Linear models trained in mini-batches, in the units of X."""

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
from skorch_logreg.training.loop import EpochProgress, TrainingResult, train
from skorch_logreg.training.objective import BatchObjective
from skorch_logreg.training.state_io import open_checkpoint

# entries of X and logits in a batch from which on a second thread saves time
_MIN_THREADED_NUMBERS = 1 << 17


def train_linear(
    data: InMemory,
    loss: Loss,
    penalty: Penalty,
    reg_strength: Tensor,
    solver: MiniBatch,
    *,
    head: "LinearHead",
    seed: int = 0,
    held_out_score: Callable[[], float] | None = None,
    callback: Callable[[EpochProgress], bool] | None = None,
    state: dict[str, Any] | None = None,
    epochs: int | None = None,
    total_weight: Tensor | None = None,
) -> TrainingResult:
    """Train m independent linear models together, in place.

    Parameters
    ----------
    data : InMemory
        Rows, targets and weights; not standardised.
    loss : Loss
        Loss of one row.
    penalty : Penalty
        Penalty on the coefficients.
    reg_strength : Tensor of shape (m,)
        Regularisation strength ``1 / C`` of each model.
    solver : MiniBatch
        Settings of the optimiser and its schedule.
    head : LinearHead
        Initial weights; overwritten with the trained ones.
    seed : int
        Seed of the order of the rows.
    held_out_score, callback, state, epochs
        As in `train`.
    total_weight : Tensor of shape (1,) or (m,), or None
        Total weight that scales the penalty, if the data is part of a larger set; None: the total
        weight of the data.

    Returns
    -------
    trained : TrainingResult
        Status, history and optimiser state.
    """
    layer, n_models, n_outputs = head.layer, len(reg_strength), loss.n_outputs
    dtype = layer.weight.dtype
    batches, objective = prepare_batches(
        data, loss, penalty, reg_strength, solver, seed=seed, dtype=dtype, total_weight=total_weight
    )
    rows = min(solver.batch_size or data.n_samples, data.n_samples)
    with several_threads(rows * (data.n_features + n_models * n_outputs) >= _MIN_THREADED_NUMBERS):
        return train(
            layer,
            layer,
            batches,
            objective,
            solver,
            forward=None if not data.is_sparse and data.X.dtype == dtype else head.logits,
            held_out_score=held_out_score,
            callback=callback,
            checkpoint_writer=open_checkpoint(
                layer, data, loss, penalty, reg_strength, solver=solver, seed=seed
            ),
            state=state,
            epochs=epochs,
        )


def prepare_batches(
    data: InMemory,
    loss: Loss,
    penalty: Penalty,
    reg_strength: Tensor,
    solver: MiniBatch,
    *,
    seed: int,
    dtype: torch.dtype,
    total_weight: Tensor | None,
    shared_scale: bool = False,
) -> tuple[InMemoryBatches, BatchObjective]:
    """Build the mini-batches and the objective over them, in the network's dtype.

    With ``shared_scale`` all models divide by the same mean weight, so that an entry of y counts
    the same in each of them.
    """
    n_models, n_outputs = len(reg_strength), loss.n_outputs
    targets = data.targets
    if n_outputs == 1:
        targets = targets.reshape(len(targets), -1).to(dtype)
    elif targets.is_floating_point():
        targets = targets.to(dtype)
    weight = data.weight.sum(dim=0)
    if shared_scale:
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
    weight_share = 1.0 if total_weight is None else weight / total_weight
    objective = BatchObjective.of(
        n_models, n_outputs, weight, penalty, reg_strength * weight_share, dtype=dtype
    )
    return batches, objective


@dataclass(frozen=True)
class LinearHead:
    """Weights of m linear models, stored as one `torch.nn.Linear`.

    Parameters
    ----------
    layer : nn.Linear
        Layer from p columns to m K logits.
    n_models : int
        Number of models m.
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
        *,
        device: torch.device,
    ) -> "LinearHead":
        """Create a head whose weights are zero."""
        layer: nn.Linear = nn.utils.skip_init(  # no draws from torch's generator
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
        """Copy coefficients (m, K, p) and intercepts (m, K) into the layer."""
        with torch.no_grad():
            self.layer.weight.copy_(coef.reshape(self.layer.weight.shape))
            if self.layer.bias is not None:
                self.layer.bias.copy_(intercept.reshape(-1))

    def params(self) -> tuple[Tensor, Tensor]:
        """Return copies of the coefficients (m, K, p) and intercepts (m, K) in float64."""
        weight = self.layer.weight.detach().to(torch.float64, copy=True)
        coef = weight.unflatten(0, (self.n_models, -1))
        if self.layer.bias is None:
            return coef, coef.new_zeros(coef.shape[:2])
        bias = self.layer.bias.detach().to(torch.float64, copy=True)
        return coef, bias.unflatten(0, (self.n_models, -1))

    def logits(self, X: Any) -> Tensor:
        """Compute the logits (rows, m K) of dense or sparse rows."""
        if isinstance(X, Tensor):
            return self.layer(X.to(self.layer.weight.dtype))
        product: Any = _SparseProduct.apply
        logits: Tensor = product(self.layer.weight, X)
        return logits if self.layer.bias is None else logits + self.layer.bias


class _SparseProduct(torch.autograd.Function):
    """Product ``X weight'`` with a SciPy array; torch's own sparse tensors are in beta and warn."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, X: sp.csr_array) -> Tensor:
        ctx.X = X
        return torch.from_numpy(X @ weight.detach().numpy().T)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return torch.from_numpy(ctx.X.T @ gradient.numpy()).T, None
