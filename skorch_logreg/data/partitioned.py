"""Rows that are not all at hand: a sample of them stands for the rest."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import scipy.sparse as sp
import torch
from torch import Tensor

from skorch_logreg.data.memory import InMemory, from_arrays
from skorch_logreg.data.protocol import Block, Kernel

_MOMENT_ROWS = 1000  # that tell of all, where no column is constant in them


@dataclass
class Survey:
    """What the first pass finds out, for all passes to come.

    Attributes
    ----------
    lengths : list of int
        Rows of every part.
    step : int
        Every so many-th row is kept.
    kept : Tensor, csr_array or None
        These rows.
    """

    lengths: list[int] = field(default_factory=list)
    step: int = 1
    kept: Any = None

    def keep(self, parts: list[Any]) -> None:
        """Keep rows of all parts."""
        sparse = any(sp.issparse(part) for part in parts)
        self.kept = sp.vstack(parts, format="csr") if sparse else torch.cat(parts)

    def of_part(self, start: int) -> int:
        """Say which row of a part is the first that is kept, where it begins at row ``start``."""
        return (self.step // 2 - start) % self.step


@dataclass(kw_only=True)
class Partitioned:
    """What `Data` does with rows in parts, wherever these are read; see there for the methods.

    Parameters
    ----------
    targets, weight : Tensor
        As `InMemory` has them, of all rows.
    center, scale : Tensor of shape (n_features,), float64
    dtype : torch.dtype
        Type of X's entries.
    n_logits : int
        Logits a row, of all models.
    """

    targets: Any
    weight: Any
    center: Tensor
    scale: Tensor
    dtype: torch.dtype
    n_logits: int = 1
    reads: list[int] = field(default_factory=lambda: [0], compare=False)
    survey: Survey = field(default_factory=Survey, compare=False)

    whole = None
    single_block = False
    is_split = True
    device = torch.device("cpu")

    @property
    def n_passes(self) -> int:
        """Full reads of X so far, by whatever was derived from this data."""
        return self.reads[0]

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return len(self.weight)

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return len(self.center)

    @property
    def row_size(self) -> float:
        """What reading a row costs, in numbers of a dense one."""
        return self._sampled_rows.row_size

    @property
    def n_weights(self) -> int:
        """Columns of weights: 1 for all models, or m."""
        return int(self.weight.shape[1])

    @property
    def exact(self) -> Self:
        """The same data: all products are float64."""
        return self

    def rough(self) -> Self:
        """Take the same data: to read it costs more than to multiply it."""
        return self

    def reduce(
        self, kernel: Kernel, *row_arrays: Tensor, reads: int = 1, few: bool = False
    ) -> tuple[Tensor, ...]:
        """Sum ``kernel(block, *rows of row_arrays)`` over all blocks."""
        raise NotImplementedError

    def _keep(self) -> None:
        """Read all rows once, and keep a sample of them in the survey."""
        raise NotImplementedError

    def column_moments(self) -> tuple[Tensor, Tensor]:
        """Weighted mean and standard deviation (p,) of the columns of X.

        Of the rows that the first pass keeps, if they are many and no column is constant there.
        """
        sample = self._sampled_rows
        found = sample.column_moments()
        if sample.n_samples < _MOMENT_ROWS or not bool((found[1] > 0).all()):
            return self._exact_moments(found[0])
        return found

    def _exact_moments(self, about: Tensor) -> tuple[Tensor, Tensor]:
        """Take moments of all rows about a mean of some, which leaves little to cancel."""

        def kernel(block: Block) -> tuple[Tensor, ...]:
            weight = block.weight.mean(dim=1, keepdim=True)
            return block.rmatmul(weight[..., None])[0, 0], block.column_squares(weight)[0]

        shifted = replace(self, center=about, scale=torch.ones_like(about))
        first, second = shifted.reduce(kernel)
        shift, variance = first[:-1] / first[-1], second[:-1] / first[-1]
        mean = about + shift
        deviation = (variance - shift.square()).clamp(min=0.0).sqrt()
        # what rounding of a constant leaves is not a deviation
        return mean, deviation * (deviation > 1e-13 * mean.abs())

    @cached_property
    def _sampled_rows(self) -> InMemory:
        """The rows that are kept, with the weight of all."""
        if self.survey.kept is None:
            self._keep()
        targets, weight, total = self._beside_kept(
            slice(self.survey.step // 2, None, self.survey.step)
        )
        factor = (total / weight.sum(dim=0)).nan_to_num(1.0, 1.0)
        part = from_arrays(self.survey.kept, targets, weight * factor)
        return replace(part, center=self.center, scale=self.scale, n_logits=self.n_logits)

    def _beside_kept(self, rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Targets and weights of the rows that are kept, and the weight of all."""
        return self.targets[rows], self.weight[rows], self.weight.sum(dim=0)

    def sampled(self, n_rows: int) -> slice:
        """Say which rows a sample has: of those that are kept."""
        among, step = self._sampled_rows.sampled(n_rows), self.survey.step
        return slice(step // 2 + step * among.start, None, step * among.step)

    def sample(self, n_rows: int, columns: Tensor | None = None) -> InMemory:
        """Evenly spaced rows, with weights scaled up to the weight of all; perhaps some columns.

        In memory, and as many as were kept at most.
        """
        return self._sampled_rows.sample(n_rows, columns)

    def outer(self, column_weight: Tensor, rough: bool = False) -> Tensor:
        """Refuse: no block holds all rows."""
        raise ValueError("rows in parts have no matrix of all their pairs")

    def standardised(self, center: Tensor, scale: Tensor, targets: Any, n_logits: int = 1) -> Self:
        """Take the rows as ``(X - center) / scale``, with encoded targets."""
        return replace(self, center=center, scale=scale, targets=targets, n_logits=n_logits)
