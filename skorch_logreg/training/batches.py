"""Rows in mini-batches."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor


class Batch(NamedTuple):
    """Some rows.

    Attributes
    ----------
    inputs : object
        What the network takes: rows of X.
    targets : Tensor of shape (rows, 1), (rows, m) or (rows, m, K)
        Class indices or probabilities; for one logit a model floats, of the network's type.
    weight : Tensor of shape (rows, 1) or (rows, m), or None
        Of mean 1 over all rows; None: 1 for all.
    """

    inputs: Any
    targets: Tensor
    weight: Tensor | None


class Batches(Protocol):
    """All rows, batch by batch, once an epoch."""

    def epoch(self, number: int) -> Iterator[Batch]:
        """Give the batches of an epoch, in an order that depends on its number alone."""


@dataclass(frozen=True)
class InMemoryBatches:
    """Mini-batches of arrays.

    The order of an epoch is drawn from the seed and its number, so that training can go on in
    the middle.

    Parameters
    ----------
    X : Tensor or csr_array of shape (n_samples, n_features)
    targets : Tensor
        As in `Batch`, of all rows.
    weight : Tensor or None
    batch_size : int or None
        None: all rows at once, which are copied nowhere.
    shuffle : bool
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
        """Give the batches of an epoch; without `shuffle` they are views."""
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
    """Make a seed of two numbers, so that epochs of neighbouring seeds have nothing in common."""
    return (seed * 0x9E3779B97F4A7C15 + (number + 1) * 0xBF58476D1CE4E5B9) % (1 << 63)
