"""Inference of ordered classes against R, statsmodels and definitions."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy import stats
from scipy.special import expit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from statsmodels.miscmodels.ordinal_model import OrderedModel

from skorch_logreg import (
    OrdinalLogisticClassifier,
    ParameterError,
    TorchLogisticClassifier,
    bootstrap,
    influence,
    marginal_effects,
    profile_intervals,
    summary,
)
from skorch_logreg.analysis import brant_test
from tests.estimators.test_ordinal import SATISFACTION, exact, housing, problem


def test_housing_is_that_of_polr():
    """``summary(house.plr)`` in R: Venables and Ripley (2002), section 7.3."""
    X, y, weight = housing()
    model = exact(categories=SATISFACTION).fit(X, y, sample_weight=weight)
    found = summary(model, X, y, sample_weight=weight)
    assert found.names[-2:] == ("Low|Medium", "Medium|High")
    published = {
        "InflMedium": (0.5664, 0.10465, 5.412),
        "InflHigh": (1.2888, 0.12716, 10.136),
        "TypeApartment": (-0.5724, 0.11924, -4.800),
        "TypeAtrium": (-0.3662, 0.15517, -2.360),
        "TypeTerrace": (-1.0910, 0.15149, -7.202),
        "ContHigh": (0.3603, 0.09554, 3.771),
        "Low|Medium": (-0.4961, 0.1248, -3.9739),
        "Medium|High": (0.6907, 0.1255, 5.5049),
    }
    for name, coef, error, z in zip(
        found.names, found.coef, found.standard_error, found.z, strict=True
    ):
        value, published_error, ratio = published[name]
        assert coef == pytest.approx(value, abs=6e-5)
        assert error == pytest.approx(published_error, abs=1e-4)
        assert z == pytest.approx(ratio, rel=1e-3)
    assert found.aic == pytest.approx(3495.149, abs=1e-3)
    assert "threshold between" in str(found)
    by_name = make_pipeline(model)
    by_name.fit(X, y, ordinallogisticclassifier__sample_weight=weight)
    assert summary(by_name, X, y, sample_weight=weight).names == found.names


@pytest.mark.parametrize("make", [np.asarray, sp.csr_array], ids=["dense", "sparse"])
def test_equals_ordered_model(make):
    X, y = problem(n_classes=5)
    model = exact().fit(make(X), y)
    found = summary(model, make(X), y)
    judge = OrderedModel(y, X, distr="logit").fit(method="newton", tol=1e-9, disp=False)
    # its other thresholds are logarithms of differences
    np.testing.assert_allclose(found.standard_error[:6], judge.bse[:6], rtol=1e-4)
    assert found.log_likelihood == pytest.approx(judge.llf, rel=1e-10)
    assert found.null_log_likelihood == pytest.approx(judge.llnull, rel=1e-8)
    assert found.df_model == 5


@pytest.mark.parametrize("covariance", ["model", "posterior", "sandwich", "cluster"])
@pytest.mark.parametrize("C", [0.5, np.inf])
def test_two_classes_are_the_binary_model(covariance, C):
    X, y = problem(n_classes=2)
    weight = np.random.default_rng(0).integers(1, 3, size=len(y)).astype(float)
    groups = np.arange(len(y)) % 40 if covariance == "cluster" else None
    options = {"sample_weight": weight, "covariance": covariance, "groups": groups}
    ordinal, binary = (
        summary(kind(C=C, tol=1e-9).fit(X, y, sample_weight=weight), X, y, **options)
        for kind in (OrdinalLogisticClassifier, TorchLogisticClassifier)
    )
    sign = np.r_[np.ones(5), -1.0]
    np.testing.assert_allclose(ordinal.coef, sign * binary.coef, atol=1e-6)
    wanted = sign[:, None] * binary.covariance * sign
    np.testing.assert_allclose(ordinal.covariance, wanted, rtol=1e-5, atol=1e-9)
    assert ordinal.df_model == pytest.approx(binary.df_model)
    assert ordinal.null_log_likelihood == pytest.approx(binary.null_log_likelihood)


def test_sandwich_is_from_the_scores_of_rows():
    X, y = problem()
    model = exact().fit(X, y)
    params = np.r_[model.coef_[0], model.thresholds_]

    def losses(params):
        ends = np.concatenate([[-np.inf], params[5:], [np.inf]])
        logits = X @ params[:5]
        return -np.log(expit(ends[y + 1] - logits) - expit(ends[y] - logits))

    h = 1e-6
    units = np.eye(8) * h
    scores = np.stack([(losses(params + u) - losses(params - u)) / (2 * h) for u in units], axis=1)
    bread = summary(model, X, y).covariance
    wanted = bread @ (scores.T @ scores) @ bread
    found = summary(model, X, y, covariance="sandwich").covariance
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-8)


def test_weights_are_rows_and_order_is_kept():
    X, y = problem()
    weight = np.random.default_rng(0).integers(0, 3, size=len(y))
    names = np.array(["b", "a", "d", "c"])
    model = exact(categories=names, class_weight={"a": 2.0})
    twice = np.repeat(np.arange(len(y)), weight)
    model.fit(X, names[y], sample_weight=weight)
    weighted = summary(model, X, names[y], sample_weight=weight)
    repeated = summary(model, X[twice], names[y][twice])
    np.testing.assert_allclose(weighted.covariance, repeated.covariance, rtol=1e-8, atol=1e-12)
    assert weighted.names[-3:] == ("b|a", "a|d", "d|c")


@pytest.mark.parametrize("discrete", [(), (4,)])
def test_marginal_effects_of_every_class(discrete):
    X, y = problem()
    X[:, 4] = X[:, 4] > 0
    X[:, 0] += 100.0
    model = exact().fit(X, y)
    found = marginal_effects(model, X, y, discrete=discrete)
    assert found.names[5] == "1: x0"

    def effects(params):
        model.coef_, model.thresholds_ = params[None, :5], params[5:]
        out = []
        for j in range(5):
            up, down, h = X.copy(), X.copy(), 1e-4
            up[:, j], down[:, j] = (1, 0) if j in discrete else (X[:, j] + h, X[:, j] - h)
            size = 1.0 if j in discrete else 2 * h
            difference = model.predict_proba(up) - model.predict_proba(down)
            out.append(difference.mean(axis=0) / size)
        return np.array(out).T.ravel()

    params = np.r_[model.coef_[0], model.thresholds_]
    np.testing.assert_allclose(found.effect, effects(params), atol=1e-7)
    assert np.abs(found.effect.reshape(4, 5).sum(axis=0)).max() < 1e-12
    units = np.eye(8) * 1e-4
    jacobian = [(effects(params + u) - effects(params - u)) / 2e-4 for u in units]
    jacobian = np.stack(jacobian, axis=1)
    effects(params)  # sets the parameters again
    wanted = jacobian @ summary(model, X, y).covariance @ jacobian.T
    np.testing.assert_allclose(found.standard_error, np.sqrt(np.diag(wanted)), rtol=1e-3)


def test_marginal_effects_of_two_classes():
    X, y = problem(n_classes=2)
    X[:, 4] = X[:, 4] > 0
    ordinal, binary = (
        marginal_effects(kind(C=np.inf, tol=1e-9).fit(X, y), X, y, discrete=[4])
        for kind in (OrdinalLogisticClassifier, TorchLogisticClassifier)
    )
    assert ordinal.names == binary.names
    np.testing.assert_allclose(ordinal.effect, binary.effect, atol=1e-8)
    np.testing.assert_allclose(ordinal.covariance, binary.covariance, rtol=1e-6, atol=1e-12)


def _brant(X, y, n_classes):
    """Return the statistic of all features, by the formulas of Brant's paper."""
    A, p = np.column_stack([np.ones(len(X)), X]), X.shape[1]
    fits = [TorchLogisticClassifier(C=np.inf, tol=1e-10) for _ in range(n_classes - 1)]
    fits = [fit.fit(X, y > k) for k, fit in enumerate(fits)]
    proba = [fit.predict_proba(X)[:, 1] for fit in fits]
    inverse = [np.linalg.inv((A.T * own * (1 - own)) @ A) for own in proba]
    size = (n_classes - 1) * p
    covariance = np.zeros((size, size))
    for k in range(n_classes - 1):
        for m in range(k, n_classes - 1):
            joint = inverse[k] @ ((A.T * (proba[m] - proba[k] * proba[m])) @ A) @ inverse[m]
            covariance[k * p : k * p + p, m * p : m * p + p] = joint[1:, 1:]
            covariance[m * p : m * p + p, k * p : k * p + p] = joint[1:, 1:].T
    coef = np.concatenate([fit.coef_[0] for fit in fits])
    D = np.kron(np.eye(n_classes - 1)[1:] - np.eye(n_classes - 1)[0], np.eye(p))
    return D @ coef @ np.linalg.solve(D @ covariance @ D.T, D @ coef)


