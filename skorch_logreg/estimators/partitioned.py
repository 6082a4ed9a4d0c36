"""Rows in partitions that are stored outside this process."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from skorch_logreg.data import Data, FirstPassSample, Partitions, as_tensor, from_parts
from skorch_logreg.estimators.chunks import check_rows

__all__ = ["PartitionedRows"]


@dataclass(frozen=True)
class PartitionedRows:
    """Rows in partitions, which are validated where they are stored.

    Parameters
    ----------
    parts : Partitions
    shape : tuple of int
    dtype : dtype
        float32 or float64.
    feature_names : ndarray of str or None
    survey : FirstPassSample
        Findings of the first pass, which later fits reuse.
    """

    parts: Partitions
    shape: tuple[int, int]
    dtype: Any
    feature_names: np.ndarray | None
    survey: FirstPassSample = field(default_factory=FirstPassSample)

    def data(self, targets: Tensor, weight: Tensor | None) -> Data:
        """Combine the partitions with their targets and weights."""
        read = _BlockValidator(self.shape[1], self.dtype)
        dtype = torch.float32 if self.dtype == np.float32 else torch.float64
        return from_parts(
            self.parts,
            read,
            self.shape[1],
            dtype,
            targets,
            sample_weight=weight,
            survey=self.survey,
        )


@dataclass(frozen=True)
class _BlockValidator:
    """Callable that validates a partition where it is stored."""

    n_features: int
    dtype: Any

    def __call__(self, X: Any, index: int, check: bool) -> Any:
        rows = check_rows(X, f"block {index} of X", self.dtype, check)
        if rows.shape[1] != self.n_features:
            raise ValueError(
                f"Block {index} of X has {rows.shape[1]} columns, and should have "
                f"{self.n_features}."
            )
        return rows if sp.issparse(rows) else as_tensor(rows)
