"""Loss functions of the logits of a row."""

from skorch_logreg.losses.binomial import Binomial
from skorch_logreg.losses.multinomial import Multinomial
from skorch_logreg.losses.protocol import Loss
from skorch_logreg.losses.soft_binomial import SoftBinomial
from skorch_logreg.losses.soft_multinomial import SoftMultinomial

__all__ = ["Binomial", "Loss", "Multinomial", "SoftBinomial", "SoftMultinomial"]


def loss_of(n_classes: int, soft: bool = False) -> Loss:
    """Return the loss of a number of classes, with classes or probabilities as targets."""
    if soft:
        return SoftBinomial() if n_classes == 2 else SoftMultinomial(n_classes)
    return Binomial() if n_classes == 2 else Multinomial(n_classes)
