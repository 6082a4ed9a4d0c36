"""Loss functions of the logits of a row."""

from skorch_logreg.losses.binomial import Binomial
from skorch_logreg.losses.multinomial import Multinomial
from skorch_logreg.losses.protocol import Loss
from skorch_logreg.losses.soft_binomial import SoftBinomial
from skorch_logreg.losses.soft_multinomial import SoftMultinomial

__all__ = ["Binomial", "Loss", "Multinomial", "SoftBinomial", "SoftMultinomial"]
