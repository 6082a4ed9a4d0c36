"""Tables of coefficients with standard errors, tests and intervals."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skorch_logreg.analysis.normal import NormalEstimates


class OddsRatios(NormalEstimates):
    """Wald tests, intervals and odds ratios of coefficients."""

    coef: np.ndarray

    @property
    def odds_ratio(self) -> np.ndarray:
        """Odds ratios for an increase of a feature by one, of the shape of `coef`."""
        with np.errstate(over="ignore", under="ignore"):
            return np.exp(self.coef)

    def _columns(self) -> dict[str, Any]:
        return super()._columns() | {"odds ratio": self.odds_ratio}


@dataclass(frozen=True, repr=False)
class Inference(OddsRatios):
    """Result of `summary`.

    Attributes
    ----------
    names : tuple of str
        Names of the parameters; the intercept is the last one of its class. With three classes
        or more, ``"class: name"`` for the difference between that class and the first.
    coef, standard_error, z, p_value : ndarray of shape (n_params,)
        Estimate, its standard error, their ratio and its two-sided p-value. The error is zero for
        a constant column under a penalty, except with ``"posterior"``, and the ratio and p-value
        are nan; a line below the table names such columns.
    interval : ndarray of shape (n_params, 2)
        Lower and upper confidence limits.
    odds_ratio : ndarray of shape (n_params,)
        ``exp(coef)``; inf or 0 outside the range of float64 (``coef`` beyond 709 or -745), which
        is printed as ``e^coef`` in the table.
    covariance : ndarray of shape (n_params, n_params)
        Covariance matrix of the estimates.
    convention : str
        Description of the covariance, where ``I`` is the information and ``B`` is the inverse of
        the sum of ``I`` and the penalty's second derivatives.
    level : float
        Confidence level of the intervals.
    log_likelihood, null_log_likelihood : float
        Log-likelihood of the model, and of the model with an intercept only.
    n_samples : float
        Sum of the weights; with ``weight_type="probability"`` the number of rows of positive
        weight.
    df_model : float
        Number of parameters without the intercepts. With a penalty, the trace of ``B I`` minus
        the number of intercepts.
    is_penalised : bool
        Whether the model has a penalty.
    convergence_message : str or None
        Reason why the fit did not converge; the other attributes are valid at an optimum. None if
        it converged, or if the estimator has no `converged_`.
    weight_type : {"frequency", "probability"}
        Meaning of the sample weights, as in `summary`.
    classes : array-like of shape (n_classes,)
        Classes of the model; the table says that the log-odds are of the second, or of each other
        one, against the first.
    is_ordered : bool
        Whether classes have an order: the log-odds are then of any higher class against the lower
        ones, and the last parameters, ``"lower|higher"``, are the thresholds between classes.
    has_class_weight : bool
        Whether the estimator gives classes weights, which the log-likelihoods include.
    information : ndarray of shape (n_params, n_params) or None
        Information ``I`` for features of mean zero and standard deviation one; for ordered classes
        in the first threshold and the differences of successive ones. None with three classes or
        more without an order.
    """

    names: tuple[str, ...]
    coef: np.ndarray
    covariance: np.ndarray
    convention: str
    level: float
    log_likelihood: float
    null_log_likelihood: float
    n_samples: float
    df_model: float
    n_intercepts: int
    is_penalised: bool
    convergence_message: str | None = None
    weight_type: str = "frequency"
    classes: Any = ()
    is_ordered: bool = False
    has_class_weight: bool = False
    information: np.ndarray | None = None

    @property
    def aic(self) -> float:
        """Akaike information criterion, ``2 k - 2 log L``."""
        return 2 * (self.df_model + self.n_intercepts) - 2 * self.log_likelihood

    @property
    def bic(self) -> float:
        """Bayesian information criterion, ``k log n - 2 log L``."""
        k = self.df_model + self.n_intercepts
        return np.log(self.n_samples) * k - 2 * self.log_likelihood

    @property
    def pseudo_r2(self) -> float:
        """McFadden's pseudo R2, ``1 - log L / log L0`` with the null model's likelihood L0.

        nan for rows of one class, which the null model predicts with certainty.
        """
        if self.null_log_likelihood == 0:
            return np.nan
        return 1 - self.log_likelihood / self.null_log_likelihood

    def _text(self, shown: list[int]) -> dict[str, list[str]]:
        text = super()._text(shown)
        cells = zip(text["odds ratio"], self.coef[shown], strict=True)
        odds = [f"e^{coef:.3g}" if cell in ("inf", "0") else cell for cell, coef in cells]
        return text | {"odds ratio": odds}

    def _notes(self) -> list[str]:
        level, *message = super()._notes()
        notes = [
            f"log-likelihood {self.log_likelihood:.6g}, of the null model "
            f"{self.null_log_likelihood:.6g}, pseudo R2 {self.pseudo_r2:.4g}, AIC {self.aic:.6g}, "
            f"BIC {self.bic:.6g}, {self.n_samples:g} rows",
            f"covariance: {self.convention}; {level}",
            *message,
        ]
        if self.is_ordered:
            notes.insert(0, "coef: log-odds of higher classes; a|b: threshold between a and b")
        elif len(self.classes) > 1:
            of = f"class {self.classes[1]}" if len(self.classes) == 2 else "each class"
            notes.insert(0, f"coef: log-odds of {of} against class {self.classes[0]}")
        if np.isin(self.odds_ratio, (0, np.inf)).any():
            notes.append(
                "odds ratios written as e^x are beyond the range of float64: a difference of one "
                "is very large for these features; scale them."
            )
        return notes
