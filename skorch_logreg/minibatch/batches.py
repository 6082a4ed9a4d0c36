"""Mini-batches of rows in memory, or of a `torch.utils.data.DataLoader`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from skorch_logreg.data import as_tensor


class Batch(NamedTuple):
    """Rows of one mini-batch.

    Attributes
    ----------
    inputs : object
        Rows of X, as the network takes them.
    targets : Tensor of shape (rows, 1), (rows, m) or (rows, m, K)
        Class indices or class probabilities; with one logit a model, floats in the network's dtype.
    weight : Tensor of shape (rows, 1) or (rows, m), or None
        Sample weights, scaled to mean 1 over all rows; None stands for 1 everywhere.
    """

    inputs: Any
    targets: Tensor
    weight: Tensor | None


class Batches(Protocol):
    """Source of mini-batches that passes over all rows once per epoch."""

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of an epoch, in an order that depends only on its number."""


@dataclass(frozen=True)
class InMemoryBatches:
    """Mini-batches of arrays in memory.

    The order of the rows is drawn from the seed and the number of the epoch, so that resumed
    training sees the same batches as uninterrupted training.

    Parameters
    ----------
    X : Tensor or csr_array of shape (n_samples, n_features)
    targets, weight : Tensor
        Targets and weights of all rows, as in `Batch`.
    batch_size : int or None
        Number of rows of a batch; None: all rows, without a copy.
    shuffle : bool
        Whether to permute the rows in each epoch, with ``seed``.
    seed : int
    """

    X: Any
    targets: Tensor
    weight: Tensor | None
    batch_size: int | None
    shuffle: bool
    seed: int
    _generator: torch.Generator = field(
        default_factory=lambda: torch.Generator(device="cpu"), compare=False
    )

    @cached_property
    def _all(self) -> Batch:
        return Batch(self.X, self.targets, self.weight)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of an epoch; views if `shuffle` is False."""
        n = int(self.X.shape[0])
        size = self.batch_size or n
        if size >= n:
            yield self._all
            return
        parts: Any = (slice(start, start + size) for start in range(0, n, size))
        is_dense = isinstance(self.X, Tensor)
        if self.shuffle:
            self._generator.manual_seed(mix_seed(self.seed, number))
            order = torch.randperm(n, generator=self._generator, device="cpu")
            parts = (order.to(self.targets.device) if is_dense else order).split(size)
        for rows in parts:
            inputs = self.X[rows if is_dense or isinstance(rows, slice) else rows.numpy()]
            weight = None if self.weight is None else self.weight[rows]
            yield Batch(inputs, self.targets[rows], weight)


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
    dtype, device
        Floating-point type and device of the network.
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
            weight = None if weight is None else self._to_device(weight / self.mean_weight)
            yield Batch(self._to_device(rows), self._to_device(targets, keep=True), weight)

    def _to_device(self, tensor: Tensor, keep: bool = False) -> Tensor:
        """Move a tensor, of the network's type; with ``keep`` class indices remain integers."""
        dtype = self.dtype if not keep or tensor.is_floating_point() else None
        return tensor.to(self.device, dtype, non_blocking=True)


def mix_seed(seed: int, number: int) -> int:
    """Combine two numbers into one seed, so that epochs of neighbouring seeds are uncorrelated."""
    return (seed * 0x9E3779B97F4A7C15 + (number + 1) * 0xBF58476D1CE4E5B9) % (1 << 63)
