"""Mini-batches of rows in memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

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

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of an epoch; views if `shuffle` is False."""
        n = int(self.X.shape[0])
        size = self.batch_size or n
        if size >= n:
            yield Batch(self.X, self.targets, self.weight)
            return
        parts: Any = (slice(start, start + size) for start in range(0, n, size))
        is_dense = isinstance(self.X, Tensor)
        if self.shuffle:
            generator = torch.Generator("cpu").manual_seed(mix_seed(self.seed, number))
            order = torch.randperm(n, generator=generator, device="cpu")
            parts = (order.to(self.targets.device) if is_dense else order).split(size)
        for rows in parts:
            inputs = self.X[rows if is_dense or isinstance(rows, slice) else rows.numpy()]
            weight = None if self.weight is None else self.weight[rows]
            yield Batch(inputs, self.targets[rows], weight)


def mix_seed(seed: int, number: int) -> int:
    """Combine two numbers into one seed, so that epochs of neighbouring seeds are uncorrelated."""
    return (seed * 0x9E3779B97F4A7C15 + (number + 1) * 0xBF58476D1CE4E5B9) % (1 << 63)
