"""Ugly input: right, or one honest warning; never NaN; and errors before any work.

Every fit here is held to tests/reference.py, which standardises and sums in extended precision.
The errors themselves are in tests/promises/test_12_all_or_nothing.py.
"""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning

from skorch_logreg import TorchLogisticClassifier
from tests import problems
from tests.promises.models import PENALTIES, assert_same, assert_sound, fit, parameters
from tests.reference import Task, minimise, suboptimality, value

# b of the order of 1e6 is rounded to 1e-10, which alone costs up to 1e-12 of the objective
FLOOR = {"mean_1e6": 1e-11, "mean_1e6_three_classes": 1e-11}
# no minimum without a penalty: the coefficients run off
DIVERGES = [
    "wide", "wide_three_classes", "one_row_per_class", "two_rows", "rare", "separable",
    "separable_three_classes",
]  # fmt: skip
# the reference is too slow
HEAVY = ["rare", "wide_three_classes", "scales_three_classes"]
CASES = [
    (name, penalty)
    for name in problems.UGLY
    for penalty in PENALTIES
    if not (penalty == "none" and name in (*DIVERGES, "quasi_separable"))
    and not (penalty in ("l1", "elastic net") and name in HEAVY)
]


@pytest.mark.parametrize(("name", "penalty"), CASES)
def test_right_at_defaults_without_a_warning(name, penalty):
    """pytest makes warnings errors: where a minimum exists, it is found and that is all."""
    case = problems.load(name)
    task, minimum = problems.solved(name, **PENALTIES[penalty])
    model = fit(case, **PENALTIES[penalty])
    assert model.converged_
    assert_sound(model, case.X)
    excess = suboptimality(task, model.coef_, model.intercept_, minimum)
    low = np.float32 == model.coef_.dtype
    assert -max(FLOOR.get(name, 0), 1e-14) <= excess <= (1e-6 if low else 1e-7)


@pytest.mark.parametrize(("name", "penalty"), CASES)
def test_right_at_a_tight_tolerance(name, penalty):
    """To 1e-12 of the objective."""
    case = problems.load(name)
    task, minimum = problems.solved(name, **PENALTIES[penalty])
    model = fit(case, tol=1e-8, max_iter=1000, **PENALTIES[penalty])
    assert model.converged_
    excess = suboptimality(task, model.coef_, model.intercept_, minimum)
    if model.coef_.dtype == np.float32:
        assert excess <= 1e-9
    else:
        assert excess <= max(1e-12, FLOOR.get(name, 0))


@pytest.mark.parametrize("C", [1e-6, 1e-3, 1e3, 1e6])
@pytest.mark.parametrize(
    "name", ["scales", "mean_1e6", "constant_and_duplicated", "heavy_tails", "separable",
             "wide", "weights_over_12_decades"],
)  # fmt: skip
def test_right_at_any_strength(name, C):
    case = problems.load(name)
    task, minimum = problems.solved(name, C=C)
    model = fit(case, C=C)
    excess = suboptimality(task, model.coef_, model.intercept_, minimum)
    assert -max(FLOOR.get(name, 0), 1e-13) <= excess <= 1e-7


@pytest.mark.parametrize("penalty", ["l2", "none"])
def test_constant_and_duplicated_columns(penalty):
    """Under L2 duplicates share their weight; a constant column beside an intercept has none."""
    case = problems.load("constant_and_duplicated")
    model = fit(case, tol=1e-10, max_iter=1000, **PENALTIES[penalty])
    coef = model.coef_[0]
    if penalty == "l2":
        np.testing.assert_allclose(coef[:2], coef[5:7], atol=1e-8)
    np.testing.assert_allclose(coef[7:], 0, atol=1e-8)
    single = TorchLogisticClassifier(tol=1e-10, penalty_factor=[0.5, 0.5, 1, 1, 1])
    single.set_params(**PENALTIES[penalty]).fit(case.X[:, :5], case.y)
    np.testing.assert_allclose(coef[:2] + coef[5:7], single.coef_[0, :2], atol=1e-7)


def test_a_constant_column_without_an_intercept_is_one():
    """Its coefficient is penalised all the same."""
    case = problems.load("constant_and_duplicated")
    task, minimum = problems.solved("constant_and_duplicated", fit_intercept=False)
    model = fit(case, fit_intercept=False, tol=1e-8)
    assert_same(parameters(model)[:, :-1], minimum.coef, 1e-6)
    assert abs(model.coef_[0, 7]) > 1e-2
    assert not model.intercept_.any()
    assert suboptimality(task, model.coef_, model.intercept_, minimum) <= 1e-13


