"""Fitting: weights, liblinear's objective, warm starts, what a failed fit leaves."""

import os

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy.optimize import minimize
from sklearn import config_context
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from skorch_logreg import ParameterError, TorchLogisticClassifier, fitting
from tests.estimators.data import assert_same_state, binary, multi, state

TIGHT = {"tol": 1e-9, "max_iter": 1000}


def liblinear_objective(params, X, y, C, scaling):
    """``C sum log(1 + exp(-y z)) + |w|^2 / 2`` with the intercept's weight in w."""
    z = X @ params[:-1] + scaling * params[-1]
    return C * np.logaddexp(0, -(2 * y - 1) * z).sum() + (params**2).sum() / 2


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix, sp.csc_array])
@pytest.mark.parametrize("scaling", [0.3, 1, 10.0])
def test_liblinear_penalises_its_intercept(form, scaling):
    X, y = binary()
    model = TorchLogisticClassifier(
        solver="liblinear", intercept_scaling=scaling, C=0.5, **TIGHT
    ).fit(form(X), y)
    start = np.append(model.coef_[0], model.intercept_ / scaling)
    arguments = (X, y, 0.5, scaling)
    best = minimize(liblinear_objective, np.zeros(5), arguments, tol=1e-12).fun
    assert liblinear_objective(start, *arguments) <= best * (1 + 1e-9)
    free = TorchLogisticClassifier(C=0.5, **TIGHT).fit(X, y)
    assert abs(model.intercept_[0]) < abs(free.intercept_[0])


def test_liblinear_is_float64_and_scikit_learns():
    X, y = binary()
    for l1_ratio in [0, 1]:
        options = {"solver": "liblinear", "l1_ratio": l1_ratio, "C": 0.3}
        ours = TorchLogisticClassifier(**options, **TIGHT).fit(X.astype(np.float32), y)
        theirs = LogisticRegression(**options, tol=1e-10, max_iter=10_000, random_state=0)
        theirs.fit(X.astype(np.float32), y)
        assert ours.coef_.dtype == np.float64
        np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-4, atol=1e-5)


def test_liblinear_with_penalty_factor():
    X, y = binary()
    factor = np.array([4.0, 1.0, 0.25, 9.0])
    model = TorchLogisticClassifier(solver="liblinear", penalty_factor=factor, **TIGHT).fit(X, y)
    scaled = TorchLogisticClassifier(solver="liblinear", **TIGHT).fit(X / np.sqrt(factor), y)
    np.testing.assert_allclose(model.intercept_, scaled.intercept_, rtol=1e-6)


def test_liblinear_refuses_three_classes_in_both_wordings():
    for text in [
        "The 'liblinear' solver does not support multiclass classification",
        "Only binary classification is supported.",
    ]:
        with pytest.raises(ValueError, match=text):
            TorchLogisticClassifier(solver="liblinear").fit(*multi())


@pytest.mark.parametrize("sample_weight", [None, "some"])
@pytest.mark.parametrize("data", [binary, multi])
def test_balanced_is_scikit_learns(data, sample_weight):
    X, y = data()
    if sample_weight:
        sample_weight = np.random.default_rng(0).uniform(0.5, 2, len(y))
    ours = TorchLogisticClassifier(class_weight="balanced", **TIGHT).fit(X, y, sample_weight)
    theirs = LogisticRegression(
        class_weight="balanced", solver="newton-cholesky", tol=1e-12, max_iter=1000
    ).fit(X, y, sample_weight)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-6)


@pytest.mark.parametrize("class_weight", ["balanced", {0: 1, 1: 2, 2: 3}, {0: 1, 1: 1, 2: 0}])
def test_a_class_without_weight_keeps_its_place_and_is_not_predicted(class_weight):
    X, y = multi()
    weight = np.where(y == 2, 0.0, 1.0)
    model = TorchLogisticClassifier(class_weight=class_weight)
    with pytest.warns(ConvergenceWarning, match="that of the intercept"):
        model.fit(X, y, sample_weight=weight)
    assert list(model.classes_) == [0, 1, 2]
    assert np.isfinite(model.coef_).all()
    assert np.isfinite(model.intercept_).all()
    assert 2 not in model.predict(X)


