"""Test influence against refits without the row, and with probabilities that round to 0 or 1."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.special import expit

from skorch_logreg import TorchLogisticClassifier, influence


def rows(n, p=3):
    random = np.random.default_rng(0)
    X = random.normal(size=(n, p)) * [1, 100, 0.01] + [0, 1000, 5]
    y = (X[:, 0] + random.logistic(size=n) > 0).astype(int)
    return X, y, random.integers(1, 4, n).astype(float)


def left_out(model, X, y, weight):
    """Squared change of the coefficients in the metric ``I + P``, over k, by a refit per row."""
    Z = np.column_stack([X, np.ones(len(X))])[:, : X.shape[1] + model.fit_intercept]
    own = np.r_[model.coef_[0], model.intercept_][: Z.shape[1]]
    p = model.predict_proba(X)[:, 1]
    penalty = np.r_[np.full(X.shape[1], 1 / model.C), 0][: Z.shape[1]]
    metric = (Z * (weight * p * (1 - p))[:, None]).T @ Z + np.diag(penalty)
    options = {"C": model.C, "fit_intercept": model.fit_intercept, "tol": 1e-10}
    found = []
    for i in range(len(y)):
        other = np.where(np.arange(len(y)) == i, 0, weight)
        again = TorchLogisticClassifier(**options).fit(X, y, other)
        change = np.r_[again.coef_[0], again.intercept_][: Z.shape[1]] - own
        found.append(change @ metric @ change / Z.shape[1])
    return np.array(found)


@pytest.mark.parametrize("wrap", [np.asarray, sp.csr_array])
@pytest.mark.parametrize(("C", "fit_intercept"), [(np.inf, True), (0.5, True), (0.5, False)])
def test_refits_without_a_row(C, fit_intercept, wrap):
    """Cook's distance is one Newton step of the refit, whose error falls as 1 / n."""
    X, y, weight = rows(150)
    X = X if fit_intercept else X - X.mean(axis=0)
    model = TorchLogisticClassifier(C=C, tol=1e-10, fit_intercept=fit_intercept)
    model.fit(X, y, weight)
    found = influence(model, wrap(X), y, sample_weight=weight)
    expected = left_out(model, X, y, weight)
    np.testing.assert_allclose(found.cooks_distance, expected, rtol=0.2)
    assert np.abs(np.log(found.cooks_distance / expected)).mean() < 0.03


def test_one_newton_step_without_the_row():
    """To the last digits: of each step, from the definition."""
    X, y, weight = rows(40)
    model = TorchLogisticClassifier(C=0.5, tol=1e-12).fit(X, y, weight)
    found = influence(model, X, y, sample_weight=weight)
    Z = np.column_stack([X, np.ones(40)])
    p = expit(Z @ np.r_[model.coef_[0], model.intercept_])
    penalty = np.diag([2.0, 2, 2, 0])
    whole = (Z * (weight * p * (1 - p))[:, None]).T @ Z + penalty
    for i in range(40):
        other = np.where(np.arange(40) == i, 0, weight)
        curvature = (Z * (other * p * (1 - p))[:, None]).T @ Z + penalty
        score = weight[i] * (y[i] - p[i]) * Z[i]  # that of the others is minus this
        step = np.linalg.solve(curvature, score)
        assert found.cooks_distance[i] == pytest.approx(step @ whole @ step / 4, rel=1e-5)
    leverage = weight * p * (1 - p) * np.sum(Z * np.linalg.solve(whole, Z.T).T, axis=1)
    np.testing.assert_allclose(found.leverage, leverage, rtol=1e-7)


@pytest.mark.parametrize("far", [100.0, 400.0, 4000.0])
@pytest.mark.parametrize("label", [0, 1])
def test_probabilities_that_round_to_one(far, label):
    """Residuals and distances have the limit 0, on either side."""
    X, y, _ = rows(60)
    X = np.vstack([X[:, :1], [[far if label else -far]]])
    y = np.append(y, label)
    model = TorchLogisticClassifier(C=1.0, tol=1e-10).fit(X, y)
    found = influence(model, X, y)
    logit = X[:, 0] * model.coef_[0, 0] + model.intercept_[0]
    margin = np.where(y == 1, logit, -logit)
    assert margin[-1] > 37
    sign = np.where(y == 1, 1, -1)
    np.testing.assert_allclose(found.pearson, sign * np.exp(-margin / 2), rtol=1e-6)
    np.testing.assert_allclose(found.deviance, sign * np.sqrt(2 * np.log1p(np.exp(-margin))))
    assert found.cooks_distance[-1] == pytest.approx(0, abs=1e-10)
    assert found.leverage[-1] == pytest.approx(0, abs=1e-10)
    assert np.isfinite(found.cooks_distance).all()


def test_a_row_of_weight_zero_has_no_influence():
    X, y, weight = rows(60)
    weight[7] = 0
    found = influence(TorchLogisticClassifier().fit(X, y, weight), X, y, sample_weight=weight)
    for figures in (found.leverage, found.pearson, found.deviance, found.cooks_distance):
        assert figures[7] == 0