@pytest.mark.parametrize("form", [np.array, sp.csr_array])
@pytest.mark.parametrize("name", DIVERGES)
def test_no_minimum_one_honest_warning(name, form):
    """C = inf on separable data: one warning, a finite model, most of the way to the infimum."""
    case = problems.load(name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = TorchLogisticClassifier(C=np.inf).fit(form(case.X), case.y)
    (warning,) = caught
    assert warning.category is ConvergenceWarning
    assert not model.converged_
    assert_sound(model, case.X)
    if name != "rare":
        np.testing.assert_array_equal(model.predict(case.X), case.y)
    task = Task(case.X, case.y, C=np.inf)
    start = value(task, np.zeros_like(model.coef_), np.zeros_like(model.intercept_))
    assert value(task, model.coef_, model.intercept_) < start


def test_quasi_separable_data_without_penalty():
    """The infimum is not attained: within the tolerance of it, and one warning."""
    case = problems.load("quasi_separable")
    with pytest.warns(ConvergenceWarning, match="columns x3") as caught:
        model = fit(case, C=np.inf)
    assert len(caught) == 1
    assert not model.converged_
    assert_sound(model, case.X)
    task, infimum = problems.solved("quasi_separable", C=np.inf)
    excess = suboptimality(task, model.coef_, model.intercept_, infimum)
    assert excess <= 1e-7


# parameters of a fit to three columns, of which the first two may diverge
UNBOUNDED = {
    "none": {"C": np.inf},
    "ridge": {"penalty_factor": [0, 0, 1]},
    "lasso": {"penalty_factor": [0, 0, 1], "l1_ratio": 1.0},
    "bounds": {"C": np.inf, "bounds": ([-np.inf, 0, -1], [np.inf, np.inf, 1])},
}


@pytest.mark.parametrize("separable", [True, False])
@pytest.mark.parametrize("tol", [1e-4, 1e-6])
@pytest.mark.parametrize("distance", [0.1, 1e-3, 1e-5])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("kind", UNBOUNDED)
def test_quasi_separation_between_columns_that_nearly_repeat(
    kind, n_classes, distance, tol, separable
):
    """Their difference has little curvature: rounding shortened the steps, which then ended."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, n_classes, 40)
    rare = np.zeros(40)
    for k in [n_classes - 1] if separable else range(n_classes):
        rare[np.flatnonzero(y == k)[:3]] = 1
    z = rng.normal(size=40)
    X = np.column_stack([z, z + distance * rare, rng.normal(size=40)])
    model = TorchLogisticClassifier(tol=tol, **UNBOUNDED[kind])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y)
    assert not (separable and model.converged_)
    if kind in ("none", "ridge"):
        assert model.converged_ == (not separable)


@pytest.mark.parametrize("mean", [1e3, 1e5])
@pytest.mark.parametrize("tol", [1e-3, 1e-5, 1e-7])
def test_quasi_separation_with_a_column_of_ones_in_place_of_an_intercept(mean, tol):
    rng = np.random.default_rng(1)
    y, rare = rng.integers(0, 2, 30), np.zeros(30)
    rare[np.flatnonzero(y)[:2]] = 1
    model = TorchLogisticClassifier(C=np.inf, fit_intercept=False, tol=tol)
    with pytest.warns(ConvergenceWarning, match="columns"):
        model.fit(np.column_stack([mean + rare, np.ones(30)]), y)
    assert not model.converged_


@pytest.mark.parametrize("name", ["separable", "separable_three_classes"])
def test_separable_with_a_faint_penalty(name):
    """C = 1e10: the minimum is far out and the objective all but zero."""
    case = problems.load(name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = fit(case, C=1e10, max_iter=1000)
    assert len(caught) <= 1
    assert bool(caught) != model.converged_
    assert_sound(model, case.X)
    np.testing.assert_array_equal(model.predict(case.X), case.y)
    task, minimum = problems.solved(name, C=1e10)
    if model.converged_:
        assert suboptimality(task, model.coef_, model.intercept_, minimum) <= 1e-7


@pytest.mark.parametrize("positives", [1, 3])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_rare_positives(positives, class_weight):
    """In 1e5 rows; balanced weights make each of them count 5e4."""
    case = problems.load("rare")
    y = case.y.copy()
    y[np.argsort(case.X[:, 0] + case.X[:, 1])[-positives:]] = 1
    weight = None
    if class_weight:
        weight = (len(y) / (2 * np.bincount(y)))[y]
    minimum = minimise(task := Task(case.X, y, weight))
    model = TorchLogisticClassifier(class_weight=class_weight).fit(case.X, y)
    excess = suboptimality(task, model.coef_, model.intercept_, minimum)
    assert -1e-13 <= excess <= 1e-7
    # the intercept makes the mean probability the share of the positives
    mean = np.average(model.predict_proba(case.X)[:, 1], weights=weight)
    assert mean == pytest.approx(np.average(y, weights=weight), rel=1e-2)


@pytest.mark.slow
def test_one_positive_in_a_million():
    X = np.random.default_rng(0).normal(size=(1_000_000, 4))
    y = np.zeros(1_000_000, dtype=int)
    y[X[:, 0].argmax()] = 1
    minimum = minimise(task := Task(X, y))
    model = TorchLogisticClassifier().fit(X, y)
    assert -1e-13 <= suboptimality(task, model.coef_, model.intercept_, minimum) <= 1e-7


@pytest.mark.parametrize("name", ["one_row_per_class", "two_rows"])
def test_one_row_per_class(name):
    """As many classes as rows: each row is given its own."""
    case = problems.load(name)
    for C in (1.0, 1e4):
        model = fit(case, C=C)
        np.testing.assert_array_equal(model.predict(case.X), case.y)


@pytest.mark.parametrize("form", [np.array, sp.csr_array, sp.csc_array])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_no_information_at_all(form, n_classes):
    """All zero: the intercepts are the logarithms of the shares."""
    y = np.repeat(np.arange(n_classes), [10, 30, 60][:n_classes])
    model = TorchLogisticClassifier(tol=1e-9).fit(form(np.zeros((len(y), 3))), y)
    np.testing.assert_array_equal(model.coef_, np.zeros_like(model.coef_))
    share = np.bincount(y) / len(y)
    np.testing.assert_allclose(model.predict_proba(form(np.zeros((1, 3))))[0], share, rtol=1e-8)


@pytest.mark.parametrize("form", [np.array, sp.csr_array, sp.csc_array])
def test_empty_rows_and_columns_change_nothing(form):
    """An empty column has coefficient zero; a row of zeros still bears on the intercept."""
    case = problems.load("sparse_binary")
    X = case.X.toarray()
    empty = ~X.any(axis=0)
    assert empty.any()
    assert (~X.any(axis=1)).any()
    for penalty in ("l2", "l1", "none"):
        model = TorchLogisticClassifier(tol=1e-10, max_iter=1000, **PENALTIES[penalty])
        model.fit(form(X), case.y)
        np.testing.assert_array_equal(model.coef_[0, empty], 0)
        full = TorchLogisticClassifier(tol=1e-10, max_iter=1000, **PENALTIES[penalty])
        full.fit(form(X[:, ~empty]), case.y)
        assert_same(model.coef_[:, ~empty], full.coef_, 1e-8)
        assert_same(model.intercept_, full.intercept_, 1e-8)


def test_huge_logits_in_float32():
    """Logits of 1e4 neither overflow nor round a loss to NaN, at the fit and after."""
    case = problems.load("huge_logits_float32")
    assert case.X.dtype == np.float32
    model = fit(case)
    z = model.decision_function(case.X)
    assert np.abs(z).max() >= 5e3
    assert_sound(model, case.X)
    log_p = model.predict_log_proba(case.X)
    assert log_p.min() <= -5e3
    # a wrong label out there costs its logit and no more
    y = case.y.copy()
    y[0] = 1 - y[0]
    minimum = minimise(task := Task(case.X, y, C=100.0))
    wrong = TorchLogisticClassifier(C=100.0).fit(case.X, y)
    assert -1e-9 <= suboptimality(task, wrong.coef_, wrong.intercept_, minimum) <= 1e-6


@pytest.mark.parametrize("size", [1e-12, 1e-6, 1e6, 1e12])
def test_tiny_and_huge_weights(size):
    """What counts is C times the weights."""
    case = problems.load("binary")
    model = TorchLogisticClassifier(C=1 / size, tol=1e-10)
    model.fit(case.X, case.y, sample_weight=np.full(len(case.y), size))
    assert_same(parameters(model), parameters(fit(case, tol=1e-10)), 1e-8)


@pytest.mark.parametrize("name", ["binary", "three_classes"])
def test_zero_weights_hide_even_outrageous_rows(name):
    """Rows without weight may hold anything finite."""
    case = problems.load(name)
    X = np.r_[case.X, np.full((5, case.X.shape[1]), 1e100)]
    y, weight = np.r_[case.y, case.y[:5]], np.r_[np.ones(len(case.y)), np.zeros(5)]
    model = TorchLogisticClassifier(tol=1e-10).fit(X, y, sample_weight=weight)
    assert_same(parameters(model), parameters(fit(case, tol=1e-10)), 1e-8)


def test_integers_as_large_as_they_come():
    """int64 data beyond 2**53 become float64 as NumPy rounds them."""
    case = problems.load("binary")
    X = (case.X * 2**60).astype(np.int64)
    model = TorchLogisticClassifier().fit(X, case.y)
    minimum = minimise(task := Task(X.astype(float), case.y))
    assert suboptimality(task, model.coef_, model.intercept_, minimum) <= 1e-7
