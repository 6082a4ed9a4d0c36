"""Predictions: thresholds, exactness far out, the module, coefficients that callers change."""

import copy

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.exceptions import NotFittedError

from skorch_logreg import MultiLabel, TorchLogisticClassifier
from skorch_logreg.data import ArrayChunks
from skorch_logreg.data.threads import workers
from tests.estimators.data import binary, multi

METHODS = ["predict", "predict_proba", "predict_log_proba", "decision_function"]


def model_of(coef, intercept=0.0, classes=(0, 1)):
    """Fit, then set the coefficients by hand."""
    coef = np.atleast_2d(np.asarray(coef, dtype=float))
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, coef.shape[1]))
    model = TorchLogisticClassifier().fit(X, np.resize(classes, 60))
    model.coef_, model.intercept_ = coef, np.full(len(coef), float(intercept))
    return model


def test_threshold_includes_the_tie_and_needs_no_refit():
    X, y = binary()
    model = TorchLogisticClassifier().fit(X, y)
    p = model.predict_proba(X)[:, 1]
    for threshold in [0.0, 0.3, 1.0, p[7], 1]:
        model.set_params(threshold=threshold)
        np.testing.assert_array_equal(model.predict(X), (p >= threshold).astype(int))
    for threshold in [-0.1, 1.1, np.nan, "0.5", None]:
        with pytest.raises(ValueError, match="The 'threshold' parameter of"):
            model.set_params(threshold=threshold).predict(X)


def test_a_tie_at_one_half_is_the_second_class():
    model = model_of([0.0], classes=("no", "yes"))
    assert list(model.predict([[1.0]])) == ["yes"]
    assert list(model.set_params(threshold=0.5000001).predict([[1.0]])) == ["no"]


@pytest.mark.parametrize("data", [binary, multi])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
def test_module_gives_the_bits_of_decision_function(data, dtype, order):
    X, y = data()
    X = np.array(X, dtype=dtype, order=order)
    model = TorchLogisticClassifier().fit(X, y)
    with torch.no_grad():
        logits = model.module_(torch.from_numpy(X)).numpy()
    decision = model.decision_function(X)
    np.testing.assert_array_equal(logits, decision.reshape(logits.shape))


def test_module_shares_the_memory_of_the_coefficients():
    model = TorchLogisticClassifier().fit(*multi())
    module = model.module_
    assert np.shares_memory(module.weight.detach().numpy(), model.coef_)
    assert np.shares_memory(module.bias.detach().numpy(), model.intercept_)
    assert module.weight.requires_grad
    with torch.no_grad():
        module.weight.zero_()
    assert not model.coef_.any()


def test_module_does_not_exist_before_fit():
    model = TorchLogisticClassifier()
    assert not hasattr(model, "module_")
    with pytest.raises(NotFittedError):
        model.module_  # noqa: B018


def test_module_under_the_callers_torch_modes():
    model = TorchLogisticClassifier().fit(*binary())
    for mode in [torch.device("meta"), torch.inference_mode(), torch.no_grad()]:
        with mode:
            module = model.module_
        assert module.weight.device.type == "cpu"
        assert module.weight.requires_grad
        torch.testing.assert_close(module.weight.detach().numpy(), model.coef_)


def test_module_of_read_only_and_sparse_coefficients_is_a_copy():
    model = TorchLogisticClassifier().fit(*binary())
    coef = model.coef_.copy()
    model.coef_.setflags(write=False)
    for _ in range(2):
        with torch.no_grad():
            model.module_.weight.zero_()
        np.testing.assert_array_equal(model.densify().coef_, coef)
        model.sparsify()


@pytest.mark.parametrize("data", [binary, multi])
def test_sparse_coefficients_predict_the_same(data):
    X, y = data()
    dense = TorchLogisticClassifier(l1_ratio=1, C=0.1).fit(X, y)
    sparse = copy.deepcopy(dense).sparsify()
    assert sp.issparse(sparse.coef_)
    for name in METHODS:
        expected = getattr(dense, name)(X)
        for rows in [X, sp.csr_array(X), sp.csc_matrix(X)]:
            got = getattr(sparse, name)(rows)
            assert type(got) is np.ndarray
            np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(sparse.densify().coef_, dense.coef_)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_probabilities_far_out(dtype, n_outputs):
    coef = [[1.0], [0.0], [-1.0]][:n_outputs]
    model = model_of(coef, classes=range(max(n_outputs, 2)))
    model.coef_, model.intercept_ = model.coef_.astype(dtype), model.intercept_.astype(dtype)
    X = np.array([[0.0], [1e-9], [30], [-30], [800], [-800], [1e37], [-1e37]], dtype=dtype)
    with np.errstate(all="raise"):
        p, log_p = model.predict_proba(X), model.predict_log_proba(X)
    assert p.dtype == log_p.dtype == dtype
    assert np.isfinite(log_p).all()
    assert ((p >= 0) & (p <= 1)).all()
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=4 * np.finfo(dtype).eps)
    exact = p > np.finfo(dtype).tiny
    np.testing.assert_allclose(np.exp(log_p[exact]), p[exact], rtol=1e-5)
    if n_outputs == 1:
        # the small side is exact: 1 - p would be 0
        np.testing.assert_allclose(p[3, 1], np.exp(-30), rtol=1e-6)
        np.testing.assert_allclose(p[2, 0], np.exp(-30), rtol=1e-6)
        np.testing.assert_allclose(log_p[4, 0], -800, rtol=1e-6)


def test_wider_data_give_wider_predictions():
    X, y = binary()
    model = TorchLogisticClassifier().fit(X.astype(np.float32), y)
    assert model.coef_.dtype == np.float32
    assert model.predict_proba(X).dtype == np.float64
    assert model.predict_proba(X.astype(np.float32)).dtype == np.float32
    assert model.predict_proba(X.astype(int)).dtype == np.float64
    assert model.predict_proba(X.astype(np.float16)).dtype == np.float64


