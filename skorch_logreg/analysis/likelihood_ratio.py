"""Likelihood ratio tests of nested models."""

from dataclasses import dataclass
from typing import Any

from scipy import stats

from skorch_logreg.analysis.inference_table import Inference
from skorch_logreg.analysis.table import Table
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
        If a model is penalised, did not converge or has probability weights, if the numbers of
        rows differ, or if the models are not nested.

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
    return LikelihoodRatioTest(statistic, df, float(stats.chi2.sf(statistic, df)))
