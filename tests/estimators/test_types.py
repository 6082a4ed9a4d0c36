"""Rows of every type are kept in it, and fitted as in float64, by every estimator."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from skorch_logreg import (
    MultiLabel,
    NeuralLogisticClassifier,
    TorchLogisticClassifier,
    regularization_path,
)
from tests.containers import CONTAINERS
from tests.estimators.data import binary, multi
from tests.estimators.tensors import (
    FITS,
    METHODS,
    SINGLE,
    SOME,
    TYPES,
    as_float32,
    close,
    numbers,
    stored,
)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("data", [binary, multi])
def test_07_every_type_is_fitted_as_float64(kind, data):
    """scikit-learn's model of the same numbers in float64, of the type that it would give."""
    X, wide, y = stored(kind, data)
    model = TorchLogisticClassifier(tol=1e-10).fit(X, y)
    expected = LogisticRegression(solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(wide, y)
    dtype = np.float32 if kind in SINGLE else np.float64
    tolerance = 1e-6 if kind in SINGLE else 1e-8
    assert model.coef_.dtype == model.intercept_.dtype == dtype
    close(model.coef_, expected.coef_, tolerance)
    for method in METHODS[1:]:
        found = getattr(model, method)(X)
        assert found.dtype == dtype
        close(found, getattr(expected, method)(wide), tolerance)
    np.testing.assert_array_equal(model.predict(X), model.predict(wide.astype(dtype)))
    assert model.score(X, y) == (model.predict(X) == y).mean()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", FITS)
@pytest.mark.parametrize("kind", SOME)
def test_07_every_estimator_takes_every_type(kind, name):
    X, wide, y = stored(kind)
    wide, model = as_float32(kind, wide), FITS[name]
    expected = model.fit(wide, y).predict_proba(wide)
    weight = np.arange(len(y)) % 3
    score = model.score(wide, y, **({} if "search" in name else {"sample_weight": weight}))
    given = {} if "search" in name else {"sample_weight": torch.tensor(weight)}
    model.fit(X, torch.tensor(y))
    close(model.predict_proba(X), expected, 1e-5 if wide.dtype == np.float32 else 1e-8)
    assert model.score(X, torch.tensor(y), **given) == pytest.approx(score)


@pytest.mark.parametrize("kind", SOME)
@pytest.mark.parametrize(
    "model",
    [
        TorchLogisticClassifier(),
        MultiLabel(),
        NeuralLogisticClassifier((4,)),
        MultiLabel(NeuralLogisticClassifier((4,))),
    ],
    ids=str,
)
def test_07_partial_fits_take_every_type(kind, model):
    X, wide, y = stored(kind)
    labels, model = torch.tensor(y), clone(model)
    for rows in (slice(0, 60), slice(60, 120)):
        model.partial_fit(X[rows], labels[rows], classes=torch.tensor([0, 1]))
    found = model.predict_proba(X)
    wide, model = as_float32(kind, wide), clone(model)
    for rows in (slice(0, 60), slice(60, 120)):
        model.partial_fit(wide[rows], y[rows], classes=[0, 1])
    close(found, model.predict_proba(wide), 1e-5)


@pytest.mark.parametrize("kind", [*SOME, "torch float32"])
@pytest.mark.parametrize("l1_ratio", [0.0, 1.0])
def test_07_a_path_takes_every_type(kind, l1_ratio):
    X, wide, y = stored(kind)
    found = regularization_path(X, torch.tensor(y), Cs=5, l1_ratio=l1_ratio, tol=1e-8)
    expected = regularization_path(wide, y, Cs=5, l1_ratio=l1_ratio, tol=1e-8)
    assert found.coefs.dtype == (np.float32 if kind in SINGLE else np.float64)
    close(found.coefs, expected.coefs, 1e-6)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int32", "uint64", "float32"])
@pytest.mark.parametrize("form", [sp.csr_array, sp.csc_matrix, sp.coo_array])
def test_07_sparse_rows_of_every_type(form, dtype):
    X, y = numbers()
    X = X.astype(dtype)
    model = TorchLogisticClassifier(tol=1e-10).fit(form(X), y)
    expected = TorchLogisticClassifier(tol=1e-10).fit(X.astype(np.float64), y)
    tolerance = 1e-6 if dtype == "float32" else 1e-8
    assert model.coef_.dtype == (np.float32 if dtype == "float32" else np.float64)
    close(model.coef_, expected.coef_, tolerance)
    close(model.decision_function(form(X)), expected.decision_function(X), tolerance)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int8, torch.bool])
@pytest.mark.parametrize("container", ["torch_csr", "torch_csc", "torch_coo"])
def test_07_sparse_tensors_of_every_type(container, dtype):
    X, y = numbers()
    low = torch.from_numpy(X).to(dtype)
    made = CONTAINERS[container](low.to(torch.float64).numpy()).to(dtype)
    model = TorchLogisticClassifier(tol=1e-10).fit(made, y)
    expected = TorchLogisticClassifier(tol=1e-10).fit(low.to(torch.float64).numpy(), y)
    single = dtype == torch.bfloat16
    assert model.coef_.dtype == (np.float32 if single else np.float64)
    close(model.coef_, expected.coef_, 1e-6 if single else 1e-8)
    close(model.decision_function(made), expected.decision_function(low.double().numpy()), 1e-6)
