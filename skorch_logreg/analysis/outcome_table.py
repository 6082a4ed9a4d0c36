"""Tables of coefficients of many outcomes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skorch_logreg.analysis.inference_table import Inference, OddsRatios
from skorch_logreg.analysis.table import OutcomeRows


@dataclass(frozen=True, repr=False)
class OutcomeInference(OutcomeRows, OddsRatios):
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
        Outcomes in which the parameter has no p-value do not count, and have nan.
    covariance : ndarray of shape (n_outcomes, n_params, n_params)
        Covariance matrices of the estimates.
    information : ndarray of shape (n_outcomes, n_params, n_params)
        Information as in `Inference`, with the same units for all outcomes.
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
    information: np.ndarray | None = None

    def __getitem__(self, outcome: Any) -> Inference:
        message = self.messages.get(outcome)
        return Inference(**self._fields_of(outcome) | {"convergence_message": message})

    def _notes(self) -> list[str]:
        return [f"covariance: {self.convention}", *super()._notes()]
