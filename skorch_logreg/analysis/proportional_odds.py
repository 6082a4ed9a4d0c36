"""Test of the assumption that all thresholds of ordered classes share their coefficients."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import linalg, stats
from scipy.special import expit

from skorch_logreg import fitting
from skorch_logreg.analysis.ordered_model import OrderedModel, is_ordered
from skorch_logreg.analysis.table import Table
from skorch_logreg.data import from_arrays
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs.torch_context import with_default_modes
from skorch_logreg.losses import Binomial
from skorch_logreg.penalties import L2


@dataclass(frozen=True, repr=False)
class BrantTest(Table):
    """Result of `brant_test`.

    Attributes
    ----------
    names : tuple of str
        "all features", and the names of the features.
    statistic : ndarray of shape (n_features + 1,)
        Wald statistics of the hypothesis that the coefficients, or that of one feature, are the
        same for all thresholds.
    df : ndarray of shape (n_features + 1,)
        Degrees of freedom.
    p_value : ndarray of shape (n_features + 1,)
        Tail probabilities of the statistics under chi-squared distributions.
    coef : ndarray of shape (n_classes - 1, n_features)
        Coefficients of the binary models of being above each threshold.
    """

    names: tuple[str, ...]
    statistic: np.ndarray
    df: np.ndarray
    p_value: np.ndarray
    coef: np.ndarray

    def _columns(self) -> dict[str, Any]:
        return {"statistic": self.statistic, "df": self.df, "p": self.p_value}

    def _notes(self) -> list[str]:
        return ["hypothesis: coefficients are the same for all thresholds (proportional odds)"]


@with_default_modes
def brant_test(estimator: Any, X: Any, y: Any, *, sample_weight: Any = None) -> BrantTest:
    """Test the proportional odds of a fitted `OrdinalLogisticClassifier`.

    For each threshold, a binary logistic regression without a penalty is fitted to being above it.
    If the odds are proportional, their coefficients differ by chance only, which Wald tests with
    their joint covariance tell: of all features together, and of each one.

    Parameters
    ----------
    estimator : OrdinalLogisticClassifier
        Fitted model of three classes or more, or a pipeline or search that ends with one.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Training rows of the fit.
    y : array-like of shape (n_samples,)
        Labels of the fit.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        Sample weights of the fit, which count rows.

    Returns
    -------
    test : BrantTest
        Statistics, degrees of freedom and p-values.

    Raises
    ------
    ParameterError
        If the model has two classes, or none with an order, or if rows above and below a threshold
        are separable.

    References
    ----------
    Brant (1990). Assessing proportionality in the proportional odds model for ordinal logistic
    regression, Biometrics 46.

    Examples
    --------
    >>> import numpy as np
    >>> from skorch_logreg import OrdinalLogisticClassifier
    >>> from skorch_logreg.analysis import brant_test
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(500, 2))
    >>> y = np.digitize(X @ [1.0, -0.5] + rng.logistic(size=500), [-1.0, 1.0])
    >>> model = OrdinalLogisticClassifier(C=np.inf).fit(X, y)
    >>> brant_test(model, X, y).df
    array([2, 1, 1])
    """
    if not is_ordered(estimator):
        raise ParameterError("brant_test is for an OrdinalLogisticClassifier.")
    fit = OrderedModel.from_estimator(estimator, X, y, sample_weight)
    n_thresholds, p = len(fit.thresholds), len(fit.coef)
    if n_thresholds < 2:
        raise ParameterError("brant_test is for three classes or more; the model has 2.")
    params = [_binary_params(fit, k) for k in range(n_thresholds)]
    Z = [np.column_stack([block, np.ones(len(block))]) for _, block in fit.blocks()]
    proba = [expit(np.concatenate([block @ own for block in Z])) for own in params]
    weight = fit.weight

    def gram(factor: np.ndarray) -> np.ndarray:
        parts = np.split(factor, np.cumsum([len(block) for block in Z])[:-1])
        return np.sum([b.T @ (b * f[:, None]) for b, f in zip(Z, parts, strict=True)], axis=0)

    inverse = [linalg.pinvh(gram(weight * own * (1 - own))) for own in proba]
    covariance = np.zeros((n_thresholds, p, n_thresholds, p))
    for k in range(n_thresholds):
        for m in range(k, n_thresholds):  # being above threshold m implies being above k
            joint = inverse[k] @ gram(weight * proba[m] * (1 - proba[k])) @ inverse[m]
            covariance[k, :, m] = joint[:p, :p]
            covariance[m, :, k] = joint[:p, :p].T
    scale = fit.units.scale.numpy()
    coef = np.stack([own[:p] for own in params])
    contrast = np.eye(n_thresholds)[1:] - np.eye(n_thresholds)[0]
    tests = [_wald(contrast, coef[:, on], covariance[:, on][..., on]) for on in _subsets(p)]
    statistic, df = np.array([t[0] for t in tests]), np.array([t[1] for t in tests])
    names = ("all features", *fit.names[:p])
    return BrantTest(names, statistic, df, stats.chi2.sf(statistic, df), coef / scale)


def _subsets(n_features: int) -> list[list[int]]:
    return [list(range(n_features)), *([j] for j in range(n_features))]


def _wald(contrast: np.ndarray, coef: np.ndarray, covariance: np.ndarray) -> tuple[float, int]:
    """Return the statistic and degrees of freedom of contrasts between thresholds."""
    size = coef.size
    moved = np.kron(contrast, np.eye(coef.shape[1]))
    difference = moved @ coef.ravel()
    spread = moved @ covariance.reshape(size, size) @ moved.T
    return float(difference @ linalg.solve(spread, difference, assume_a="pos")), len(difference)


def _binary_params(fit: OrderedModel, threshold: int) -> np.ndarray:
    """Fit being above a threshold without a penalty; return coefficients of Z and the intercept."""
    above = torch.from_numpy((fit.index > threshold).astype(np.int64))
    data = from_arrays(fit.X, above, torch.from_numpy(fit.weight))
    found = fitting.fit(data, Binomial(), L2(), C=np.inf, tol=1e-8, bound=False)
    if found.status[0] is not fitting.Status.CONVERGED:
        raise ParameterError(
            f"The rows above and below the threshold {fit.names[len(fit.coef) + threshold]!r} are "
            "separable, so that it has no coefficients to compare."
        )
    coef = found.params.coef[0, 0]
    intercept = found.params.intercept[0] + coef @ fit.units.center
    return torch.cat([coef * fit.units.scale, intercept]).numpy()
