"""Interfaces of row blocks, data sets and places of rows."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor

from skorch_logreg.data.tensors import take_models
from skorch_logreg.kernels.quadratic import ColumnProblem


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

    def loss_terms(
        self, loss: str, params: Tensor, logits: Tensor, before: Tensor | None, second: bool
    ) -> tuple[Tensor, ...] | None:
        """Compute logits and the losses of models in one read of the rows.

        Writes ``before + [Z 1] params`` into ``logits`` (rows, m, K). Returns the weighted losses
        (m,), their gradients (m, K, p + 1) and, with ``second``, ``[Z 1]' d`` (1, 1, p + 1) of the
        second derivatives d in the logits of one model. None without a kernel of this loss,
        "logistic" or "multinomial", for these rows.
        """

    def takes_newton_sums(self, loss: str | None, params: Tensor) -> bool:
        """Return True if there is a kernel of `newton_sums` for params (m, K, p + 1)."""

    def newton_sums(
        self, loss: str | None, params: Tensor, logits: Tensor, *, is_rough: bool
    ) -> Tensor:
        """Write logits, and sum what a Newton step of one model needs.

        See `kernels.passes.newton_sums`.
        """

    def newton_steps(
        self, loss: str | None, params: Tensor, ridge: Tensor, **options: Any
    ) -> tuple[Tensor, Tensor] | None:
        """Take Newton steps of many models; see `kernels.passes.newton_steps`.

        None without a kernel for the loss and these rows.
        """

    def hessian_product(self, loss: str, params: Tensor, curvature: Tensor) -> Tensor | None:
        """Multiply params with the Hessian of a loss in one read of the rows.

        curvature (rows, m, K) are the second derivatives of the logistic loss, or the probabilities
        of the classes.
        None without a kernel of the loss for these rows.
        """

    def gram(
        self, weight: Tensor, rank_one: Tensor | None, columns: Tensor | None = None
    ) -> Tensor:
        """Compute Gram matrices (m, K, c + 1, K, c + 1) of some columns and the intercept.

        ``sum_i [z_i 1]'[z_i 1] x (diag(weight_i) - rank_one_i rank_one_i')``, with weight and
        rank_one (rows, m, K). If rank_one is given, weight_i is rank_one_i times its sum, as in the
        Hessian of a softmax. All columns are used if ``columns`` is None.
        """

    def bfloat16_gram(self, weight: Tensor, rank_one: Tensor | None) -> Tensor:
        """Compute a Gram matrix (K (p + 1), K (p + 1)) of one model in low precision.

        weight and rank_one (rows, K) are as in `gram`. Only the lower triangle is valid. Factors
        are float32, or bfloat16 where the device multiplies it faster.
        """

    def bfloat16_grams(self, weight: Tensor) -> Tensor:
        """Compute Gram matrices (k, p + 1, p + 1) in low precision, one per column of weight.

        ``sum_i weight_ik [z_i 1]'[z_i 1]`` of weight (rows, k). Only the lower triangles are valid.
        """

    def cross(self, weight: Tensor, columns: Tensor, others: Tensor) -> Tensor:
        """Compute ``sum_i weight_i z_ij [z_ik 1]`` (c, o + 1) of some columns j and others k."""

    def deviations(self, weight: Tensor, columns: Tensor | None = None) -> Tensor:
        """Compute sums of ``weight_i z_ij`` and ``weight_i z_ij^2``, (2, c), of some columns j.

        Entries are centred before they are summed, so that nothing cancels. weight has shape
        (rows,). All columns are used if ``columns`` is None.
        """

    def outer(self, column_weight: Tensor, low_precision: bool = False) -> Tensor:
        """Compute ``Z diag(column_weight) Z'`` (rows, rows).

        With ``low_precision`` the block may use float32 or bfloat16 factors.
        """


Kernel = Callable[..., tuple[Tensor, ...]]


def add_terms(totals: tuple[Tensor, ...], terms: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Add the sums of one more block in place; there may be no totals before the first."""
    for total, term in zip(totals, terms, strict=bool(totals)):
        total.add_(term)
    return totals or terms


