"""Protocol of losses."""

from typing import ClassVar, Protocol

from torch import Tensor


class Loss(Protocol):
    """A convex function of the logits of one row.

    All methods work row by row: they do not use X or a penalty. The Hessian in the logits of a row
    is ``diag(d) - q q'``, which is all that curvature models need.

    A loss may have parameters of its own, on which no penalty acts, such as the thresholds of
    ordered classes: T nuisance parameters of every model. `nuisance` holds them, and the methods
    of `NuisanceLoss` are called only where it is not None. The loss is jointly convex in
    logits and nuisance parameters, and the objective minimises over these at every point. Such a
    loss has one logit; its nuisance parameters include the constant, in place of an intercept.

    A target is a class or, for the soft losses, the probability of every class: T numbers for
    every model, or for all models at once (m = 1).

    Attributes
    ----------
    kernel : str or None
        Name of the compiled kernels of the loss; None if it has none.
    nuisance : Tensor of shape (m, T), or (1, T) for all models, or None
        Parameters of the loss itself, positive from the second one on.
    """

    kernel: ClassVar[str | None]

    @property
    def nuisance(self) -> Tensor | None:
        """Nuisance parameters, or None; see the class."""

    @property
    def n_outputs(self) -> int:
        """Number of logits per row, K."""

    def encode(self, classes: Tensor) -> Tensor:
        """Encode class indices (rows, m) as targets ``y`` (rows, m, T) for the other methods.

        Soft losses encode probabilities: (rows, m) of the second of two classes, or (rows, m, K) of
        all classes.
        """

    def value(self, logits: Tensor, y: Tensor) -> Tensor:
        """Compute the loss (rows, m) of logits (rows, m, K); y (rows, m, T) or (rows, 1, T)."""

    def value_residual(self, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the loss (rows, m) and its derivative in the logits (rows, m, K)."""

    def residual_curvature(self, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Compute the residual, d and q of every row, without the loss."""

    def curvature(self, logits: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Compute ``d`` and ``q`` (rows, m, K) of the Hessian ``diag(d) - q q'``; None: q = 0.

        With one output q is 0, and with several it equals d, as for the softmax. Without nuisance
        parameters they do not depend on the target, which may be None.
        """

    def conjugate(self, dual: Tensor, y: Tensor) -> Tensor:
        """Compute the convex conjugate (rows, m) at a dual point (rows, m, K) in its domain."""

    def one_sided(self, y: Tensor) -> Tensor | None:
        """Return a mask (rows, m, K) of the logits that may go to infinity in one direction.

        Without increasing the loss, the logit of a class with probability 0 may go to minus
        infinity, and that of a class with probability 1 to infinity. The logits of all other
        classes are bounded in both directions. None: all logits are in the mask.
        """

    def shares(self, y: Tensor) -> Tensor:
        """Return the target probability of every class, (rows, m, classes)."""

    def margin(self, logits: Tensor, y: Tensor) -> Tensor:
        """Compute the logit of the row's own class minus the largest other one, (rows, m).

        If several classes have a positive probability, it is the smallest of their margins, which
        is never above 0.
        """

    def predict_proba(self, logits: Tensor) -> Tensor:
        """Compute the probability (..., classes) of every class from logits (..., K)."""

    def log_proba(self, logits: Tensor) -> Tensor:
        """Compute the logarithm of every class's probability, finite for finite logits."""


class NuisanceLoss(Loss, Protocol):
    """A loss with nuisance parameters; see `Loss`."""

    def with_nuisance(self, nuisance: Tensor) -> "NuisanceLoss":
        """Return the loss with other nuisance parameters (m, T)."""

    def prior(self, class_weight: Tensor) -> Tensor:
        """Return nuisance parameters (m, T), the best ones if all logits are zero.

        ``class_weight`` (m, classes) are the total weights of the classes.
        """

    def nuisance_sums(self, logits: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        """Sum over weighted rows what `nuisance_derivatives` takes.

        ``weight`` has shape (rows, m) or (rows, 1).
        """

    def nuisance_derivatives(self, sums: Tensor) -> tuple[Tensor, Tensor]:
        """Return gradients (m, T) and Hessians (m, T, T) in the nuisance parameters."""

    def weighted(self, logits: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Sum weighted losses (m,), and compute weighted residuals (rows, m, K)."""

    def mixed(self, logits: Tensor, y: Tensor) -> Tensor:
        """Compute the derivatives (rows, m, T) of the residual in the nuisance parameters."""

    def scaled_gap(self, logits: Tensor, y: Tensor, scale: Tensor) -> Tensor:
        """Compute the Fenchel-Young gap (rows, m) in logits and nuisance parameters.

        The dual point are the derivatives times ``scale`` (m,).
        """