def test_brant():
    X, y = problem(n=600, n_classes=4)
    model = exact().fit(X, y)
    found = brant_test(model, X, y)
    assert found.names[0] == "all features"
    assert found.df.tolist() == [10, 2, 2, 2, 2, 2]
    assert found.statistic[0] == pytest.approx(_brant(X, y, 4), rel=1e-5)
    alone = brant_test(exact().fit(X[:, :1], y), X[:, :1], y)
    assert alone.statistic[1] == pytest.approx(_brant(X[:, :1], y, 4), rel=1e-5)
    np.testing.assert_allclose(found.p_value, stats.chi2.sf(found.statistic, found.df))
    assert found.p_value[0] > 0.01  # the odds are proportional
    twice = brant_test(model, X, y, sample_weight=np.full(len(y), 2.0))
    np.testing.assert_allclose(twice.statistic, 2 * found.statistic, rtol=1e-5)
    scaled = make_pipeline(StandardScaler(), exact()).fit(X, y)
    np.testing.assert_allclose(brant_test(scaled, X, y).statistic, found.statistic, rtol=1e-5)


def test_brant_sees_other_coefficients():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 2))
    logits = np.column_stack([X @ [2.0, 1.0] + 1.0, X @ [0.0, 1.0] - 1.0])
    y = (rng.logistic(size=1000)[:, None] < logits).sum(axis=1)
    found = brant_test(exact().fit(X, y), X, y)
    assert found.p_value[:2].max() < 1e-6


def test_errors():
    X, y = problem()
    model = exact().fit(X, y)
    with pytest.raises(ParameterError, match="only summary, marginal_effects and brant_test"):
        influence(model, X, y)
    with pytest.raises(ParameterError, match="only summary, marginal_effects and brant_test"):
        profile_intervals(model, X, y)
    with pytest.raises(ParameterError, match="only summary, marginal_effects and brant_test"):
        bootstrap(model, X, y)
    with pytest.raises(ParameterError, match="brant_test is for an OrdinalLogisticClassifier"):
        brant_test(TorchLogisticClassifier().fit(X, y), X, y)
    with pytest.raises(ParameterError, match="three classes"):
        brant_test(exact().fit(X, y > 1), X, y > 1)
    with pytest.raises(ParameterError, match="separable"):
        brant_test(model, np.where(y[:, None] > 2, 9.0, 1.0) * np.ones((1, 5)), y)
    with pytest.raises(ParameterError, match="l1_ratio"):
        summary(OrdinalLogisticClassifier(l1_ratio=1.0).fit(X, y), X, y)
