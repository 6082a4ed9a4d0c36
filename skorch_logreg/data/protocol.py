"""What data must offer: rows that multiply, and sums over them."""

from collections.abc import Callable
from typing import Any, Protocol, Self

import torch
from torch import Tensor


class Block(Protocol):
    """Consecutive rows of the design ``[Z 1]``, ``Z = (X - center) / scale``.

    The last column belongs to the intercept; the whole is never formed.

    Attributes
    ----------
    targets : Tensor of shape (rows, 1, T) or (rows, m, T)
        Target of every row, as the loss encodes it; of every model where they differ.
    weight : Tensor of shape (rows, 1) or (rows, m)
        Weight of every row, likewise.
    """

    targets: Tensor
    weight: Tensor

    def matmul(self, params: Tensor, out: Tensor | None = None) -> Tensor:
        """Logits (rows, m, K) of params (m, K, p + 1), into ``out`` if there is one."""

    def rmatmul(self, residual: Tensor) -> Tensor:
        """``[Z 1]' residual`` (m, K, p + 1) of residual (rows, m, K)."""

    def gram(
        self, weight: Tensor, rank_one: Tensor | None, columns: Tensor | None = None
    ) -> Tensor:
        """Gram matrices (m, K, c + 1, K, c + 1) of some columns (all if None) and the last.

        ``sum_i [z_i 1]'[z_i 1] x (diag(weight_i) - rank_one_i rank_one_i')``, with weight and
        rank_one (rows, m, K).
        """

    def bfloat16_gram(
        self, weight: Tensor, rank_one: Tensor | None, columns: Tensor | None = None
    ) -> Tensor:
        """Gram matrix (K (c + 1), K (c + 1)) of one model in low precision, lower triangle.

        weight and rank_one (rows, K).
        """

    def bfloat16_grams(self, weight: Tensor, columns: Tensor | None = None) -> Tensor:
        """Gram matrices (k, c + 1, c + 1) in low precision, one for each column of weight.

        ``sum_i weight_ik [z_i 1]'[z_i 1]`` of weight (rows, k); only the lower triangles count.
        """

    def cross(
        self, weight: Tensor, columns: Tensor, others: Tensor, low_precision: bool = False
    ) -> Tensor:
        """``sum_i weight_i z_ij [z_ik 1]`` (c, o + 1) of some columns j and others k.

        With ``low_precision`` perhaps in low precision.
        """

    def column_squares(self, weight: Tensor) -> Tensor:
        """``sum_i weight_ik [z_i 1]_j^2``, (k, p + 1), of weight (rows, k)."""

    def deviations(self, weight: Tensor, columns: Tensor) -> Tensor:
        """``sum_i weight_i z_ij`` and ``sum_i weight_i z_ij^2``, (2, c), of some columns j.

        Centred entry by entry, so that nothing cancels; weight (rows,).
        """

    def column_counts(self) -> Tensor:
        """Count the stored entries of every column, (p,)."""

    def outer(self, column_weight: Tensor, low_precision: bool = False) -> Tensor:
        """``Z diag(column_weight) Z'`` (rows, rows), perhaps in low precision."""


Kernel = Callable[..., tuple[Tensor, ...]]


class Data(Protocol):
    """Rows, wherever they live.

    Everything that touches X is a sum over row blocks, so ``reduce`` is all that a container on
    disk or on a cluster has to do differently.
    """

    targets: Tensor
    weight: Tensor
    center: Tensor
    scale: Tensor

    @property
    def n_passes(self) -> int:
        """Full reads of X so far, by whatever was derived from this data."""

    @property
    def n_samples(self) -> int:
        """Number of rows."""

    @property
    def n_features(self) -> int:
        """Number of columns."""

    @property
    def row_size(self) -> float:
        """What reading a row costs, in numbers of a dense one."""

    @property
    def n_weights(self) -> int:
        """Columns of weights: 1 for all models, or m."""

    @property
    def dtype(self) -> torch.dtype:
        """Type of a model of X: float32 or float64."""

    @property
    def device(self) -> torch.device:
        """Where the rows live."""

    @property
    def single_block(self) -> bool:
        """Whether one block holds all rows."""

    @property
    def whole(self) -> Block | None:
        """The block of all rows, where they are few enough to have been formed."""

    @property
    def is_split(self) -> bool:
        """Whether a pass has several blocks, which threads share."""

    @property
    def exact(self) -> Self:
        """The same data with float64 products."""

    def low_precision(self) -> Self:
        """Take float32 products, where those are faster for many passes."""

    def reduce(
        self, kernel: Kernel, *row_arrays: Tensor, reads: int = 1, few: bool = False
    ) -> tuple[Tensor, ...]:
        """Sum ``kernel(block, *rows of row_arrays)`` over all blocks.

        A kernel may write into its rows.  ``reads`` is what it adds to ``n_passes``.  With
        ``few`` there are as many blocks as threads: for sums that are large themselves.
        """

    def empty_rows(self, *shape: int) -> Tensor:
        """Make an array as long as the data, of the products' type."""

    def beside(self, rows: Tensor) -> Tensor:
        """Put an array as long as the data to where its rows are."""

    def sampled(self, n_rows: int) -> slice:
        """Say which rows a sample has."""

    def sample(self, n_rows: int, columns: Tensor | None = None) -> "Data":
        """Evenly spaced rows, with weights scaled up to the weight of all; perhaps some columns."""

    def pick(
        self, choose: Callable[..., Tensor], *row_arrays: Tensor
    ) -> tuple[Any, Tensor, Tensor]:
        """Copy rows of X as they are, with their targets and weights, to this machine's memory.

        ``choose(targets, weight, *rows of row_arrays)`` gives the places of the rows that are
        wanted among those at hand, which may be a part of all.  The first is an ndarray or a
        csr_array.  One read of X where rows are not in memory.
        """

    def column_moments(self) -> tuple[Tensor, Tensor]:
        """Weighted mean and standard deviation (p,) of the columns of X."""

    def select(self, models: Tensor) -> Self:
        """Keep the targets and weights of some models, where each has its own."""

    def outer(self, column_weight: Tensor, low_precision: bool = False) -> Tensor:
        """``Z diag(column_weight) Z'`` (n, n), where one block holds all rows."""

    def take_columns(self, columns: Tensor) -> "Data":
        """Copy some columns, under the same targets and weights and in the same units."""

    def recast(self, X: Tensor) -> "Data":
        """Put other rows (n, r) under the same targets and weights, as they are."""

    def standardised(
        self, center: Tensor, scale: Tensor, targets: Tensor, n_logits: int = 1
    ) -> Self:
        """Take the rows as ``(X - center) / scale``, with encoded targets; X is not copied.

        ``n_logits`` is the number of logits a row, of all models, that will be asked for.
        """
