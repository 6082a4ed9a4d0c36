"""Test robust covariances with weights against statsmodels' frequency and variance weights."""

import numpy as np
import pytest
import scipy.sparse as sp
import statsmodels.api as sm
from statsmodels.tools.sm_exceptions import SpecificationWarning

from skorch_logreg import TorchLogisticClassifier, likelihood_ratio_test, summary
from skorch_logreg.exceptions import ParameterError

FREE = TorchLogisticClassifier(C=np.inf, tol=1e-10)
PROBABILITY = {"weight_type": "probability"}


def rows(n=80, p=2):
    random = np.random.default_rng(0)
    X = random.normal(size=(n, p)) + 3
    y = (X[:, 0] - 3 + random.logistic(size=n) > 0).astype(int)
    return random, X, y, np.arange(n) % 16 // 2


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-12)


def glm(X, y, groups=None, **weights):
    model = sm.GLM(y, sm.add_constant(X, prepend=False), family=sm.families.Binomial(), **weights)
    if groups is None:
        return model.fit(tol=1e-12, cov_type="HC0")
    with pytest.warns(SpecificationWarning, match="not fully supported"):
        return model.fit(tol=1e-12, cov_type="cluster", cov_kwds={"groups": groups})


def robust(X, y, weight, groups=None, **options):
    covariance = "sandwich" if groups is None else "cluster"
    return summary(
        FREE.fit(X, y, weight), X, y,
        sample_weight=weight, covariance=covariance, groups=groups, **options,
    )  # fmt: skip


@pytest.mark.parametrize("wrap", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("is_clustered", [False, True])
@pytest.mark.parametrize("factor", [1.0, 1 / 187, 3 / 187, 1e6])
def test_probability_weights(factor, is_clustered, wrap):
    """Only their ratios count, so that their sum may be 1, or the number of parameters."""
    random, X, y, groups = rows()
    weight = random.uniform(0.5, 4, len(y))
    groups = groups if is_clustered else None
    expected = glm(X, y, groups, var_weights=weight)
    found = robust(wrap(X), y, weight * factor, groups, **PROBABILITY)
    close(found.coef, expected.params)
    close(found.covariance, expected.cov_params())
    assert found.n_samples == len(y)
    assert "inverse probabilities" in str(found)


@pytest.mark.parametrize("is_clustered", [False, True])
def test_frequency_weights_are_repetitions(is_clustered):
    random, X, y, groups = rows()
    weight = random.integers(0, 4, len(y))
    again = np.repeat(np.arange(len(y)), weight)
    groups = groups if is_clustered else None
    cluster = {"cov_type": "cluster", "cov_kwds": {"groups": groups[again]}} if is_clustered else {
        "cov_type": "HC0"
    }  # fmt: skip
    repeated = sm.add_constant(X[again], prepend=False)
    expected = sm.Logit(y[again], repeated).fit(disp=0, tol=1e-12, **cluster)
    found = robust(X, y, weight, groups)
    close(found.covariance, expected.cov_params())
    close(found.bic, expected.bic)
    assert found.n_samples == weight.sum()
    if not is_clustered:
        k = weight > 0  # statsmodels divides by the weights
        close(found.covariance, glm(X[k], y[k], freq_weights=weight[k]).cov_params())


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("options", [{}, PROBABILITY], ids=["frequency", "probability"])
def test_groups_without_weight_do_not_count(options, n_classes):
    """5 groups with rows that count, and 100 without."""
    random, X, _, _ = rows()
    y = random.integers(0, n_classes, len(X))
    groups = np.arange(len(y)) % 5
    expected = robust(X, y, np.ones(len(y)), groups, **options)
    more, other = random.normal(size=(100, 2)), random.integers(0, n_classes, 100)
    weight = np.r_[np.ones(len(y)), np.zeros(100)]
    labels = [*groups.astype(str), *(f"empty {i}" for i in range(100))]
    found = robust(np.vstack([X, more]), np.r_[y, other], weight, labels, **options)
    close(found.covariance, expected.covariance)
    assert found.n_samples == expected.n_samples == len(y)


def test_a_penalty_has_fewer_parameters_than_columns():
    """More columns than rows: n - k stays positive, with k the trace of B I."""
    random = np.random.default_rng(0)
    X, y, groups = random.normal(size=(12, 20)), np.arange(12) % 2, np.arange(12) // 2
    model = TorchLogisticClassifier(C=0.1, tol=1e-10).fit(X, y)
    found = summary(model, X, y, covariance="cluster", groups=groups)
    Z = np.column_stack([X, np.ones(12)])
    p = model.predict_proba(X)[:, 1]
    information = (Z * (p * (1 - p))[:, None]).T @ Z
    bread = np.linalg.inv(information + np.diag(np.r_[np.full(20, 10.0), 0]))
    scores = np.array([(Z[groups == g] * (y - p)[groups == g, None]).sum(0) for g in range(6)])
    k = np.trace(bread @ information)
    expected = bread @ scores.T @ scores @ bread * 6 / 5 * 11 / (12 - k)
    close(found.covariance, expected)
    close(found.df_model, k - 1)


@pytest.mark.parametrize("total", [1.0, 3.0])
def test_weights_that_count_no_rows_are_refused(total):
    _, X, y, groups = rows()
    with pytest.raises(ParameterError, match="need weight_type='probability'"):
        robust(X, y, np.full(len(y), total / len(y)), groups)


def test_refused():
    _, X, y, groups = rows()
    with pytest.raises(ParameterError, match="weight_type='analytic'; expected one of"):
        robust(X, y, None, groups, weight_type="analytic")
    for covariance in ("model", "posterior"):
        with pytest.raises(ParameterError, match=f"with covariance='{covariance}'"):
            summary(FREE.fit(X, y), X, y, covariance=covariance, **PROBABILITY)
    with pytest.raises(ParameterError, match="1 label for rows of positive weight"):
        robust(X, y, (groups == 0).astype(float), groups)
    larger, smaller = (robust(X[:, :p], y, None, **PROBABILITY) for p in (2, 1))
    with pytest.raises(ParameterError, match="not chi-squared"):
        likelihood_ratio_test(larger, smaller)