@pytest.mark.parametrize(
    ("class_weight", "text"),
    [
        ({0: 1, 1: -1.0}, r"class_weight gives class 1 the weight -1\.0"),
        ({0: np.inf, 1: 1}, "class_weight gives class 0 the weight inf"),
        ({0: 0, 1: 0}, "Sample weights must contain at least one non-zero number"),
        ({7: 1}, r"The classes, \[0, 1\], are not in class_weight"),
    ],
)
def test_class_weights_that_are_refused(class_weight, text):
    with pytest.raises(ValueError, match=text):
        TorchLogisticClassifier(class_weight=class_weight).fit(*binary())


def test_weights_whose_product_overflows_are_refused():
    X, y = binary()
    model = TorchLogisticClassifier(class_weight={0: 1e200, 1: 1.0})
    with pytest.raises(ValueError, match="times class weights, must have a finite sum"):
        model.fit(X, y, sample_weight=np.full(len(y), 1e200))


@pytest.mark.parametrize(
    ("sample_weight", "text"),
    [
        (-np.ones(120), "Negative values in data passed to `sample_weight`"),
        (np.zeros(120), "Sample weights must contain at least one non-zero number"),
        (0.0, "Sample weights must contain at least one non-zero number"),
        (np.full(120, np.nan), "Input sample_weight contains NaN"),
        (np.nan, "Sample weights.* must have a finite sum; the largest is nan"),
        (np.inf, "Sample weights.* must have a finite sum; the largest is inf"),
        (np.full(120, 1e307), "must have a finite sum; the largest is 1e.307"),
        (np.ones((120, 2)), "Sample weights must be 1D array or scalar"),
        (np.ones(3), r"sample_weight.shape == \(3,\), expected \(120,\)!"),
    ],
)
def test_sample_weights_that_are_refused(sample_weight, text):
    with pytest.raises(ValueError, match=text):
        TorchLogisticClassifier().fit(*binary(), sample_weight=sample_weight)


def test_large_integer_weights_are_exact_on_float32_data():
    X, y = binary()
    weight = np.full(len(y), 2**24 + 1)
    model = TorchLogisticClassifier(tol=1e-8).fit(X.astype(np.float32), y, sample_weight=weight)
    other = TorchLogisticClassifier(tol=1e-8, C=2**24 + 1).fit(X.astype(np.float32), y)
    np.testing.assert_allclose(model.coef_, other.coef_, rtol=1e-6)


@pytest.mark.parametrize("data", [binary, multi])
@pytest.mark.parametrize("solver", ["auto", "newton-cholesky", "newton-cg", "saga"])
def test_a_warm_start_at_the_optimum_stays_there(data, solver):
    X, y = data()
    model = TorchLogisticClassifier(warm_start=True, solver=solver, tol=1e-6).fit(X, y)
    coef, intercept = model.coef_.copy(), model.intercept_.copy()
    model.sparsify().fit(X, y)
    np.testing.assert_allclose(model.coef_, coef, rtol=1e-7)
    np.testing.assert_allclose(model.intercept_, intercept, rtol=1e-7)
    assert model.n_iter_[0] <= 1


def test_a_warm_start_across_fit_intercept():
    X, y = binary()
    model = TorchLogisticClassifier(warm_start=True).fit(X, y)
    model.set_params(fit_intercept=False).fit(X, y)
    assert model.intercept_[0] == 0
    cold = TorchLogisticClassifier(fit_intercept=False, **TIGHT).fit(X, y)
    np.testing.assert_allclose(model.coef_, cold.coef_, rtol=1e-3)
    model.set_params(fit_intercept=True).fit(X, y)
    assert model.intercept_[0] != 0


def test_a_warm_start_of_another_shape():
    X, y = binary()
    model = TorchLogisticClassifier(warm_start=True).fit(X, y)
    text = r"Initialization coef is of shape \(1, 5\), expected shape \(3,\) or \(1, 3\)"
    with pytest.raises(ValueError, match=text):
        model.fit(X[:, :2], y)
    text = r"Initialization coef is of shape \(1, 5\), expected shape \(3, 5\)"
    with pytest.raises(ValueError, match=text):
        model.fit(*multi())
    model.coef_[0, 0] = np.nan
    with pytest.raises(ValueError, match="is not finite"):
        model.fit(X, y)
    model.set_params(solver="liblinear").fit(X, y)  # which never starts warm


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("first", [True, False])
def test_a_fit_that_breaks_leaves_the_model_as_it_was(monkeypatch, error, first):
    X, y = binary()
    model = TorchLogisticClassifier()
    if not first:
        model.fit(X, y)
    before = state(model)
    monkeypatch.setattr(fitting, "fit", lambda *_, **__: (_ for _ in ()).throw(error))
    with pytest.raises(error):
        model.fit(*multi())
    assert_same_state(state(model), before)
    if not first:
        assert model.predict(X).shape == y.shape


