"""Protocols of row blocks and data sets."""

from collections.abc import Callable
from typing import Any, Protocol, Self

import torch
from torch import Tensor


class Block(Protocol):
    """Consecutive rows of the design matrix ``[Z 1]``, ``Z = (X - center) / scale``.

    The last column belongs to the intercept. The design matrix is never formed as a whole.

    Attributes
    ----------
    targets : Tensor of shape (rows, 1, T) or (rows, m, T)
        Target of every row, as the loss encodes it; one per model where the models differ.
    weight : Tensor of shape (rows, 1) or (rows, m)
        Weight of every row; one per model where the models differ.
    """

    targets: Tensor
    weight: Tensor

    def matmul(self, params: Tensor, out: Tensor | None = None) -> Tensor:
        """Compute logits (rows, m, K) of params (m, K, p + 1), into ``out`` if it is given."""

    def rmatmul(self, residual: Tensor) -> Tensor:
        """Compute ``[Z 1]' residual`` (m, K, p + 1) of residual (rows, m, K)."""

    def gram(
        self, weight: Tensor, rank_one: Tensor | None, columns: Tensor | None = None
    ) -> Tensor:
        """Compute Gram matrices (m, K, c + 1, K, c + 1) of some columns and the intercept.

        ``sum_i [z_i 1]'[z_i 1] x (diag(weight_i) - rank_one_i rank_one_i')``, with weight and
        rank_one (rows, m, K). All columns are used if ``columns`` is None.
        """

    def bfloat16_gram(
        self, weight: Tensor, rank_one: Tensor | None, columns: Tensor | None = None
    ) -> Tensor:
        """Compute a Gram matrix (K (c + 1), K (c + 1)) of one model in low precision.

        weight and rank_one have shape (rows, K). Only the lower triangle is valid. Factors are
        bfloat16 where the device multiplies it faster, else float32.
        """

    def bfloat16_grams(self, weight: Tensor, columns: Tensor | None = None) -> Tensor:
        """Compute Gram matrices (k, c + 1, c + 1) in low precision, one per column of weight.

        ``sum_i weight_ik [z_i 1]'[z_i 1]`` of weight (rows, k). Only the lower triangles are valid.
        """

    def cross(
        self, weight: Tensor, columns: Tensor, others: Tensor, low_precision: bool = False
    ) -> Tensor:
        """Compute ``sum_i weight_i z_ij [z_ik 1]`` (c, o + 1) of some columns j and others k.

        With ``low_precision`` the block may use float32 or bfloat16 factors.
        """

    def column_squares(self, weight: Tensor) -> Tensor:
        """Compute ``sum_i weight_ik [z_i 1]_j^2``, (k, p + 1), of weight (rows, k)."""

    def deviations(self, weight: Tensor, columns: Tensor) -> Tensor:
        """Compute sums of ``weight_i z_ij`` and ``weight_i z_ij^2``, (2, c), of some columns j.

        Entries are centred before they are summed, so that nothing cancels. weight has shape
        (rows,).
        """

    def column_counts(self) -> Tensor:
        """Count the stored entries of every column, (p,)."""

    def outer(self, column_weight: Tensor, low_precision: bool = False) -> Tensor:
        """Compute ``Z diag(column_weight) Z'`` (rows, rows).

        With ``low_precision`` the block may use float32 or bfloat16 factors.
        """


Kernel = Callable[..., tuple[Tensor, ...]]


class Data(Protocol):
    """A data set of rows, in any place.

    Every use of X is a sum over row blocks, so ``reduce`` is the only method that a container on
    disk or on a cluster has to implement differently.
    """

    targets: Tensor
    weight: Tensor
    center: Tensor
    scale: Tensor

    @property
    def n_passes(self) -> int:
        """Number of full reads of X so far, by this data and all data derived from it."""

    @property
    def n_samples(self) -> int:
        """Number of rows."""

    @property
    def n_features(self) -> int:
        """Number of columns."""

    @property
    def row_size(self) -> float:
        """Cost of reading one row, in numbers of a dense row."""

    @property
    def n_weights(self) -> int:
        """Number of weight columns: 1 for all models, or m."""

    @property
    def dtype(self) -> torch.dtype:
        """Type of the coefficients of a model fitted to X: float32 or float64."""

    @property
    def device(self) -> torch.device:
        """Device that holds the rows."""

    @property
    def single_block(self) -> bool:
        """Return True if one block holds all rows."""

    @property
    def whole(self) -> Block | None:
        """Block of all rows, if they are few enough for the design matrix to be stored."""

    @property
    def is_split(self) -> bool:
        """Return True if a pass has several blocks, which threads share."""

    @property
    def exact(self) -> Self:
        """The same data with float64 products."""

    def low_precision(self) -> Self:
        """Return data with float32 products, if those are faster over many passes."""

    def reduce(
        self, kernel: Kernel, *row_arrays: Tensor, reads: int = 1, few: bool = False
    ) -> tuple[Tensor, ...]:
        """Sum ``kernel(block, *rows of row_arrays)`` over all blocks.

        A kernel may write into its rows. ``reads`` is the number of passes to add to ``n_passes``.
        With ``few`` there are only as many blocks as threads, for sums that are large arrays.
        """

    def empty_rows(self, *shape: int) -> Tensor:
        """Return an uninitialised array with one entry per row, of the products' type."""

    def beside(self, rows: Tensor) -> Tensor:
        """Move an array with one entry per row to the place of the rows."""

    def sampled(self, n_rows: int) -> slice:
        """Return the slice of rows that `sample` takes."""

    def sample(self, n_rows: int, columns: Tensor | None = None) -> "Data":
        """Return evenly spaced rows, optionally of some columns.

        Weights are scaled up to the total weight of all rows.
        """

    def pick(
        self, choose: Callable[..., Tensor], *row_arrays: Tensor
    ) -> tuple[Any, Tensor, Tensor]:
        """Copy selected rows of X, their targets and weights to the memory of this process.

        ``choose(targets, weight, *rows of row_arrays)`` returns the indices of the wanted rows
        among the rows it is called with, which may be a part of all. X is returned as ndarray or
        csr_array. Rows that are not in memory are read once.
        """

    def column_moments(self) -> tuple[Tensor, Tensor]:
        """Compute the weighted mean and standard deviation (p,) of the columns of X."""

    def select(self, models: Tensor) -> Self:
        """Keep the targets and weights of some models, where models have their own."""

    def outer(self, column_weight: Tensor, low_precision: bool = False) -> Tensor:
        """Compute ``Z diag(column_weight) Z'`` (n, n), if one block holds all rows."""

    def take_columns(self, columns: Tensor) -> "Data":
        """Copy some columns, with the same targets, weights and units."""

    def recast(self, X: Tensor) -> "Data":
        """Replace X by other rows (n, r), unscaled, with the same targets and weights."""

    def standardised(
        self, center: Tensor, scale: Tensor, targets: Tensor, n_logits: int = 1
    ) -> Self:
        """Return the data as ``(X - center) / scale`` with encoded targets; X is not copied.

        ``n_logits`` is the number of logits per row, over all models, that will be computed.
        """
