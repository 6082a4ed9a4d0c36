"""Standard errors, tests and confidence intervals of coefficients."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skorch_logreg.analysis.convergence_messages import warn_not_converged
from skorch_logreg.analysis.covariance import inverse_hessian, robust_scores
from skorch_logreg.analysis.fitted_model import FittedModel
from skorch_logreg.analysis.normal import NormalEstimates, check_level
from skorch_logreg.analysis.ordered_model import OrderedModel, is_ordered
from skorch_logreg.exceptions import ParameterError

_COVARIANCES = {
    "model": "model-based (inverse Hessian x Fisher information x inverse Hessian)",
    "posterior": "posterior (inverse Hessian), with the penalty as a normal prior",
    "sandwich": "sandwich, HC0 (inverse Hessian x squared scores x inverse Hessian)",
    "HC1": "sandwich, HC1 (HC0 times n / (n - k))",
    "HC2": "sandwich, HC2 (squared scores divided by 1 - leverage)",
    "HC3": "sandwich, HC3 (squared scores divided by (1 - leverage)^2)",
    "cluster": "sandwich of G groups (inverse Hessian x squared scores of groups x inverse "
    "Hessian), times G / (G - 1) (n - 1) / (n - k)",
}
_WEIGHT_TYPES = {
    "frequency": "weights count rows, n is their sum",
    "probability": "weights are inverse probabilities of selection, n counts rows",
}
_ROBUST = ("sandwich", "HC1", "HC2", "HC3", "cluster")


@dataclass(frozen=True, repr=False)
class Inference(NormalEstimates):
    """Result of `summary`.

    Attributes
    ----------
    names : tuple of str
        Names of the parameters; the intercept is the last one of its class. With three classes
        or more, ``"class: name"`` for the difference between that class and the first.
    coef, standard_error, z, p_value : ndarray of shape (n_params,)
        Estimate, its standard error, their ratio and its two-sided p-value.
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

    @property
    def odds_ratio(self) -> np.ndarray:
        """Odds ratios for an increase of a feature by one, of shape (n_params,)."""
        with np.errstate(over="ignore", under="ignore"):
            return np.exp(self.coef)

    @property
    def aic(self) -> float:
        """Akaike information criterion, ``2 k - 2 log L``."""
        return 2 * (self.df_model + self.n_intercepts) - 2 * self.log_likelihood

    @property
    def bic(self) -> float:
        """Bayesian information criterion, ``k log n - 2 log L``."""
        k = self.df_model + self.n_intercepts
        return float(np.log(self.n_samples) * k - 2 * self.log_likelihood)

    @property
    def pseudo_r2(self) -> float:
        """McFadden's pseudo R2, ``1 - log L / log L0`` with the null model's likelihood L0.

        nan for rows of one class, which the null model predicts with certainty.
        """
        if self.null_log_likelihood == 0:
            return np.nan
        return 1 - self.log_likelihood / self.null_log_likelihood

    def _columns(self) -> dict[str, Any]:
        return super()._columns() | {"odds ratio": self.odds_ratio}

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


