"""Standard errors, tests and intervals of coefficients."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy import linalg, stats

from skorch_logreg.analysis.convergence import warn_of
from skorch_logreg.analysis.fitted_model import Fitted
from skorch_logreg.analysis.normal import NormalEstimates
from skorch_logreg.exceptions import ParameterError

_CONVENTIONS = {
    "model": "B I B, the sampling variance under the model",
    "posterior": "B, the posterior variance with the penalty as prior",
    "sandwich": "B S B with S the sum of squared scores of rows (HC0)",
    "cluster": "B S B with S the sum of squared scores of G groups, times "
    "G / (G - 1) (n - 1) / (n - k)",
}


@dataclass(frozen=True)
class Inference(NormalEstimates):
    """What `summary` finds of every coefficient; the intercept is the last of its class.

    Attributes
    ----------
    names : tuple of str
        Of the rows of the table; with three classes or more ``"class: name"``, of that class
        against the first.
    coef, standard_error, z, p_value : ndarray of shape (n_params,)
        Estimate, its standard error, their ratio and the probability of a larger one.
    interval : ndarray of shape (n_params, 2)
    odds_ratio : ndarray of shape (n_params,)
        ``exp(coef)``.
    covariance : ndarray of shape (n_params, n_params)
    convention : str
        What the covariance is, with ``I`` the information and ``B`` the inverse of that and the
        penalty's second derivatives.
    level : float
        Of the intervals.
    log_likelihood, null_log_likelihood : float
    n_samples : float
        Rows, as often as they count.
    df_model : float
        Parameters without the intercepts; under a penalty the trace of ``B I`` takes their place.
    is_penalised : bool
    convergence_message : str or None
        Why the coefficients are not at their optimum, of which the figures here hold; None if
        they are, or if the estimator does not say.
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

    @property
    def estimate(self) -> np.ndarray:
        """Return the coefficients."""
        return self.coef

    @property
    def standard_error(self) -> np.ndarray:
        """Square roots of the variances."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def odds_ratio(self) -> np.ndarray:
        """Factor of the odds for a feature that is larger by one."""
        return np.exp(self.coef)

    @property
    def aic(self) -> float:
        """Akaike's criterion, ``2 k - 2 log L``."""
        return 2 * (self.df_model + self.n_intercepts) - 2 * self.log_likelihood

    @property
    def bic(self) -> float:
        """Schwarz's criterion, ``k log n - 2 log L``."""
        k = self.df_model + self.n_intercepts
        return float(np.log(self.n_samples) * k - 2 * self.log_likelihood)

    @property
    def pseudo_r2(self) -> float:
        """McFadden's: 1 less the ratio of the log-likelihoods of this and the null model.

        nan for rows of one class, which the null model predicts with certainty.
        """
        if self.null_log_likelihood == 0:
            return np.nan
        return 1 - self.log_likelihood / self.null_log_likelihood

    def table(self) -> Any:
        """Tabulate: a data frame if pandas is installed, else a dict of arrays."""
        columns = {
            "coef": self.coef,
            "std err": self.standard_error,
            "z": self.z,
            "p": self.p_value,
            "lower": self.interval[:, 0],
            "upper": self.interval[:, 1],
            "odds ratio": self.odds_ratio,
        }
        try:
            from pandas import DataFrame
        except ImportError:
            return {"name": np.array(self.names, dtype=object), **columns}
        return DataFrame(columns, index=list(self.names))

    def __str__(self) -> str:
        """Print the table and what stands below it."""
        width = min(max(map(len, self.names)), 40)
        heads = ("coef", "std err", "z", "p", "lower", "upper", "odds ratio")
        lines = [" " * width + "".join(f"{head:>12}" for head in heads)]
        numbers = np.column_stack(
            [
                self.coef,
                self.standard_error,
                self.z,
                self.p_value,
                self.interval,
                self.odds_ratio,
            ]
        )
        for name, row in zip(self.names, numbers, strict=True):
            short = name if len(name) <= width else name[: width - 1] + "…"
            lines.append(f"{short:<{width}}" + "".join(f"{value:>12.4g}" for value in row))
        lines.append(
            f"log-likelihood {self.log_likelihood:.6g}, of the null model "
            f"{self.null_log_likelihood:.6g}, pseudo R2 {self.pseudo_r2:.4g}, AIC {self.aic:.6g}, "
            f"BIC {self.bic:.6g}, {self.n_samples:g} rows"
        )
        lines.append(f"covariance: {self.convention}; intervals of {self.level:.0%}")
        if self.convergence_message is not None:
            lines.append(self.convergence_message)
        return "\n".join(lines)


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
) -> Inference:
    """Say how certain the coefficients of a fitted logistic regression are.

    With ``I`` the information of the rows at the fitted coefficients, ``P`` the second
    derivatives of the ridge and ``B = (I + P)^-1``, the covariance is

    - ``"model"``: ``B I B``, which is ``I^-1`` where there is no penalty;
    - ``"posterior"``: ``B``, of a normal prior in the place of the penalty, whose bias it includes;
    - ``"sandwich"``: ``B S B`` with ``S`` the sum of the rows' squared scores: it holds where
      the variance is not that of the model (HC0);
    - ``"cluster"``: the same with scores summed over groups of rows that depend on each other,
      and the usual correction for few groups.

    Under a ridge coefficients are drawn to zero: ``"model"`` and ``"sandwich"`` are of their
    variance alone, not of that bias.

    Parameters
    ----------
    estimator : TorchLogisticClassifier, or anything with its parameters and attributes
        Fitted, with a ridge or, as a rule, with ``C=float("inf")``; a pipeline that ends in one.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Rows that it was fitted to.
    y : array-like of shape (n_samples,)
    sample_weight : array-like of shape (n_samples,) or None, default=None
        Those of the fit: how often a row counts.
    covariance : {"model", "posterior", "sandwich", "cluster"}, default="model"
    groups : array-like of shape (n_samples,) or None, default=None
        Labels of groups, for "cluster".
    offset : array-like of shape (n_samples,) or None, default=None
        That of the fit; for two classes.
    level : float, default=0.95
        Of the intervals.

    Returns
    -------
    inference : Inference

    Raises
    ------
    ParameterError
        If the penalty is an L1, a group lasso or bounds, or a parameter is not allowed.
    ValueError
        If the information is singular: columns are collinear, or separate the classes.

    Warns
    -----
    ConvergenceWarning
        If the fit did not converge, or its coefficients separate the classes completely: why,
        and the way out. The table says it too.

    Notes
    -----
    One pass over X, and ``n p^2 + p^3`` operations; some megabytes of rows are dense at a time.

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
    if covariance not in _CONVENTIONS:
        raise ParameterError(f"covariance={covariance!r}; expected one of {list(_CONVENTIONS)}.")
    if (groups is None) == (covariance == "cluster"):
        raise ParameterError(
            f"covariance={covariance!r} with groups={'None' if groups is None else 'given'}; "
            "groups are for covariance='cluster', which needs them."
        )
    if not 0 < level < 1:
        raise ParameterError(f"level={level!r}; it must lie between 0 and 1.")
    fit = Fitted.of(estimator, X, y, sample_weight, offset)
    information = fit.information()
    bread = inverse(fit, information)
    if covariance == "posterior":
        spread = bread
    elif covariance == "model":
        spread = bread @ information @ bread
    elif covariance == "sandwich":
        spread = bread @ _meat(fit) @ bread
    else:
        spread = bread @ _cluster_meat(fit, groups) @ bread
    contrast = _contrasts(fit)
    moved = contrast @ np.kron(np.eye(fit.n_outputs), fit.outward)
    coef = contrast @ fit.params.ravel()
    kept = [i for i in range(len(coef)) if fit.fit_intercept or (i + 1) % fit.params.shape[1]]
    n_intercepts = fit.fit_intercept * (len(fit.classes) - 1)
    warn_of(fit.convergence_message)
    df = float(np.trace(bread @ information)) if fit.is_penalised else len(kept)
    return Inference(
        names=tuple(np.array(_names(fit), dtype=object)[kept]),
        coef=coef[kept],
        covariance=(moved @ spread @ moved.T)[np.ix_(kept, kept)],
        convention=_CONVENTIONS[covariance],
        level=level,
        log_likelihood=fit.log_likelihood,
        null_log_likelihood=fit.null_log_likelihood,
        n_samples=fit.n_samples,
        df_model=df - n_intercepts,
        n_intercepts=n_intercepts,
        is_penalised=fit.is_penalised,
        convergence_message=fit.convergence_message,
    )


def likelihood_ratio_test(larger: Inference, smaller: Inference) -> tuple[float, float, float]:
    """Test a model against one that is nested in it, by Wilks' theorem.

    Parameters
    ----------
    larger, smaller : Inference
        Of fits without a penalty to the same rows, the second with some of the features.

    Returns
    -------
    statistic : float
        Twice the difference of the log-likelihoods.
    df : float
        Difference of the numbers of parameters.
    p_value : float

    Raises
    ------
    ParameterError
        If one is penalised or did not converge, the rows differ in number, or the models are
        not nested.

    References
    ----------
    Wilks (1938). The large-sample distribution of the likelihood ratio, Annals of Mathematical
    Statistics 9.
    """
    if larger.is_penalised or smaller.is_penalised:
        raise ParameterError("A likelihood ratio needs fits without a penalty: C=float('inf').")
    for name, model in (("larger", larger), ("smaller", smaller)):
        if model.convergence_message is not None:
            raise ParameterError(
                f"{name} is not at the maximum of its likelihood: {model.convergence_message}"
            )
    if larger.n_samples != smaller.n_samples:
        raise ParameterError(
            f"The models are of {larger.n_samples:g} and {smaller.n_samples:g} rows; they have to "
            "be of the same."
        )
    df = larger.df_model + larger.n_intercepts - smaller.df_model - smaller.n_intercepts
    if not set(smaller.names) < set(larger.names):
        raise ParameterError(
            f"smaller has {sorted(set(smaller.names) - set(larger.names)) or 'all'} of larger's "
            "features and more, or as many; it has to have some of them."
        )
    statistic = 2 * (larger.log_likelihood - smaller.log_likelihood)
    return statistic, df, float(stats.chi2.sf(statistic, df))


def inverse(fit: Fitted, information: np.ndarray) -> np.ndarray:
    """``(I + P)^-1`` in parameters of ``[Z 1]``; of contrasts of classes, where there are more.

    A constant added to all classes has no curvature, and is given that of their mean: it takes
    part in no contrast.

    Raises
    ------
    ValueError
        If it is singular.
    """
    side, K = fit.params.shape[1], fit.n_outputs
    whole = information + np.diag(fit.ridge_of_units())
    if K > 1:
        mean = np.diag(np.diag(whole).reshape(K, side).mean(axis=0))
        whole = whole + np.kron(np.ones((K, K)), mean) / K
    if not fit.fit_intercept:
        whole[side - 1 :: side, side - 1 :: side] += np.eye(K)
    scale = np.sqrt(np.diag(whole))
    if not (scale > 0).all():
        raise ValueError(_singular(fit, scale.reshape(K, side).min(axis=0) == 0))
    values, vectors = linalg.eigh(whole / np.outer(scale, scale))
    if values[0] <= 1e-12 * values[-1]:
        part = np.abs(vectors[:, 0]).reshape(K, side).max(axis=0)
        raise ValueError(_singular(fit, part > 0.1 * part.max()))
    half = vectors / np.sqrt(values) / scale[:, None]
    found = half @ half.T
    if not fit.fit_intercept:
        found[side - 1 :: side] = found[:, side - 1 :: side] = 0.0
    return found


def _singular(fit: Fitted, columns: np.ndarray) -> str:
    names = [name for name, is_part in zip(fit.names, columns, strict=True) if is_part]
    return (
        f"The information is singular: {', '.join(names[:5])} are constant or collinear, or "
        "separate the classes (see separation). Leave one out, or give a penalty."
    )


def _meat(fit: Fitted) -> np.ndarray:
    """Sum of the squared scores of rows, each as often as it counts."""
    residual, K, side = fit.residual, fit.n_outputs, fit.params.shape[1]
    total = np.zeros((K, side, K, side))
    for rows, Z in fit.pieces():
        r, s = residual[rows], fit.weight[rows]
        for k in range(K):
            for j in range(K):
                total[k, :, j] += (Z * (s * r[:, k] * r[:, j])[:, None]).T @ Z
    return total.reshape(K * side, K * side)


def _cluster_meat(fit: Fitted, groups: Any) -> np.ndarray:
    """Sum of the squared scores of groups, corrected for their number."""
    groups = np.asarray(groups)
    if groups.shape != fit.index.shape:
        raise ParameterError(
            f"groups has shape {groups.shape}, expected (n_samples,) = {fit.index.shape}."
        )
    labels, place = np.unique(groups, return_inverse=True)
    if len(labels) < 2:
        raise ParameterError("groups has one label; a variance needs two groups at least.")
    K, side = fit.n_outputs, fit.params.shape[1]
    scores = np.zeros((len(labels), K, side))
    residual = fit.residual * fit.weight[:, None]
    for rows, Z in fit.pieces():
        count = rows.stop - rows.start
        for k in range(K):
            member = sp.csr_matrix(
                (residual[rows, k], (place[rows], np.arange(count))), (len(labels), count)
            )
            scores[:, k] += member @ Z
    flat = scores.reshape(len(labels), K * side)
    n, g = fit.n_samples, len(labels)
    k = (len(fit.classes) - 1) * (side - (not fit.fit_intercept))
    return flat.T @ flat * (g / (g - 1) * (n - 1) / (n - k))


def _contrasts(fit: Fitted) -> np.ndarray:
    """Matrix that takes parameters of all classes to differences from the first."""
    K, side = fit.n_outputs, fit.params.shape[1]
    if K == 1:
        return np.eye(side)
    against = np.column_stack([-np.ones(K - 1), np.eye(K - 1)])
    return np.kron(against, np.eye(side))


def _names(fit: Fitted) -> Sequence[str]:
    if fit.n_outputs == 1:
        return fit.names
    return [f"{label}: {name}" for label in fit.classes[1:] for name in fit.names]
