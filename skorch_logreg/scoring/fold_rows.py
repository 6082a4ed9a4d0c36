"""Rows of several folds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class FoldRows:
    """Row and fold (n_entries,) of the rows of several folds, sorted by fold, and their numbers."""

    rows: Tensor
    fold: Tensor
    lengths: tuple[int, ...]

    @classmethod
    def of(cls, parts: Sequence[Any], n_samples: int) -> "FoldRows":
        """Build from the indices, or masks, that a splitter yields for each fold.

        An IndexError is raised if an index is out of bounds.
        """
        arrays = [np.asarray(part) for part in parts]
        arrays = [np.flatnonzero(part) if part.dtype == bool else part for part in arrays]
        lengths = tuple(len(part) for part in arrays)
        rows = np.concatenate(arrays).astype(np.int64, copy=False) if arrays else np.zeros(0, int)
        if rows.size and not -n_samples <= rows.min() <= rows.max() < n_samples:
            raise IndexError(
                f"cv yields row {rows.max() if rows.max() >= n_samples else rows.min()}, "
                f"but X has {n_samples} rows."
            )
        rows = np.where(rows < 0, rows + n_samples, rows)
        fold = np.repeat(np.arange(len(arrays)), lengths)
        return cls(torch.from_numpy(rows), torch.from_numpy(fold), lengths)

    @property
    def parts(self) -> list[np.ndarray]:
        """Rows of every fold."""
        return [part.numpy() for part in self.rows.split(list(self.lengths))]

    @property
    def n_folds(self) -> int:
        """Number of folds."""
        return len(self.lengths)

    def counts(self, n_samples: int) -> Tensor:
        """Count the occurrences of every row in every fold, (n_samples, n_folds) float64.

        The counts are 0 or 1 unless a splitter yields a row repeatedly.
        """
        place = self.rows * self.n_folds + self.fold
        found = torch.bincount(place, minlength=n_samples * self.n_folds)
        return found.to(torch.float64).reshape(n_samples, self.n_folds)

    def take(self, logits: Tensor) -> Tensor:
        """Select the logits (n_entries, n_models, K) of every fold's rows by the fold's own models.

        ``logits`` (n_samples, n_folds * n_models, K) are those of all rows by all models; the
        models of a fold are adjacent.
        """
        parts = logits.unflatten(1, (self.n_folds, -1))
        return parts[self.rows.to(logits.device), self.fold.to(logits.device)]
