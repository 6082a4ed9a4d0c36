"""What a loss must offer: functions of one row's logits."""

from typing import Protocol

from torch import Tensor


class Loss(Protocol):
    """A convex function of the logits of one row.

    All methods work row by row: they know no X, no weights and no penalty.  The Hessian in the
    logits of a row is ``diag(d) - q q'``, which is all that a curvature model needs to know: it
    does not depend on the target.

    A target is a class or, for the soft losses, the share of every class in the row: T numbers
    for every model, or for all at once (m = 1).

    Attributes
    ----------
    n_outputs : int
        Logits a row, K.
    """

    @property
    def n_outputs(self) -> int:
        """Logits a row, K."""

    def encode(self, classes: Tensor) -> Tensor:
        """Targets ``y`` (rows, m, T) as the other methods take them.

        Of class indices (rows, m); of soft losses, of probabilities: (rows, m) of the second of
        two classes, or (rows, m, K) of all.
        """

    def class_weight(self, y: Tensor, weight: Tensor) -> Tensor:
        """Sum of the weights (rows, m) over the rows, or shares, of every class, (m, classes)."""

    def value(self, logits: Tensor, y: Tensor) -> Tensor:
        """Loss (rows, m) of logits (rows, m, K) and targets (rows, m, T), or one for all."""

    def value_residual(self, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Loss (rows, m) and its derivative in the logits (rows, m, K)."""

    def residual_curvature(self, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Residual, d and q of a row at once, without the value."""

    def curvature(self, logits: Tensor) -> tuple[Tensor, Tensor | None]:
        """``d`` and ``q`` (rows, m, K) of the Hessian ``diag(d) - q q'``; None for q = 0."""

    def conjugate(self, dual: Tensor, y: Tensor) -> Tensor:
        """Convex conjugate (rows, m) at a dual point (rows, m, K) in its domain."""

    def one_sided(self, y: Tensor) -> Tensor | None:
        """Which logits of a row (rows, m, K) can go to one end only without a growing loss.

        A class without a share in the row may lose probability for ever, and one that has all of
        it may gain; a class that shares a row with others can do neither.  None: all of them.
        """

    def shares(self, y: Tensor) -> Tensor:
        """Share of every class in a row, (rows, m, classes)."""

    def margin(self, logits: Tensor, y: Tensor) -> Tensor:
        """By how much (rows, m) the row's own class leads the best other one, in logits.

        Of several classes that share a row, the one that leads least: it is never above 0.
        """

    def predict_proba(self, logits: Tensor) -> Tensor:
        """Probability of every class, (rows, m, classes)."""

    def log_proba(self, logits: Tensor) -> Tensor:
        """Logarithm of every class's probability, finite for finite logits."""
