"""Likelihood ratio tests of nested models."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import stats

from skorch_logreg.analysis.inference_table import Inference
from skorch_logreg.analysis.table import Table, check_single_outcome
from skorch_logreg.exceptions import ParameterError


@dataclass(frozen=True, repr=False)
class LikelihoodRatioTest(Table):
    """Result of `likelihood_ratio_test`.

    Attributes
    ----------
    statistic : float
        Twice the difference of the log-likelihoods.
    df : float
        Difference of the numbers of parameters.
    p_value : float
        Tail probability of `statistic` under the chi-squared distribution with `df` degrees of
        freedom (Wilks' theorem).
    """

    statistic: float
    df: float
    p_value: float
    names: tuple[str, ...] = ("likelihood ratio",)

    def _columns(self) -> dict[str, Any]:
        return {"statistic": [self.statistic], "df": [self.df], "p": [self.p_value]}


def likelihood_ratio_test(larger: Inference, smaller: Inference) -> LikelihoodRatioTest:
    """Compare two nested models with the likelihood ratio test.

    Parameters
    ----------
    larger, smaller : Inference
        Results of `summary` for unpenalised fits to the same rows; the smaller model has a subset
        of the features.

    Returns
    -------
    test : LikelihoodRatioTest
        Statistic, degrees of freedom and p-value.

    Raises
    ------
    ParameterError
        If a model is penalised, did not converge or has probability or class weights, if the
        numbers of rows differ, or if the models are not nested, as their features or likelihoods
        show.

    References
    ----------
    Wilks (1938). The large-sample distribution of the likelihood ratio, Annals of Mathematical
    Statistics 9.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from skorch_logreg import TorchLogisticClassifier, likelihood_ratio_test, summary
    >>> X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    >>> fits = [
    ...     summary(TorchLogisticClassifier(C=float("inf")).fit(X[some], y), X[some], y)
    ...     for some in (["mean radius", "mean texture"], ["mean radius"])
    ... ]
    >>> likelihood_ratio_test(*fits)
                       statistic          df           p
    likelihood ratio       38.89           1   4.489e-10
    """
    check_single_outcome(larger=larger, smaller=smaller)
    if larger.is_penalised or smaller.is_penalised:
        raise ParameterError("A likelihood ratio needs fits without a penalty: C=float('inf').")
    for name, model in (("larger", larger), ("smaller", smaller)):
        if model.convergence_message is not None:
            raise ParameterError(
                f"{name} is not at the maximum of its likelihood: {model.convergence_message}"
            )
    if "probability" in (larger.weight_type, smaller.weight_type):
        raise ParameterError(
            "weight_type='probability': twice the difference of such log-likelihoods is not "
            "chi-squared. Test the coefficients by their covariance."
        )
    if larger.has_class_weight or smaller.has_class_weight:
        raise ParameterError(
            "A likelihood ratio needs fits without class_weight, which are no numbers of rows. "
            "Test the coefficients by summary(covariance='sandwich')."
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
    if statistic < -1e-6 * abs(larger.log_likelihood):
        raise ParameterError(
            f"The log-likelihood of larger, {larger.log_likelihood:.8g}, is below that of smaller, "
            f"{smaller.log_likelihood:.8g}: they differ in rows, weights or offset, or tol is too "
            "loose."
        )
    return LikelihoodRatioTest(statistic, df, float(stats.chi2.sf(statistic, df)))


@dataclass(frozen=True, repr=False)
class DevianceAnalysis(Table):
    """Result of `analysis_of_deviance`.

    Attributes
    ----------
    names : tuple of str
        Names of the models, from the smallest to the largest.
    deviance : ndarray of shape (n_models,)
        Minus twice the log-likelihood of each model.
    n_params : ndarray of shape (n_models,)
        Number of parameters of each model.
    statistic, df, p_value : ndarray of shape (n_models,)
        Decrease of the deviance from the model before, number of the parameters that were added,
        and the p-value, as in `likelihood_ratio_test`; nan for the first model.
    """

    names: tuple[str, ...]
    deviance: np.ndarray
    n_params: np.ndarray
    statistic: np.ndarray
    df: np.ndarray
    p_value: np.ndarray

    def _columns(self) -> dict[str, Any]:
        own = {"deviance": self.deviance, "n_params": self.n_params}
        return own | {"decrease": self.statistic, "df": self.df, "p": self.p_value}


def analysis_of_deviance(models: Mapping[str, Inference]) -> DevianceAnalysis:
    """Compare nested models in turn, each with the one before by the likelihood ratio test.

    Parameters
    ----------
    models : dict of str to Inference
        Names and results of `summary` of unpenalised fits to the same rows, from the smallest model
        to the largest.

    Returns
    -------
    analysis : DevianceAnalysis
        Deviances, their decreases and tests, as R's ``anova(..., test="Chisq")``.

    Raises
    ------
    ParameterError
        As in `likelihood_ratio_test`, for two models in turn.

    References
    ----------
    McCullagh, Nelder (1989). Generalized Linear Models, section 2.3.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from skorch_logreg import TorchLogisticClassifier, analysis_of_deviance, summary
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> free = TorchLogisticClassifier(C=float("inf"))
    >>> fits = {f"{k} columns": summary(free.fit(X[:, :k], y), X[:, :k], y) for k in (1, 2, 3)}
    >>> analysis_of_deviance(fits)
                 deviance    n_params    decrease          df           p
    1 columns         330           2         nan         nan         nan
    2 columns       291.1           3       38.89           1   4.489e-10
    3 columns       218.9           4       72.23           1   1.919e-17
    """
    found = list(models.values())
    tests = [likelihood_ratio_test(larger, smaller) for smaller, larger in pairwise(found)]
    statistic, df, p_value = (
        np.array([np.nan, *(getattr(test, name) for test in tests)])
        for name in ("statistic", "df", "p_value")
    )
    return DevianceAnalysis(
        names=tuple(models),
        deviance=np.array([-2 * model.log_likelihood for model in found]),
        n_params=np.array([model.df_model + model.n_intercepts for model in found]),
        statistic=statistic,
        df=df,
        p_value=p_value,
    )
