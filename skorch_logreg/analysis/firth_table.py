"""Tables of bias-reduced fits."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skorch_logreg.analysis.normal import percentage
from skorch_logreg.analysis.table import OutcomeRows, Table


class _FirthEstimates(Table):
    """Columns of bias-reduced estimates."""

    coef: np.ndarray
    standard_error: np.ndarray
    interval: np.ndarray
    statistic: np.ndarray
    p_value: np.ndarray

    def _columns(self) -> dict[str, Any]:
        lower, upper = np.moveaxis(self.interval, -1, 0)
        columns = {"coef": self.coef, "std err": self.standard_error, "lower": lower}
        return {**columns, "upper": upper, "chi2": self.statistic, "p": self.p_value}


@dataclass(frozen=True, repr=False)
class FirthFit(_FirthEstimates):
    """Result of `firth`.

    Attributes
    ----------
    names : tuple of str
        Names of the parameters; the intercept is the last one.
    coef : ndarray of shape (n_params,)
        Estimated coefficients and intercept.
    standard_error : ndarray of shape (n_params,)
        Square roots of the diagonal of the inverse information, as in R's logistf.
    interval : ndarray of shape (n_params, 2)
        Lower and upper confidence limits, from the profile of the penalised likelihood or from
        the normal distribution.
    statistic : ndarray of shape (n_params,)
        Twice the decrease of the penalised log-likelihood when the parameter is set to zero, or
        the squared Wald statistic.
    p_value : ndarray of shape (n_params,)
        Tail probability of `statistic` under the chi-squared distribution with one degree of
        freedom.
    log_likelihood : float
        Penalised log-likelihood, ``log L + log det(I) / 2``.
    classes : ndarray of shape (2,)
        Class labels; coefficients refer to the second one.
    level : float
        Confidence level of the intervals.
    """

    names: tuple[str, ...]
    coef: np.ndarray
    standard_error: np.ndarray
    interval: np.ndarray
    statistic: np.ndarray
    p_value: np.ndarray
    log_likelihood: float
    classes: np.ndarray
    level: float

    def _notes(self) -> list[str]:
        return [
            f"penalised log-likelihood {self.log_likelihood:.6g}; coefficients of class "
            f"{self.classes[1]}; intervals of {percentage(self.level)}"
        ]


@dataclass(frozen=True, repr=False)
class FirthOutcomes(OutcomeRows, _FirthEstimates):
    """Result of `firth` for many outcomes; ``found[name]`` is the `FirthFit` of one.

    Attributes
    ----------
    outcomes : ndarray of shape (n_outcomes,)
        Names of the outcomes: those of the columns of y, or their numbers.
    names : tuple of str
        Names of the parameters; the intercept is the last one.
    coef, standard_error, statistic, p_value : ndarray of shape (n_outcomes, n_params)
        As in `FirthFit`; nan for outcomes that could not be fitted.
    interval : ndarray of shape (n_outcomes, n_params, 2)
        Lower and upper confidence limits.
    adjusted_p : ndarray of shape (n_outcomes, n_params)
        P-values of each parameter, adjusted over the outcomes as in `OutcomeInference`.
    log_likelihood : ndarray of shape (n_outcomes,)
        Penalised log-likelihoods.
    level : float
        Confidence level of the intervals.
    messages : dict of str
        Reasons why outcomes, its keys, could not be fitted.
    """

    outcomes: np.ndarray
    names: tuple[str, ...]
    coef: np.ndarray
    standard_error: np.ndarray
    interval: np.ndarray
    statistic: np.ndarray
    p_value: np.ndarray
    log_likelihood: np.ndarray
    level: float
    messages: dict[Any, str]

    def __getitem__(self, outcome: Any) -> FirthFit:
        return FirthFit(**self._fields_of(outcome))

    def _notes(self) -> list[str]:
        return [
            f"intervals of {percentage(self.level)}",
            *(f"{name}: {text}" for name, text in [*self.messages.items()][:5]),
        ]
