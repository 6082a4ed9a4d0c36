"""Inference, regularization paths, resampling and threshold tuning for fitted models."""

from skorch_logreg.analysis.bias_reduction import firth
from skorch_logreg.analysis.costs import expected_cost_decision
from skorch_logreg.analysis.effects import Influence, MarginalEffects, influence, marginal_effects
from skorch_logreg.analysis.firth_table import FirthFit, FirthOutcomes
from skorch_logreg.analysis.inference import summary
from skorch_logreg.analysis.inference_table import Inference
from skorch_logreg.analysis.inflation import VarianceInflation, variance_inflation
from skorch_logreg.analysis.likelihood_ratio import (
    DevianceAnalysis,
    LikelihoodRatioTest,
    analysis_of_deviance,
    likelihood_ratio_test,
)
from skorch_logreg.analysis.outcome_table import OutcomeInference
from skorch_logreg.analysis.path import RegularizationPath, regularization_path
from skorch_logreg.analysis.predictions import PredictionIntervals, prediction_intervals
from skorch_logreg.analysis.prior import correct_prior
from skorch_logreg.analysis.profile import ProfileIntervals, profile_intervals
from skorch_logreg.analysis.proportional_odds import BrantTest, brant_test
from skorch_logreg.analysis.resampling import Bootstrap, bootstrap
from skorch_logreg.analysis.separable import Separation, separation
from skorch_logreg.analysis.thresholds import TunedThreshold, tune_threshold
from skorch_logreg.analysis.wald import WaldTest, wald_test

__all__ = [
    "Bootstrap",
    "BrantTest",
    "DevianceAnalysis",
    "FirthFit",
    "FirthOutcomes",
    "Inference",
    "Influence",
    "LikelihoodRatioTest",
    "MarginalEffects",
    "OutcomeInference",
    "PredictionIntervals",
    "ProfileIntervals",
    "RegularizationPath",
    "Separation",
    "TunedThreshold",
    "VarianceInflation",
    "WaldTest",
    "analysis_of_deviance",
    "bootstrap",
    "brant_test",
    "correct_prior",
    "expected_cost_decision",
    "firth",
    "influence",
    "likelihood_ratio_test",
    "marginal_effects",
    "prediction_intervals",
    "profile_intervals",
    "regularization_path",
    "separation",
    "summary",
    "tune_threshold",
    "variance_inflation",
    "wald_test",
]
