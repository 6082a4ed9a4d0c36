"""Mini-batches from a `torch.utils.data.DataLoader`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from skorch_logreg.data import as_tensor
from skorch_logreg.training.batches import Batch


@dataclass(frozen=True)
class LoaderBatches:
    """Batches of a `DataLoader`, moved to a device.

    Parameters
    ----------
    loader : DataLoader
        Loader that yields (X, y) or (X, y, weight).
    encode : callable
        Function from the y and weight of a batch, as loaded, to targets and weight.
    mean_weight : Tensor of shape (1,), float64
        Mean weight of all rows.
    dtype : torch.dtype
        Floating-point type of the network.
    device : torch.device
        Device of the network.
    """

    loader: DataLoader[Any]
    encode: Callable[[Any, Any], tuple[Tensor, Tensor | None]]
    mean_weight: Tensor
    dtype: torch.dtype
    device: torch.device

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of an epoch; copies from pinned memory are asynchronous."""
        for X, y, *rest in self.loader:
            rows = X.detach() if isinstance(X, Tensor) else as_tensor(np.asarray(X))
            targets, weight = self.encode(y, rest[0] if rest else None)
            if targets.is_floating_point():
                targets = self._to_device(targets)
            else:
                targets = targets.to(self.device, non_blocking=True)
            if weight is not None:
                weight = self._to_device(weight / self.mean_weight)
            yield Batch(self._to_device(rows), targets, weight)

    def _to_device(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, self.dtype, non_blocking=True)
