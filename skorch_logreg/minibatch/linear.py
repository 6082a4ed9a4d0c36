"""Linear models as a layer of torch."""

from dataclasses import dataclass
from typing import Any

import scipy.sparse as sp
import torch
from torch import Tensor, nn

from skorch_logreg.objective import Params


@dataclass(frozen=True)
class LinearHead:
    """Weights of m linear models from p columns, stored as one `torch.nn.Linear` to m K logits."""

    layer: nn.Linear
    n_models: int

    @classmethod
    def zeros(
        cls, shape: tuple[int, int, int], *, bias: bool, dtype: torch.dtype, device: torch.device
    ) -> "LinearHead":
        """Create a head whose weights, of shape (m, K, p), are zero."""
        n_models, n_outputs, n_features = shape
        layer: nn.Linear = nn.utils.skip_init(  # no draws from torch's generator
            nn.Linear, n_features, n_models * n_outputs, bias=bias, dtype=dtype, device=device
        )
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)
        return cls(layer, n_models)

    def load(self, params: Params) -> None:
        """Copy parameters into the layer."""
        with torch.no_grad():
            self.layer.weight.copy_(params.coef.reshape(self.layer.weight.shape))
            if self.layer.bias is not None:
                self.layer.bias.copy_(params.intercept.reshape(-1))

    def params(self) -> Params:
        """Return copies of the parameters in float64."""
        weight = self.layer.weight.detach().to(torch.float64, copy=True)
        coef = weight.unflatten(0, (self.n_models, -1))
        if self.layer.bias is None:
            return Params(coef, coef.new_zeros(coef.shape[:2]))
        bias = self.layer.bias.detach().to(torch.float64, copy=True)
        return Params(coef, bias.unflatten(0, (self.n_models, -1)))

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
