"""Mini-batches that a loader of torch brings."""

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
    """The batches of a `DataLoader`, as it makes them, on a device.

    Parameters
    ----------
    loader : DataLoader
        Of (X, y) or (X, y, weight).
    encode : callable
        From a batch's y and weight to targets and weight, as they were given.
    mean_weight : Tensor of shape (1,), float64
        Of all rows.
    dtype : torch.dtype
        Of the network.
    device : torch.device
    """

    loader: DataLoader[Any]
    encode: Callable[[Any, Any], tuple[Tensor, Tensor | None]]
    mean_weight: Tensor
    dtype: torch.dtype
    device: torch.device

    def epoch(self, number: int) -> Iterator[Batch]:
        """Give the batches of an epoch; copies from pinned memory do not wait for each other."""
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
