"""What one does with a fit."""

from skorch_logreg.analysis.bias_reduction import FirthFit, firth
from skorch_logreg.analysis.effects import Influence, MarginalEffects, influence, marginal_effects
from skorch_logreg.analysis.inference import Inference, likelihood_ratio_test, summary
from skorch_logreg.analysis.path import RegularizationPath, regularization_path
from skorch_logreg.analysis.profile import profile_intervals
from skorch_logreg.analysis.resampling import Bootstrap, bootstrap
from skorch_logreg.analysis.separable import Separation, separation

__all__ = [
    "Bootstrap",
    "FirthFit",
    "Inference",
    "Influence",
    "MarginalEffects",
    "RegularizationPath",
    "Separation",
    "bootstrap",
    "firth",
    "influence",
    "likelihood_ratio_test",
    "marginal_effects",
    "profile_intervals",
    "regularization_path",
    "separation",
    "summary",
]
