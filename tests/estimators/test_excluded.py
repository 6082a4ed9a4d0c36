"""Features of infinite penalty are left out: the model is that of the other columns."""

import numpy as np
import pytest
import scipy.sparse as sp

from skorch_logreg import (
    BatchedGridSearchCV,
    MultiLabel,
    ParameterError,
    TorchLogisticClassifier,
    TorchLogisticClassifierCV,
)
from skorch_logreg.solvers import Adam
from tests.estimators.data import binary, multi

FACTOR = [1.0, np.inf, 0.5, 2.0]
KEPT = [0, 2, 3]


def split(factor=FACTOR):
    return {"penalty_factor": factor}, {"penalty_factor": np.take(factor, KEPT)}


def assert_left_out(model, other, **tolerance):
    coef = np.asarray(model.coef_)
    assert (coef[:, 1] == 0).all()
    np.testing.assert_allclose(coef[:, KEPT], other.coef_, **tolerance)
    np.testing.assert_allclose(model.intercept_, other.intercept_, **tolerance)


@pytest.mark.parametrize("make", [np.asarray, sp.csr_array, lambda X: X.astype(np.float32)])
@pytest.mark.parametrize("data", [binary, multi])
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"fit_intercept": False},
        {"l1_ratio": 1.0},
        {"l1_ratio": 0.5},
        {"solver": "newton-cg"},
        {"solver": "newton-cholesky"},
        {"C": np.inf},
    ],
    ids=str,
)
def test_the_model_is_that_of_the_other_columns(make, data, parameters):
    X, y = data()
    ours, theirs = split()
    options = {"tol": 1e-9, **parameters}
    model = TorchLogisticClassifier(**options, **ours).fit(make(X), y)
    other = TorchLogisticClassifier(**options, **theirs).fit(make(X)[:, KEPT], y)
    single = model.coef_.dtype == np.float32
    assert_left_out(model, other, rtol=1e-5, atol=1e-6 if single else 1e-8)
    assert model.converged_
    model.set_params(warm_start=True).fit(make(X), y)
    assert (model.coef_[:, 1] == 0).all()


@pytest.mark.parametrize("l1_ratio", [0.0, 1.0])
def test_in_data_with_more_columns_than_rows(l1_ratio):
    rng = np.random.default_rng(0)
    X, factor = rng.normal(size=(30, 400)), np.ones(400)
    factor[::7] = np.inf
    y = (X[:, :5].sum(axis=1) > 0).astype(int)
    kept = np.isfinite(factor)
    options = {"tol": 1e-9, "l1_ratio": l1_ratio}
    model = TorchLogisticClassifier(**options, penalty_factor=factor).fit(X, y)
    other = TorchLogisticClassifier(**options).fit(X[:, kept], y)
    assert (model.coef_[:, ~kept] == 0).all()
    np.testing.assert_allclose(model.coef_[:, kept], other.coef_, rtol=1e-5, atol=1e-7)


def test_nothing_but_the_intercept_is_left():
    X, y = binary()
    model = TorchLogisticClassifier(penalty_factor=[np.inf] * 4).fit(X, y)
    assert (model.coef_ == 0).all()
    np.testing.assert_allclose(model.intercept_, np.log(y.mean() / (1 - y.mean())), rtol=1e-6)


def test_many_models():
    X, y = binary()
    ours, theirs = split()
    grid = {"Cs": 4, "cv": 3, "l1_ratios": (0,), "scoring": "neg_log_loss", "tol": 1e-9}
    grid |= {"use_legacy_attributes": False}
    model = TorchLogisticClassifierCV(**grid, **ours).fit(X, y)
    other = TorchLogisticClassifierCV(**grid, **theirs).fit(X[:, KEPT], y)
    np.testing.assert_allclose(model.scores_, other.scores_, rtol=1e-6)
    assert_left_out(model, other, rtol=1e-5, atol=1e-7)
    Y = np.c_[y, 1 - y]
    labels = MultiLabel(TorchLogisticClassifier(tol=1e-9, **ours)).fit(X, Y)
    rest = MultiLabel(TorchLogisticClassifier(tol=1e-9, **theirs)).fit(X[:, KEPT], Y)
    assert_left_out(labels, rest, rtol=1e-5, atol=1e-7)
    choices = {"penalty_factor": [[1, 1, 1, 1], FACTOR], "C": [0.1, 1.0]}
    search = BatchedGridSearchCV(TorchLogisticClassifier(), choices, cv=3).fit(X, y)
    assert search.batched_.all()


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_mini_batches_refuse(method):
    model = TorchLogisticClassifier(solver=Adam(epochs=2), penalty_factor=FACTOR)
    more = {"classes": [0, 1]} if method == "partial_fit" else {}
    with pytest.raises(ParameterError, match=r"penalty_factor\[1\] is inf, which excludes"):
        getattr(model, method)(*binary(), **more)
    with pytest.raises(ParameterError, match="trains all"):
        TorchLogisticClassifier(penalty_factor=FACTOR).partial_fit(*binary(), classes=[0, 1])
