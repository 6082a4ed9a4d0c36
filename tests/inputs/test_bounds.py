"""Coefficients within bounds: against a slow reference, and exactly at their bounds."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy.optimize import Bounds
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

from skorch_logreg import (
    BatchedGridSearchCV,
    MultiLabel,
    ParameterError,
    TorchLogisticClassifier,
    TorchLogisticClassifierCV,
)
from skorch_logreg.solvers import LBFGS, SGD, ProximalNewton
from tests import reference
from tests.estimators.data import binary, multi
from tests.estimators.test_groups import FORMS, problem

LOW = np.array([-np.inf, 0.0, -0.02, -0.3, 0.05, -np.inf, -0.7])
HIGH = np.array([0.2, np.inf, 0.02, -0.1, np.inf, np.inf, 0.7])


def violation(task, coef, intercept, low, high):
    """Distance of minus the gradient to the subdifferential, in longdouble."""
    g, g_intercept = reference.gradient(task, coef, intercept)
    least = np.where(coef > 0, task.lasso, -task.lasso)
    most = np.where(coef >= 0, task.lasso, -task.lasso)
    least[coef <= low], most[coef >= high] = -np.inf, np.inf
    worst = np.maximum(np.maximum(-g - most, least + g), 0).max()
    return float(max(worst, np.abs(g_intercept).max() if task.fit_intercept else 0))


def reference_value(task, low, high):
    lasso = task.lasso.astype(float)

    def prox(v, step):
        return reference.box_prox(v, step, lasso, low, high)

    return reference.value(task, *reference.minimise_first_order(task, prox))


@pytest.mark.parametrize("seed", range(20))
def test_against_a_slow_reference(seed):
    n_classes, fit_intercept = 2 + seed % 2, seed % 4 < 3
    X, y, weight, factor = problem(seed, n_classes)
    options = {"C": [0.05, 0.5, 5.0, np.inf][seed % 4], "l1_ratio": [0.0, 0.4, 1.0][seed % 3]}
    if np.isinf(options["C"]) and n_classes > 2:
        options["C"] = 20.0  # the classes' constants are free: many minimisers
    task = reference.Task(X, y, weight, factor=factor, fit_intercept=fit_intercept, **options)
    make = FORMS[seed % 2]
    if np.isinf(options["C"]):
        options.pop("l1_ratio")
    model = TorchLogisticClassifier(
        bounds=(LOW, HIGH), penalty_factor=factor, fit_intercept=fit_intercept, tol=1e-7, **options
    ).fit(make(X), y, weight)
    reached = reference.value(task, model.coef_, model.intercept_)
    best = reference_value(task, LOW, HIGH)
    assert abs(float(reached - best)) <= 1e-10 * float(best)
    assert ((model.coef_ >= LOW) & (model.coef_ <= HIGH)).all()
    assert ((model.coef_ == LOW) | (model.coef_ == HIGH)).any()
    size = np.abs(X).T @ weight
    assert violation(task, model.coef_, model.intercept_, LOW, HIGH) <= 1e-6 * size.max()


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("max_iter", [1, 2, 3])
# fits are ended before they have converged, on purpose
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_gap_is_never_below_the_truth(l1_ratio, n_classes, max_iter):
    """Promise 2."""
    X, y, weight, _ = problem(1, n_classes)
    options = {"bounds": (LOW, HIGH), "C": 3.0, "l1_ratio": l1_ratio}
    best = TorchLogisticClassifier(**options, tol=1e-8).fit(X, y, weight)
    model = TorchLogisticClassifier(**options, tol=0.0, max_iter=max_iter).fit(X, y, weight)
    task = reference.Task(X, y, weight, C=3.0, l1_ratio=l1_ratio)
    least, reached = (reference.value(task, m.coef_, m.intercept_) for m in (best, model))
    assert model.duality_gap_ >= float((reached - least) / reached) * (1 - 1e-6) - 1e-15
    assert best.duality_gap_ <= 1e-13


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
# fits are ended before they have converged, on purpose
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_gap_by_hand(l1_ratio):
    X, y, weight, _ = problem(1)
    low, high = np.maximum(LOW, -2), np.minimum(HIGH, 2)
    options = {"bounds": (low, high), "C": 3.0, "l1_ratio": l1_ratio, "fit_intercept": False}
    model = TorchLogisticClassifier(**options, max_iter=1).fit(X, y, weight)
    task = reference.Task(X, y, weight, C=3.0, l1_ratio=l1_ratio, fit_intercept=False)
    grid = np.linspace(low, high, 200_001)

    def conjugate(v):
        return (v * grid - task.ridge / 2 * grid**2 - task.lasso * np.abs(grid)).max(axis=0).sum()

    bound = reference.dual_value(task, model.coef_, 1.0, conjugate)
    reached = reference.value(task, model.coef_, np.zeros(1))
    np.testing.assert_allclose(model.duality_gap_, float(1 - bound / reached), rtol=1e-6)


@pytest.mark.parametrize("bounds", [(0, None), (-0.3, 0.3), ([-1, -1, 0, 0], [None, 0.1, 9, 9])])
@pytest.mark.parametrize("max_iter", [1, 2, 100])
# fits are ended before they have converged, on purpose
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_without_penalty(bounds, max_iter):
    """A gap where both sides are held; else the optimality is honest all the same."""
    X, y = binary()
    X = X @ np.array([[1, 0.9, 0.9, 0], [0, 0.4, 0, 0], [0, 0, 0.4, 0], [0, 0, 0.2, 1]])
    task = reference.Task(X, y, C=np.inf)
    low, high = np.broadcast_arrays(*bounds, np.zeros(4))[:2]
    low = np.where([v is None for v in low], -np.inf, low).astype(float)
    high = np.where([v is None for v in high], np.inf, high).astype(float)
    best = reference_value(task, low, high)
    model = TorchLogisticClassifier(C=np.inf, bounds=bounds, max_iter=max_iter, tol=1e-6).fit(X, y)
    reached = reference.value(task, model.coef_, model.intercept_)
    truth = float((reached - best) / reached)
    assert model.optimality_**2 >= 0.2 * truth - 1e-13
    if np.isfinite([low, high]).all():
        assert model.duality_gap_ >= truth - 1e-14
    else:
        assert np.isnan(model.duality_gap_)
    if max_iter == 100:
        assert model.converged_
        assert truth <= 1e-11


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("make", FORMS)
@pytest.mark.parametrize("data", [binary, multi])
def test_a_bound_is_met_exactly_in_any_units(dtype, make, data):
    X, y = data()
    units = np.array([3.7, 1e-3, 1.1, 0.3])
    bounds = np.array([-0.1, -70.0, -0.3, -0.7]), np.array([0.1, 30.0, 1 / 3, 0.9])
    X = (X * units + [0.0, 0.0, 5.3, -1.7]).astype(dtype)
    if make is sp.csr_array:
        X[:, 2:] -= np.array([5.3, -1.7], dtype)
    for C in (1.0, 100.0):
        model = TorchLogisticClassifier(bounds=bounds, C=C).fit(make(X), y)
        assert model.coef_.dtype == dtype
        assert (model.coef_.astype(float) >= bounds[0]).all()
        assert (model.coef_.astype(float) <= bounds[1]).all()
        close = [np.isclose(model.coef_, bound, rtol=1e-5) for bound in bounds]
        assert (close[0] | close[1]).any()
        if dtype == np.float64:
            assert (model.coef_ == bounds[0])[close[0]].all()
            assert (model.coef_ == bounds[1])[close[1]].all()


def test_units_do_not_matter_without_penalty():
    """Promise 6."""
    X, y = binary()
    unit = np.array([1e8, 1e-8, 1.0, 1e3])
    low, high = np.array([-0.1, -0.2, 0.0, 0.3]), np.array([0.1, 0.2, np.inf, 0.4])
    options = {"C": np.inf, "tol": 1e-8}
    model = TorchLogisticClassifier(bounds=(low, high), **options).fit(X, y)
    scaled = TorchLogisticClassifier(bounds=(low / unit, high / unit), **options).fit(X * unit, y)
    np.testing.assert_allclose(scaled.coef_ * unit, model.coef_, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("l1_ratio", [0.0, 1.0])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_order_and_weights_do_not_matter(n_classes, l1_ratio):
    """Promises 4 and 5."""
    X, y, weight, _ = problem(7, n_classes)
    options = {"tol": 1e-8, "l1_ratio": l1_ratio}
    model = TorchLogisticClassifier(bounds=(LOW, HIGH), **options).fit(X, y, weight)
    order = np.random.default_rng(0).permutation(7)
    other = TorchLogisticClassifier(bounds=(LOW[order], HIGH[order]), **options)
    np.testing.assert_allclose(
        other.fit(X[:, order], y, weight).coef_, model.coef_[:, order], atol=1e-8
    )
    rows = np.repeat(np.arange(len(y)), weight.astype(int))
    other = TorchLogisticClassifier(bounds=(LOW, HIGH), **options).fit(X[rows], y[rows])
    np.testing.assert_allclose(other.coef_, model.coef_, atol=1e-8)


@pytest.mark.parametrize("parameters", [{}, {"l1_ratio": 0.5}, {"l1_ratio": 1.0}, {"C": np.inf}])
@pytest.mark.parametrize("bounds", [(None, None), (-50, 50), ([-np.inf] * 4, 50)])
def test_bounds_that_bind_nowhere_change_nothing(parameters, bounds):
    X, y = binary()
    plain = TorchLogisticClassifier(tol=1e-9, **parameters).fit(X, y)
    model = TorchLogisticClassifier(tol=1e-8, bounds=bounds, **parameters).fit(X, y)
    np.testing.assert_allclose(model.coef_, plain.coef_, atol=1e-7)


def test_a_feature_held_at_zero_is_left_out():
    X, y = multi()
    bounds = ([None, 0, None, None], [None, 0, None, None])
    model = TorchLogisticClassifier(bounds=bounds, tol=1e-8).fit(X, y)
    other = TorchLogisticClassifier(penalty_factor=[1, np.inf, 1, 1], tol=1e-9).fit(X, y)
    np.testing.assert_allclose(model.coef_, other.coef_, atol=1e-8)
    assert (model.coef_[:, 1] == 0).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_coefficient_may_be_given(dtype):
    X, y = binary()
    bounds = ([None, 0.3, None, None], [None, 0.3, None, None])
    model = TorchLogisticClassifier(bounds=bounds).fit(X.astype(dtype), y)
    assert model.coef_[0, 1] == dtype(0.3)


def test_a_constant_column_is_within_bounds_too():
    X, y = binary()
    plain = TorchLogisticClassifier(tol=1e-8).fit(X, y)
    bounds = ([None] * 4 + [0.25], None)
    model = TorchLogisticClassifier(bounds=bounds, tol=1e-8).fit(np.c_[X, np.full(120, 3.0)], y)
    assert model.coef_[0, 4] == 0.25
    np.testing.assert_allclose(model.coef_[:, :4], plain.coef_, atol=1e-8)
    np.testing.assert_allclose(model.intercept_, plain.intercept_ - 0.75, atol=1e-8)


def separable():
    X, _ = binary()
    score = X[:, 0] - X[:, 1]
    wide = np.abs(score) > 0.5
    return X[wide], (score[wide] > 0).astype(int)


@pytest.mark.parametrize(
    ("bounds", "first"), [((-1, 1), 1), ((None, 0.5), 0.5), ((None, [2, None, None, None]), 2)]
)
def test_separable_data_have_a_minimiser_where_bounds_hold_it(bounds, first):
    """It takes the first two coefficients: that one of them may grow is not enough."""
    X, y = separable()
    model = TorchLogisticClassifier(C=np.inf, bounds=bounds).fit(X, y)
    assert model.converged_
    assert model.coef_[0, 0] == first


def test_separable_data_within_bounds_that_grow_say_so():
    X, y = separable()
    with pytest.warns(ConvergenceWarning, match="separable"):
        TorchLogisticClassifier(C=np.inf, bounds=([0, None, None, None], None)).fit(X, y)


def test_bounds_at_which_no_row_has_curvature_left():
    X, y = binary()
    bounds = ([1000.0, None, None, None], None)
    options = {"l1_ratio": 1.0, "penalty_factor": np.array([1.0, 1.0, 0.0, 1.0])}
    model = TorchLogisticClassifier(bounds=bounds, **options, tol=1e-7).fit(X, y)
    task = reference.Task(X, y, l1_ratio=1.0, factor=options["penalty_factor"])
    low = np.array([1000.0, -np.inf, -np.inf, -np.inf])
    assert model.converged_
    assert model.coef_[0, 0] == 1000
    assert violation(task, model.coef_, model.intercept_, low, np.full(4, np.inf)) <= 1e-5


def test_warm_starts_from_anywhere():
    X, y = binary()
    model = TorchLogisticClassifier(tol=1e-8, warm_start=True).fit(X, y)
    model.set_params(bounds=(-0.2, 0.2)).fit(X, y)
    cold = TorchLogisticClassifier(tol=1e-8, bounds=(-0.2, 0.2)).fit(X, y)
    np.testing.assert_allclose(model.coef_, cold.coef_, atol=1e-8)
    with pytest.warns(ConvergenceWarning):
        model.set_params(bounds=(0.3, 0.4), max_iter=0).fit(X, y)
    assert ((model.coef_ >= 0.3) & (model.coef_ <= 0.4)).all()


def test_it_is_a_parameter_like_others():
    X, y = binary()
    given = Bounds([-np.inf, -0.1, 0, 0], 0.5)
    model = TorchLogisticClassifier(bounds=given, tol=1e-8)
    first = clone(model).fit(X, y)
    assert model.bounds is given
    pair = TorchLogisticClassifier(bounds=([None, -0.1, 0, 0], 0.5), tol=1e-8).fit(X, y)
    np.testing.assert_array_equal(pair.coef_, first.coef_)
    for bounds in (Bounds(0, np.inf), Bounds([0], [np.inf])):
        scalar = TorchLogisticClassifier(bounds=bounds, tol=1e-8).fit(X, y)
        positive = TorchLogisticClassifier(bounds=(0, None), tol=1e-8).fit(X, y)
        np.testing.assert_array_equal(scalar.coef_, positive.coef_)
    of_tensors = (torch.tensor([-torch.inf, -0.1, 0.0, 0.0], dtype=torch.float64), 0.5)
    other = TorchLogisticClassifier(bounds=of_tensors, tol=1e-8, solver=ProximalNewton())
    np.testing.assert_array_equal(other.fit(X, y).coef_, first.coef_)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(first)).coef_, first.coef_)


def test_soft_labels():
    X, y = binary()
    share = np.where(y == 1, 0.8, 0.3)
    soft = TorchLogisticClassifier(bounds=(0, 0.4), soft_labels=True, tol=1e-8).fit(X, share)
    hard = TorchLogisticClassifier(bounds=(0, 0.4), tol=1e-8).fit(
        np.r_[X, X], np.repeat([1, 0], len(y)), np.r_[share, 1 - share]
    )
    np.testing.assert_allclose(soft.coef_, hard.coef_, atol=1e-8)


def test_searches():
    X, y = binary()
    grid = {"C": [0.03, 3.0], "bounds": [None, (0, None), (-0.3, 0.3)], "l1_ratio": [0.0, 0.5]}
    options = {"cv": 3, "scoring": "neg_log_loss"}
    plain = GridSearchCV(TorchLogisticClassifier(tol=1e-7), grid, **options).fit(X, y)
    ours = BatchedGridSearchCV(TorchLogisticClassifier(tol=1e-7), grid, **options).fit(X, y)
    assert ours.batched_.all()
    np.testing.assert_allclose(
        ours.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"], atol=1e-9
    )
    np.testing.assert_allclose(ours.best_estimator_.coef_, plain.best_estimator_.coef_, atol=1e-7)


@pytest.mark.parametrize("refit", [True, False])
def test_cross_validation(refit):
    X, y = binary()
    options = {"l1_ratios": (0, 0.5), "scoring": "neg_log_loss", "use_legacy_attributes": False}
    cv = TorchLogisticClassifierCV(
        Cs=[0.03, 3.0, np.inf], cv=3, bounds=(-0.1, 0.3), tol=1e-7, refit=refit, **options
    ).fit(X, y)
    assert ((cv.coef_ >= -0.1) & (cv.coef_ <= 0.3)).all()
    assert (cv.coef_ == 0.3).any()
    paths = cv.coefs_paths_[..., :-1]
    assert ((paths >= -0.1) & (paths <= 0.3)).all()
    if refit:
        ratio = cv.l1_ratio_ if cv.C_ < np.inf else 0.0  # without a penalty all ratios are equal
        single = TorchLogisticClassifier(C=cv.C_, l1_ratio=ratio, bounds=(-0.1, 0.3))
        single.set_params(tol=1e-7).fit(X, y)
        np.testing.assert_allclose(cv.coef_, single.coef_, atol=1e-7)


def test_labels():
    X, y = binary()
    Y = np.c_[y, X[:, 2] > 0.3, X[:, 3] < 0.1]
    model = TorchLogisticClassifier(bounds=(0, 0.5), tol=1e-8)
    labels = MultiLabel(model).fit(X, Y)
    for own, label in zip(labels.coef_, Y.T, strict=True):
        np.testing.assert_allclose(own, clone(model).fit(X, label).coef_[0], atol=1e-8)
        assert ((own >= 0) & (own <= 0.5)).all()


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        ((0, [1, 2, 3]), r"bounds\[1\] has shape \(3,\), expected a number or \(n_features,\)"),
        ((np.zeros((3, 4)), 1), r"bounds\[0\] has shape \(3, 4\).*all classes share"),
        ((0, None, 1), r"bounds must be a pair \(low, high\)"),
        ([(0, 1)] * 4, r"bounds must be a pair \(low, high\)"),
        ((1, 0), r"bounds of feature 0 are \(1\.0, 0\.0\): low must not exceed high"),
        ((0, [1, 1, -1, 1]), r"bounds of feature 2 are \(0\.0, -1\.0\)"),
        ((np.nan, 1), r"bounds of feature 0 are \(nan, 1\.0\): a bound is not NaN"),
        ((np.inf, None), "no finite number is in between"),
        (("a", 1), r"bounds\[0\] must hold numbers or None"),
        ((np.zeros(4), np.full(4, 2j)), r"bounds\[1\] must hold numbers or None: complex data"),
        (([0, "b", 1, 2], None), r"bounds\[0\] must hold numbers or None"),
    ],
    ids=str,
)
def test_bounds_that_do_not_fit(bounds, text):
    with pytest.raises(ParameterError, match=text):
        TorchLogisticClassifier(bounds=bounds).fit(*binary())


def test_a_feature_left_out_has_zero_within_its_bounds():
    model = TorchLogisticClassifier(bounds=(0.1, 1), penalty_factor=[1, np.inf, 1, 1])
    with pytest.raises(ParameterError, match=r"penalty_factor\[1\] is inf.*bounds are \(0\.1, 1"):
        model.fit(*binary())


@pytest.mark.parametrize(
    "solver", ["lbfgs", "newton-cg", "newton-cholesky", "liblinear", LBFGS(), SGD()], ids=str
)
def test_solvers_that_know_no_bounds(solver):
    text = "knows no bounds; use solver='auto' or"
    for model in (
        TorchLogisticClassifier(bounds=(0, None), solver=solver),
        MultiLabel(TorchLogisticClassifier(bounds=(0, None), solver=solver)),
    ):
        with pytest.raises(ParameterError, match=text):
            model.fit(*binary())


def test_partial_fit_knows_no_bounds():
    model = TorchLogisticClassifier(bounds=(0, None))
    assert not hasattr(model, "partial_fit")
    assert not hasattr(MultiLabel(model), "partial_fit")
    with pytest.raises(AttributeError) as raised:
        model.partial_fit(*binary(), classes=[0, 1])
    assert "mini-batches, which know no bounds" in str(raised.value.__cause__)