def test_plain_arrays_and_validated_ones_predict_alike():
    """Arrays that need no validation take a short way."""
    X, y = binary()
    model = TorchLogisticClassifier().fit(X, y)
    for name in METHODS:
        np.testing.assert_array_equal(getattr(model, name)(X), getattr(model, name)(X.tolist()))
    broken = np.array(X)
    broken[3, 1] = np.nan
    for rows, text in [
        (broken, "Input X contains NaN"),
        (X[:, :2], "X has 2 features, but TorchLogisticClassifier is expecting 4"),
        (X[:0], "Found array with 0 sample"),
        (X[0], "Expected 2D array, got 1D array instead"),
    ]:
        with pytest.raises(ValueError, match=text):
            model.predict(rows)


def test_sums_that_overflow_are_no_infinite_input():
    model = model_of([1e-308])
    X = np.full((40, 1), 1e308)
    with np.errstate(all="raise"):
        np.testing.assert_allclose(model.decision_function(X), 1.0)


def test_coefficients_that_callers_assign():
    X, y = binary()
    model = TorchLogisticClassifier().fit(X, y)
    expected = model.decision_function(X)
    model.coef_, model.intercept_ = model.coef_.astype(">f8"), list(model.intercept_)
    np.testing.assert_array_equal(model.decision_function(X), expected)
    model.coef_ = np.array(model.coef_[:, ::-1], dtype=float)[:, ::-1]
    np.testing.assert_allclose(model.decision_function(X), expected, rtol=1e-12)
    model.coef_ = np.ones((1, 4), dtype=int)
    np.testing.assert_allclose(model.decision_function(X), X.sum(axis=1) + model.intercept_)


def test_threads_predict_in_inference_mode():
    """Other threads than the caller's are not in that mode."""
    X = np.random.default_rng(0).standard_normal((300_000, 40))
    model = TorchLogisticClassifier().fit(X[:200], X[:200, 0] > 0)
    wanted = model.decision_function(X)
    with torch.inference_mode(), workers(2):
        np.testing.assert_array_equal(model.decision_function(X), wanted)


def test_autocast_does_not_reach_predictions():
    X, y = binary()
    X = X.astype(np.float32)
    model = TorchLogisticClassifier().fit(X, y)
    expected = model.decision_function(X)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        np.testing.assert_array_equal(model.decision_function(X), expected)
        np.testing.assert_array_equal(TorchLogisticClassifier().fit(X, y).coef_, model.coef_)


@pytest.mark.parametrize("form", ["csr", "csc", "bsr", "coo"])
def test_sparse_indices_out_of_bounds_are_refused(form):
    X, y = binary()
    model = TorchLogisticClassifier().fit(X, y)
    bad = sp.csr_array(X).asformat(form)
    if form == "coo":
        bad.coords[1][5] = 10**6
    else:
        bad.indices[0] = 10**6
    for use in [model.predict, lambda rows: TorchLogisticClassifier().fit(rows, y)]:
        with pytest.raises(ValueError, match="indices do not fit that shape"):
            use(bad)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_many_rows_are_scored_in_blocks_like_a_few(dtype, n_classes):
    """Blocks have 2^22 entries, and rows that are fewer are scored at once."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(650_000, 7)).astype(dtype), rng.integers(0, n_classes, 5_000)
    model = TorchLogisticClassifier().fit(X[:5_000], y)
    for name in METHODS:
        method = getattr(model, name)
        few = np.concatenate([method(part) for part in (X[:300_000], X[300_000:])])
        np.testing.assert_array_equal(method(X), few)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("coef", [[0.5, -2.0], [0.5, 0.0]])
@pytest.mark.parametrize("method", METHODS)
def test_an_entry_that_is_not_finite_is_refused_whatever_its_coefficient(value, coef, method):
    model = model_of(coef)
    X = np.zeros((1_000, 2))
    getattr(model, method)(X)
    X[700, 1] = value
    with pytest.raises(ValueError, match="Input X contains"):
        getattr(model, method)(X)


@pytest.mark.parametrize("make", [np.asarray, sp.csr_array, lambda X: ArrayChunks(X, rows=1)])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "model",
    [
        model_of([1.0, -1.0]),
        model_of([[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]], classes=range(3)),
        MultiLabel().fit([[0.0, 1.0], [1.0, 0.0]], [[0], [1]]),
    ],
    ids=["two classes", "three", "label"],
)
def test_rows_whose_logits_overflow_have_no_prediction(model, method, make):
    """Infinity minus infinity is not a number, and neither are shares of infinities."""
    X = np.full((2, 2), 1.5e308)
    model = copy.deepcopy(model)
    model.coef_ = 2 * np.sign(np.asarray(model.coef_))
    with pytest.raises(ValueError, match="beyond the range of float64. Scale the columns of X"):
        getattr(model, method)(make(X))


def test_overflow_of_float32_names_float64():
    model = model_of([1.0, -1.0])
    model.coef_, model.intercept_ = np.float32([[2, -2]]), np.float32([0])
    X = np.full((1, 2), 3e38, dtype=np.float32)
    with pytest.raises(ValueError, match="or predict its copy in float64"):
        model.predict(X)
    assert model.predict_proba(X.astype(float)).tolist() == [[0.5, 0.5]]


def test_logits_that_overflow_are_not_taken_for_entries():
    model = model_of([1e200, 1.0])
    X = np.array([[1e200, 0.0], [-1e200, 0.0]])
    np.testing.assert_array_equal(model.predict_proba(X), [[0.0, 1.0], [1.0, 0.0]])