@dataclass(kw_only=True, eq=False)
class Data(ABC):
    """A data set of rows, in any place.

    Every use of X is a sum over row blocks, so ``reduce`` is the only method that a container on
    disk or on a cluster has to implement differently.

    Parameters
    ----------
    targets : array of shape (n_samples, 1) or (n_samples, m), perhaps by n_classes
        Classes, for all models or per model; once encoded, always with a third axis. Targets and
        weights are tensors, or `RemoteRows` where the rows are not in memory.
    weight : array of shape (n_samples, 1) or (n_samples, m), float64
    center, scale : Tensor of shape (n_features,), float64
        The design matrix is ``(X - center) / scale``.
    n_logits : int
        Number of logits per row, over all models. The more there are, the fewer rows a block has.
    reads : list of int
        One number, shared with all data derived from this: the full reads of X so far.

    Attributes
    ----------
    whole : Block or None
        Block of all rows, if a pass has no other block and does not convert it.
    one_block : Block or None
        Block of all rows, if they are in memory and need no conversion, even if passes divide them.
    single_block : bool
        Whether one block can hold all rows, as `outer` needs.
    is_split : bool
        Whether a pass has several blocks, which threads share.
    """

    targets: Any
    weight: Any
    center: Tensor
    scale: Tensor
    n_logits: int = 1
    reads: list[int] = field(default_factory=lambda: [0])

    @property
    def n_passes(self) -> int:
        """Number of full reads of X so far, by this data and all data derived from it."""
        return self.reads[0]

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return self.weight.shape[0]

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return self.center.shape[0]

    def confirm_finite(self, *sums: Tensor) -> None:
        """Raise a ValueError if sums over all rows show that X is not finite.

        Only rows in memory may not have been checked when they were read.
        """
        return

    @property
    @abstractmethod
    def row_size(self) -> float:
        """Cost of reading one row, in numbers of a dense row."""

    @property
    def device(self) -> torch.device:
        """Device of the sums, and of rows in memory."""
        return self.center.device

    @property
    def whole(self) -> Block | None:
        return None

    @property
    def one_block(self) -> Block | None:
        return None

    @property
    def single_block(self) -> bool:
        return False

    @property
    def is_split(self) -> bool:
        return True

    @property
    def exact(self) -> Self:
        """The same data with float64 products."""
        return self

    def low_precision(self, has_kernel: bool = False) -> Self:
        """Return data with float32 products, if those are faster over many passes.

        ``has_kernel`` says whether kernels compute the loss in the same pass.
        """
        return self

    @abstractmethod
    def reduce(
        self, kernel: Kernel, *row_arrays: Any, reads: int = 1, few: bool = False
    ) -> tuple[Tensor, ...]:
        """Sum ``kernel(block, *rows of row_arrays)`` over all blocks.

        A kernel may write into its rows. ``reads`` is the number of passes to add to ``n_passes``.
        With ``few`` there are only as many blocks as threads, for sums that are large arrays.
        """

    @abstractmethod
    def empty_rows(self, *shape: int) -> Any:
        """Return an uninitialised array with one entry per row, of the products' type."""

    @abstractmethod
    def beside(self, rows: Tensor) -> Any:
        """Move an array with one entry per row to the place of the rows."""

    @abstractmethod
    def sampled(self, n_rows: int) -> slice:
        """Return the slice of rows that `sample` takes."""

    @abstractmethod
    def sample(self, n_rows: int) -> "Data":
        """Return evenly spaced rows in memory.

        Weights are scaled up to the total weight of all rows.
        """

    @abstractmethod
    def pick(self, choose: Callable[..., Tensor], *row_arrays: Any) -> tuple[Any, Tensor, Tensor]:
        """Copy selected rows of X, their targets and weights to the memory of this process.

        ``choose(targets, weight, *rows of row_arrays)`` returns the indices of the wanted rows
        among the rows it is called with, which may be a part of all. X is returned as ndarray or
        csr_array. Rows that are not in memory are read once.
        """

    @abstractmethod
    def column_moments(self) -> tuple[Tensor, Tensor]:
        """Compute the weighted mean and standard deviation (p,) of the columns of X.

        Large data are sampled. Constant columns have deviation 0.
        """

    def largest_entries(self, *, reads: bool = True) -> Tensor | None:
        """Return the largest absolute value (p,) of every column of the design matrix.

        One read of X at first, unless the first pass found them; None where that is not faster
        than a pass, or if they are not known without ``reads``.
        """
        return None

    def select(self, models: Tensor) -> Self:
        """Keep the targets and weights of some models, where models have their own."""
        targets, weight = (
            take_models(array, models) if array.shape[1] > 1 else array
            for array in (self.targets, self.weight)
        )
        columns = max(self.targets.shape[1], self.weight.shape[1])
        n_logits = max(self.n_logits * min(len(models), columns) // columns, 1)
        return replace(self, targets=targets, weight=weight, n_logits=n_logits)

    def outer(self, column_weight: Tensor, low_precision: bool = False) -> Tensor:
        """Compute ``Z diag(column_weight) Z'`` (n, n), if one block holds all rows."""
        raise ValueError("rows in parts have no matrix of all their pairs")

    def reads_columns(self, n_columns: int) -> bool:
        """Return True if `column_step` over so many columns is faster than their Hessian."""
        return False

    def column_step(self, problem: ColumnProblem) -> Tensor | None:
        """Minimise a quadratic model of one output plus an elastic net over some columns.

        Returns the step (c + 1,); None without a kernel for these rows.
        """
        return None

    def recast(self, X: Tensor) -> "Data":
        """Replace X by other rows (n, r), unscaled, with the same targets and weights."""
        raise ValueError("rows that live elsewhere have no other columns")

    @abstractmethod
    def take_columns(self, columns: Tensor) -> "Data":
        """Copy some columns, with the same targets, weights and units."""

    def standardised(self, center: Tensor, scale: Tensor, targets: Any, n_logits: int = 1) -> Self:
        """Return the data as ``(X - center) / scale`` with encoded targets; X is not copied.

        ``n_logits`` is the number of logits per row, over all models, that will be computed.
        """
        return replace(self, center=center, scale=scale, targets=targets, n_logits=n_logits)

    def centred(self, center: Tensor) -> Self:
        """Return the data as ``X - center``."""
        return replace(self, center=center, scale=torch.ones_like(center))


Task = Callable[[Any, int, list[Any]], tuple[Any, list[Any]]]


class Partitions(Protocol):
    """A place of rows, divided into partitions.

    A *held* value is stored with its partition; here it is represented by a handle.

    Attributes
    ----------
    is_read_again : bool
        True if every pass reads or computes the rows, so that they may change.
    """

    is_read_again: ClassVar[bool]

    @property
    def lengths(self) -> list[int]:
        """Number of rows of every partition."""

    def scatter(self, values: Sequence[Any]) -> Any:
        """Store one value per partition, and return a handle of them."""

    def run(
        self, work: Task, held: Sequence[Any], n_kept: int, reads: bool
    ) -> tuple[tuple[Tensor, ...], list[Any]]:
        """Sum the terms of ``work(X or None, index, held values)`` over all partitions.

        The task returns terms and ``n_kept`` values, which the partition stores: their handles are
        returned. X is passed if ``reads`` is True.
        """

    def collect(self, work: Task, held: Sequence[Any], reads: bool) -> list[Any]:
        """Return the terms of every partition, in order."""

    def may_hold(self, n_bytes: int) -> bool:
        """Return True if there is room for values of so many bytes in total."""

    def holding(self, handle: Any) -> "Partitions":
        """Return partitions whose X are the values of a handle."""
