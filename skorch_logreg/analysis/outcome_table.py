"""Tables of coefficients of many outcomes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from skorch_logreg.analysis.inference_table import Inference
from skorch_logreg.analysis.normal import NormalEstimates
from skorch_logreg.analysis.table import OutcomeRows
from skorch_logreg.names import index_of


@dataclass(frozen=True, repr=False)
class OutcomeInference(OutcomeRows, NormalEstimates):
    """Result of `summary` for a `MultiLabel`: the inference of all outcomes.

    ``found[name]`` is the `Inference` of one outcome, with its tests, AIC and so on.

    Attributes
    ----------
    outcomes : ndarray of shape (n_outcomes,)
        Names of the outcomes: those of the columns of Y, or their numbers.
    names : tuple of str
        Names of the parameters; the intercept is the last one.
    coef, standard_error, z, p_value, odds_ratio : ndarray of shape (n_outcomes, n_params)
        As in `Inference`; errors and p-values are nan where they cannot be computed.
    interval : ndarray of shape (n_outcomes, n_params, 2)
        Lower and upper confidence limits.
    adjusted_p : ndarray of shape (n_outcomes, n_params)
        P-values of each parameter, adjusted for the number of outcomes so that they control the
        false discovery rate (Benjamini and Hochberg, `scipy.stats.false_discovery_control`).
    covariance : ndarray of shape (n_outcomes, n_params, n_params)
        Covariance matrices of the estimates.
    convention, level, weight_type
        As in `Inference`.
    log_likelihood, null_log_likelihood, n_samples, df_model : ndarray of shape (n_outcomes,)
        As in `Inference`; unknown targets are not counted.
    is_penalised : ndarray of shape (n_outcomes,)
        Whether the model of an outcome has a penalty.
    messages : dict of str
        Reasons why outcomes, its keys, have no valid errors: the fit did not converge, the columns
        are collinear or separate the classes, or the outcome has one value.
    convergence_message : str or None
        Number of these outcomes, with the first messages.
    """

    outcomes: np.ndarray
    names: tuple[str, ...]
    coef: np.ndarray
    covariance: np.ndarray
    convention: str
    level: float
    log_likelihood: np.ndarray
    null_log_likelihood: np.ndarray
    n_samples: np.ndarray
    df_model: np.ndarray
    n_intercepts: int
    is_penalised: np.ndarray
    messages: dict[Any, str]
    convergence_message: str | None = None
    weight_type: str = "frequency"

    def __getitem__(self, outcome: Any) -> Inference:
        each = index_of(outcome, self.outcomes, "The outcome")
        return Inference(
            names=self.names,
            coef=self.coef[each],
            covariance=self.covariance[each],
            convention=self.convention,
            level=self.level,
            log_likelihood=float(self.log_likelihood[each]),
            null_log_likelihood=float(self.null_log_likelihood[each]),
            n_samples=float(self.n_samples[each]),
            df_model=float(self.df_model[each]),
            n_intercepts=self.n_intercepts,
            is_penalised=bool(self.is_penalised[each]),
            convergence_message=self.messages.get(outcome),
            weight_type=self.weight_type,
            classes=np.arange(2),
        )

    @property
    def odds_ratio(self) -> np.ndarray:
        """Odds ratios for an increase of a feature by one, of shape (n_outcomes, n_params)."""
        with np.errstate(over="ignore", under="ignore"):
            return np.exp(self.coef)

    @property
    def adjusted_p(self) -> np.ndarray:
        """P-values adjusted over the outcomes, of shape (n_outcomes, n_params)."""
        return adjusted_over_outcomes(self.p_value)

    def _columns(self) -> dict[str, Any]:
        lower, upper = np.moveaxis(self.interval, -1, 0)
        columns = {"coef": self.coef, "std err": self.standard_error, "z": self.z}
        columns |= {"p": self.p_value, "lower": lower, "upper": upper}
        columns |= {"odds ratio": self.odds_ratio, "adjusted p": self.adjusted_p}
        return {head: values.ravel() for head, values in columns.items()}

    def _notes(self) -> list[str]:
        return [f"covariance: {self.convention}", *super()._notes()]


def adjusted_over_outcomes(p_value: np.ndarray) -> np.ndarray:
    """Adjust p-values (n_outcomes, n_params) of each parameter; nan where they are nan."""
    found, is_known = np.full_like(p_value, np.nan), ~np.isnan(p_value).any(axis=1)
    if is_known.any():
        found[is_known] = stats.false_discovery_control(p_value[is_known], axis=0)
    return found
