"""Test that each point of a regularization path is the fit of its C, and where the path starts."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.svm import l1_min_c

from skorch_logreg import (
    ParameterError,
    RegularizationPath,
    TorchLogisticClassifier,
    regularization_path,
)

TOL = 1e-7


def rows(n_classes=2, n=300, p=40, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * np.logspace(-0.5, 0.5, p) + 0.3
    X[rng.random((n, p)) < 0.3] = 0.0
    Z = X[:, : 2 * n_classes] @ rng.normal(size=(2 * n_classes, n_classes))
    return X, (Z + 2 * rng.gumbel(size=Z.shape)).argmax(axis=1)


def assert_fits(path, X, y, sample_weight=None, **parameters):
    for C, coef, intercept in zip(path.Cs, path.coefs, path.intercepts, strict=True):
        fit = TorchLogisticClassifier(C=C, tol=TOL, **parameters).fit(X, y, sample_weight)
        np.testing.assert_allclose(np.atleast_2d(coef), fit.coef_, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(np.atleast_2d(coef) == 0, fit.coef_ == 0)
        np.testing.assert_allclose(intercept, np.squeeze(fit.intercept_), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("make", [np.asarray, np.asfortranarray, sp.csr_array, pd.DataFrame])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_every_point_is_a_fit_of_its_own(make, fit_intercept):
    """In any container; the zeros are the same too."""
    X, y = rows()
    X = make(X)
    path = regularization_path(X, y, Cs=8, C_max=5.0, fit_intercept=fit_intercept, tol=TOL)
    assert path.converged.all()
    assert path.duality_gap.max() <= 1e-12  # rounding: tol asks for 1e-14
    assert path.n_active[0] == 0
    assert path.n_active[-1] > 10
    assert_fits(path, X, y, l1_ratio=1.0, fit_intercept=fit_intercept)


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_mixtures_weights_and_factors(l1_ratio, n_classes):
    X, y = rows(n_classes)
    rng = np.random.default_rng(1)
    factor = rng.uniform(0.5, 2.0, X.shape[1])
    factor[[0, 3]], factor[5] = 0.0, np.inf
    weight = rng.integers(0, 3, len(y)).astype(float)
    Cs = [0.3, 0.02, 0.1]
    path = regularization_path(
        X, y, Cs=Cs, l1_ratio=l1_ratio, penalty_factor=factor, sample_weight=weight, tol=TOL
    )
    np.testing.assert_array_equal(path.Cs, Cs)
    assert (path.coefs[..., 5] == 0).all()
    assert (path.coefs[..., [0, 3]] != 0).all()
    assert_fits(path, X, y, weight, l1_ratio=l1_ratio, penalty_factor=factor)


@pytest.mark.slow
def test_more_columns_than_a_working_set_is_copied_of():
    """Wide rows, where most points copy their columns, and the densest ones do not."""
    X, y = rows(n=200, p=800)
    path = regularization_path(X, y, Cs=12, C_max=2.0, tol=TOL)
    assert path.n_active[-1] > 100
    assert_fits(path, X, y, l1_ratio=1.0)


def test_against_scikit_learn():
    X, y = rows()
    path = regularization_path(X, y, Cs=[0.05, 0.5], fit_intercept=False, tol=TOL)
    for C, coef in zip(path.Cs, path.coefs, strict=True):
        judge = LogisticRegression(
            C=C, l1_ratio=1.0, solver="liblinear", fit_intercept=False, tol=1e-10, max_iter=10_000
        ).fit(X, y)
        np.testing.assert_allclose(coef, judge.coef_[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [np.asarray, sp.csr_array])
def test_begins_where_scikit_learn_says(make):
    X, y = rows()
    path = regularization_path(make(X), y, Cs=2, fit_intercept=False)
    first = l1_min_c(X, y, loss="log", fit_intercept=False)
    np.testing.assert_allclose(path.Cs, [first, 1000 * first], rtol=1e-12)


@pytest.mark.parametrize("l1_ratio", [0.3, 1.0])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("free", [False, True])
def test_the_first_point_is_the_last_empty_one(l1_ratio, n_classes, free):
    """With the best intercept, and with columns that have no penalty."""
    X, y = rows(n_classes)
    factor = np.ones(X.shape[1])
    factor[0] = 0.0 if free else 1.0
    options = {"l1_ratio": l1_ratio, "penalty_factor": factor, "tol": 1e-8}
    first = regularization_path(X, y, Cs=2, **options).Cs[0]
    path = regularization_path(X, y, Cs=[first * 0.999, first * 1.001], **options)
    assert path.n_active.tolist() == [int(free), 1 + int(free)]


def test_types_and_shapes():
    X, y = rows(3)
    labels = np.array(["a", "b", "c"])[y]
    path = regularization_path(X.astype(np.float32), labels, Cs=3, C_max=0.1)
    assert isinstance(path, RegularizationPath)
    assert path.coefs.dtype == path.intercepts.dtype == np.float32
    assert path.coefs.shape == (3, 3, X.shape[1])
    assert path.intercepts.shape == (3, 3)
    assert path.classes.tolist() == ["a", "b", "c"]
    assert path.n_iter.shape == path.optimality.shape == (3,)


def test_x_is_read_little():
    """Each point begins at the one before: a third less than fits of their own read."""
    X, y = rows(n=400, p=500)
    path = regularization_path(X, y, Cs=50, C_max=0.2)
    fits = (TorchLogisticClassifier(C=C, l1_ratio=1.0).fit(X, y) for C in path.Cs)
    assert path.n_passes < 0.67 * sum(fit.n_passes_ for fit in fits)


def test_a_path_that_is_cut_short_says_so():
    X, y = rows()
    with pytest.warns(ConvergenceWarning, match="of 3 points .* did not reach tol=1e-09"):
        path = regularization_path(X, y, Cs=3, tol=1e-9, max_iter=0)
    assert not path.converged.all()


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"Cs": 0}, "one point or more"),
        ({"Cs": []}, "positive, finite"),
        ({"Cs": [1.0, -1.0]}, "positive, finite"),
        ({"Cs": [1.0, np.inf]}, "positive, finite"),
        ({"Cs": [1.0], "C_max": 2.0}, "goes with a number"),
        ({"C_max": -1.0}, "must be positive"),
        ({"C_max": 1e-9}, "the path begins at C ="),
        ({"l1_ratio": 1.5}, "l1_ratio is 1.5"),
        ({"penalty_factor": [1.0]}, r"penalty_factor has shape \(1,\)"),
    ],
)
def test_what_is_not_allowed(parameters, text):
    X, y = rows()
    with pytest.raises(ParameterError, match=text):
        regularization_path(X, y, **parameters)
    with pytest.raises(ValueError, match="one class"):
        regularization_path(X, np.zeros(len(y)))


@pytest.mark.parametrize(
    "parameters",
    [{"tol": -1.0}, {"tol": np.nan}, {"max_iter": -3}, {"max_iter": 2.5}, {"fit_intercept": "no"}],
    ids=str,
)
def test_parameters_of_the_classifier_are_checked_as_there(parameters):
    X, y = rows()
    with pytest.raises(ValueError, match=f"The '{next(iter(parameters))}' parameter of Torch"):
        regularization_path(X, y, **parameters)


@pytest.mark.parametrize("container", [np.array, torch.tensor, pd.Series])
@pytest.mark.parametrize("l1_ratio", [0.0, 1.0])
def test_strengths_of_any_container_keep_their_order(container, l1_ratio):
    X, y = rows()
    Cs = [0.5, 0.125, 0.25]
    wanted = regularization_path(X, y, Cs=Cs, l1_ratio=l1_ratio)
    found = regularization_path(X, y, Cs=container(Cs), l1_ratio=l1_ratio)
    np.testing.assert_array_equal(found.Cs, Cs)
    np.testing.assert_array_equal(found.coefs, wanted.coefs)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("l1_ratio", [0.0, 0.5])
def test_the_estimator_at_a_point_is_the_fit(l1_ratio, n_classes):
    X, y = rows(n_classes)
    factor = np.r_[0.0, np.ones(X.shape[1] - 1)]
    options = {"l1_ratio": l1_ratio, "penalty_factor": factor, "tol": TOL}
    path = regularization_path(X, y, Cs=[1.0, 0.1], **options)
    found = path.estimator(0.1)
    fit = TorchLogisticClassifier(C=0.1, **options).fit(X, y)
    assert str(found.get_params()) == str(fit.get_params())
    assert vars(fit).keys() - vars(found).keys() <= {"_training", "history_"}
    assert found.converged_
    np.testing.assert_allclose(found.coef_, fit.coef_, atol=1e-6)
    np.testing.assert_allclose(found.predict_proba(X), fit.predict_proba(X), atol=1e-6)
    np.testing.assert_array_equal(path.predict(X, C=0.1), fit.predict(X))


def test_between_two_points_coefficients_are_linear_in_the_strength():
    X, y = rows()
    path = regularization_path(X, y, Cs=[1.0, 0.25, 0.5])
    between = path.estimator(1 / 3)
    np.testing.assert_allclose(between.coef_[0], (path.coefs[1] + path.coefs[2]) / 2)
    np.testing.assert_allclose(between.intercept_, path.intercepts[1:].mean())
    assert np.isnan(between.optimality_)
    assert not between.converged_
    for C in (0.2, 1.1, np.nan):
        with pytest.raises(ParameterError, match="the path is from 0.25 to 1."):
            path.predict(X, C=C)


def test_names_of_a_path():
    X, y = rows()
    names = np.array([f"feature {j}" for j in range(X.shape[1])], dtype=object)
    frame = pd.DataFrame(X, columns=names)
    path = regularization_path(frame, y, Cs=3, penalty_factor={"feature 1": np.inf})
    assert path.feature_names.tolist() == path.estimator(path.Cs[1]).feature_names_in_.tolist()
    assert not path.coefs[:, 1].any()
    path.predict(frame, C=path.Cs[1])  # without a warning of names
    given = regularization_path(X, y, Cs=3, feature_names=names)
    assert given.feature_names.tolist() == names.tolist()
    given.predict(X, C=given.Cs[1])
    assert regularization_path(X, y, Cs=1).feature_names[1] == "x1"
    with pytest.raises(ParameterError, match="feature_names has shape"):
        regularization_path(X, y, feature_names=["one"])