def summary(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    covariance: str = "model",
    groups: Any = None,
    offset: Any = None,
    level: float = 0.95,
    weight_type: str = "frequency",
) -> Inference:
    """Compute standard errors, tests and intervals of a fitted logistic regression.

    With ``I`` the information of the rows at the fitted coefficients, ``P`` the second
    derivatives of the ridge penalty and ``B = (I + P)^-1``, the covariance is

    - ``"model"``: ``B I B``, without a penalty the inverse Fisher information ``I^-1``;
    - ``"posterior"``: ``B``, the posterior covariance with the penalty as a normal prior, which
      includes the bias due to the penalty;
    - ``"sandwich"``: ``B S B`` with ``S`` the sum of the rows' squared scores, which is robust to
      a misspecified variance (HC0);
    - ``"HC1"``, ``"HC2"``, ``"HC3"``: the same for few rows, with ``n / (n - k)``, or with squared
      scores divided by ``1 - h`` or its square, where ``h`` is the leverage of the row among two
      classes;
    - ``"cluster"``: the same with scores summed over groups of dependent rows, times
      ``G / (G - 1) (n - 1) / (n - k)`` for G groups with a row of positive weight, n rows and k
      parameters (the trace of ``B I`` with a penalty).

    A ridge penalty shrinks coefficients towards zero: ``"model"`` and ``"sandwich"`` estimate
    their variance only, not this bias.

    Parameters
    ----------
    estimator : TorchLogisticClassifier, or anything with its parameters and attributes, or an \
            OrdinalLogisticClassifier
        A fitted model, usually with ``C=float("inf")``, else with a ridge penalty; or a pipeline
        or search that ends with one.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Training rows of the fit.
    y : array-like of shape (n_samples,)
        Labels of the fit.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        Sample weights of the fit; see `weight_type`.
    covariance : {"model", "posterior", "sandwich", "HC1", "HC2", "HC3", "cluster"}, \
            default="model"
        Covariance estimator.
    groups : array-like of shape (n_samples,) or None, default=None
        Group labels of the rows, for "cluster".
    offset : array-like of shape (n_samples,) or None, default=None
        Offset of the fit, for two classes.
    level : float, default=0.95
        Confidence level of the intervals.
    weight_type : {"frequency", "probability"}, default="frequency"
        Meaning of the sample weights:

        - "frequency": the number of times every row was observed (statsmodels' ``freq_weights``,
          Stata's fweight). Results equal those of repeated rows, and n is the sum of the weights.
        - "probability": inverse probabilities of selection, known up to a factor (Stata's
          pweight, or the robust covariances of statsmodels' ``var_weights``). A row's score
          counts with its squared weight, and n is the number of rows of positive weight. For
          the sandwiches and "cluster" only.

    Returns
    -------
    inference : Inference
        Estimates, standard errors, tests and intervals.

    Raises
    ------
    ParameterError
        If the penalty is an L1, a group lasso or bounds, or a parameter is not allowed.
    ValueError
        If the information is singular: columns are collinear, or separate the classes.

    Warns
    -----
    ConvergenceWarning
        If the fit did not converge, or its coefficients separate the classes completely. The
        message names the reason and a remedy, and is repeated below the table.

    Notes
    -----
    The cost is one pass over X and ``O(n p^2 + p^3)`` operations. Sparse rows are converted to
    dense in blocks of a few megabytes.

    References
    ----------
    McCullagh, Nelder (1989). Generalized Linear Models, section 4.4.
    le Cessie, van Houwelingen (1992). Ridge estimators in logistic regression, Applied
    Statistics 41, section 3.  White (1982). Maximum likelihood estimation of misspecified
    models, Econometrica 50.  Liang, Zeger (1986). Longitudinal data analysis using generalized
    linear models, Biometrika 73.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skorch_logreg import TorchLogisticClassifier, summary
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X = scale(X[:, :3])
    >>> model = TorchLogisticClassifier(C=float("inf")).fit(X, y)
    >>> found = summary(model, X, y)
    >>> found.names
    ('x0', 'x1', 'x2', 'intercept')
    >>> found.interval.shape
    (4, 2)
    """
    _check_options(covariance, groups, level, weight_type)
    ordered = is_ordered(estimator)
    fit: FittedModel | OrderedModel
    if ordered:
        if offset is not None:
            raise ParameterError("offset is given, but the model was fitted without one.")
        fit = OrderedModel.from_estimator(estimator, X, y, sample_weight)
    else:
        fit = FittedModel.from_estimator(estimator, X, y, sample_weight, offset)
    is_frequency = weight_type == "frequency"
    n_samples = float((fit.weight if is_frequency else fit.weight > 0).sum())
    bread = inverse_hessian(fit)
    names, coef, moved = fit.estimates
    df = float(np.trace(bread @ fit.information)) if fit.is_penalised else len(moved)
    meat = fit.information
    if covariance in _ROBUST:
        counts: Any = {"is_frequency": is_frequency, "n_samples": n_samples, "df": df}
        meat = robust_scores(fit, covariance, bread, groups=groups, **counts)
    spread = bread if covariance == "posterior" else bread @ meat @ bread
    return Inference(
        names=names,
        coef=coef,
        covariance=moved @ spread @ moved.T,
        convention=_covariance_name(covariance, fit, weight_type, sample_weight is not None),
        level=level,
        log_likelihood=fit.log_likelihood,
        null_log_likelihood=fit.null_log_likelihood,
        n_samples=n_samples,
        df_model=df - fit.n_intercepts,
        n_intercepts=fit.n_intercepts,
        is_penalised=fit.is_penalised,
        convergence_message=warn_not_converged(fit),
        weight_type=weight_type,
        classes=fit.classes,
        is_ordered=ordered,
    )


def _covariance_name(covariance: str, fit: Any, weight_type: str, is_weighted: bool) -> str:
    """Name the covariance as the table does."""
    if covariance == "model" and not fit.is_penalised:
        return "model-based (inverse Fisher information)"
    if covariance in _ROBUST and is_weighted:
        return f"{_COVARIANCES[covariance]}; {_WEIGHT_TYPES[weight_type]}"
    return _COVARIANCES[covariance]


def _check_options(covariance: str, groups: Any, level: float, weight_type: str) -> None:
    """Raise a ParameterError if an option of `summary` is not allowed."""
    if covariance not in _COVARIANCES:
        raise ParameterError(f"covariance={covariance!r}; expected one of {list(_COVARIANCES)}.")
    if (groups is None) == (covariance == "cluster"):
        raise ParameterError(
            f"covariance={covariance!r} with groups={'None' if groups is None else 'given'}; "
            "groups are for covariance='cluster', which needs them."
        )
    check_level(level)
    if weight_type not in _WEIGHT_TYPES:
        raise ParameterError(f"weight_type={weight_type!r}; expected one of {list(_WEIGHT_TYPES)}.")
    if weight_type == "probability" and covariance not in _ROBUST:
        raise ParameterError(
            f"weight_type={weight_type!r} with covariance={covariance!r}; the information of rows "
            f"that were selected says nothing of their variance. Choose one of {list(_ROBUST)}."
        )