def test_a_warning_made_an_error_leaves_the_model_as_it_was():
    model = TorchLogisticClassifier().fit(*binary())
    before = state(model)
    with pytest.raises(ConvergenceWarning):  # pytest makes warnings errors
        model.set_params(max_iter=1, tol=1e-12).fit(*multi())
    assert_same_state(state(model), before)


@pytest.mark.parametrize(
    ("solver", "text"),
    [
        ("auto", r"TorchLogisticClassifier did not converge in 1 iteration\(s\)\. optimality_ = "),
        ("lbfgs", r"lbfgs failed to converge after 1 iteration\(s\)\."),
        ("newton-cg", r"newton-cg failed to converge.* Increase the number of iterations."),
        ("newton-cholesky", "Newton solver did not converge after 1 iterations"),
        ("liblinear", "Liblinear failed to converge, increase the number of iterations."),
        ("sag", "The max_iter was reached which means the coef_ did not converge"),
        ("saga", "The max_iter was reached which means the coef_ did not converge"),
    ],
)
def test_the_convergence_warning_has_figure_reason_and_way_out(solver, text):
    with pytest.warns(ConvergenceWarning, match=text) as record:
        model = TorchLogisticClassifier(solver=solver, max_iter=1, tol=1e-12).fit(*binary())
    (warning,) = record
    assert warning.filename == __file__
    message = str(warning.message)
    assert f"optimality_ = {model.optimality_:.2g}" in message
    assert "tol = 1e-12" in message
    assert "max_iter was reached" in message
    assert "(max_iter=1)" in message
    assert not model.converged_
    assert model.n_iter_ == 1


def test_separable_classes_without_a_penalty():
    X = np.arange(10.0)[:, None]
    with pytest.warns(ConvergenceWarning, match="the classes are separable") as record:
        model = TorchLogisticClassifier(C=np.inf).fit(X, X[:, 0] > 4.5)
    assert len(record) == 1
    assert np.isfinite(model.coef_).all()
    assert model.score(X, X[:, 0] > 4.5) == 1


def test_no_iterations_are_the_start():
    with pytest.warns(ConvergenceWarning):
        model = TorchLogisticClassifier(max_iter=0).fit(*multi())
    assert not model.coef_.any()
    assert not model.intercept_.any()
    assert model.n_iter_ == 0


def test_fitted_attributes_have_plain_types_and_their_own_memory():
    X, y = binary()
    model = TorchLogisticClassifier().fit(X, y)
    assert type(model.optimality_) is float
    assert type(model.duality_gap_) is float
    assert model.converged_ is True
    assert type(model.n_passes_) is int
    assert model.n_iter_.dtype == np.int32
    assert model.n_iter_.shape == (1,)
    assert 0 <= model.optimality_ <= model.tol
    for part in [model.coef_, model.intercept_]:
        assert part.flags.writeable
        assert part.flags.c_contiguous
        assert not np.shares_memory(part, X)


def test_tensors_under_array_api_dispatch_stay_tensors():
    pytest.importorskip("array_api_strict")
    if os.environ.get("SCIPY_ARRAY_API") != "1":
        pytest.skip("SciPy was imported without SCIPY_ARRAY_API=1")
    X, y = (torch.tensor(array) for array in multi())
    with config_context(array_api_dispatch=True):
        model = TorchLogisticClassifier(device="cpu").fit(X, y)
        for name in ["coef_", "intercept_", "classes_", "n_iter_"]:
            assert isinstance(getattr(model, name), torch.Tensor)
        assert isinstance(model.predict(X), torch.Tensor)
    # and without dispatch the model still predicts, in NumPy
    assert type(model.predict(X.numpy())) is np.ndarray
    assert type(model.predict_proba(X)) is np.ndarray


def test_parameter_errors_are_value_errors():
    assert issubclass(ParameterError, ValueError)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_few_rows_have_the_same_model_sparse_or_dense_at_the_default_tol(n_classes):
    """Newton's method on a Hessian of its own at every step goes further than was asked for."""
    X, y = load_iris(return_X_y=True)
    X, y = X[y < n_classes], y[y < n_classes]
    dense, sparse = (TorchLogisticClassifier().fit(rows, y) for rows in (X, sp.csr_array(X)))
    np.testing.assert_allclose(sparse.coef_, dense.coef_, atol=1e-6)
