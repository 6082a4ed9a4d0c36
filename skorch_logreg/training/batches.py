"""Mini-batches of rows."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor


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
        Rows.
    targets : Tensor
        Targets of all rows, as in `Batch`.
    weight : Tensor or None
        Weights of all rows, as in `Batch`.
    batch_size : int or None
        Rows per batch; None: all rows in one batch, without a copy.
    shuffle : bool
        Whether to permute the rows in each epoch.
    seed : int
        Seed of the permutations.
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
        if not self.shuffle:
            for start in range(0, n, size):
                yield self._rows(slice(start, start + size))
            return
        self._generator.manual_seed(mix_seed(self.seed, number))
        order = torch.randperm(n, generator=self._generator, device="cpu")
        dense = isinstance(self.X, Tensor)
        parts = (order.to(self.targets.device) if dense else order).split(size)
        for part in parts:
            yield self._rows(part)

    def _rows(self, rows: Any) -> Batch:
        dense = isinstance(self.X, Tensor) or isinstance(rows, slice)
        return Batch(
            self.X[rows] if dense else self.X[rows.numpy()],
            self.targets[rows],
            None if self.weight is None else self.weight[rows],
        )


def mix_seed(seed: int, number: int) -> int:
    """Combine two numbers into one seed, so that epochs of neighbouring seeds are uncorrelated."""
    return (seed * 0x9E3779B97F4A7C15 + (number + 1) * 0xBF58476D1CE4E5B9) % (1 << 63)
