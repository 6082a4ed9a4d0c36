"""Promises 1 to 3: same answer, one tolerance, never NaN or inf silently."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import scale

from skorch_logreg import TorchLogisticClassifier
from tests import problems
from tests.promises.models import PENALTIES, assert_same, assert_sound, fit, parameters
from tests.reference import suboptimality, value

SOLVERS = {
    "l2": ["auto", "lbfgs", "newton-cg", "newton-cholesky", "sag", "saga"],
    "none": ["auto", "lbfgs", "newton-cg", "newton-cholesky", "sag", "saga"],
    "l1": ["auto", "saga"],
    "elastic net": ["auto", "saga"],
}
SMALL = [name for name in problems.ORDINARY if name != "ten_classes"]
CASES = [
    (name, penalty, solver)
    for name in problems.ORDINARY
    for penalty in PENALTIES
    for solver in SOLVERS[penalty]
    # ten is even, so that L1 leaves a column's common shift open
    if name != "ten_classes" or (solver == "auto" and penalty in ("l2", "none"))
]


def column_scale(task):
    """Size of each parameter's effect: deviations, and 1 for the intercept."""
    return np.append(task.dense.std(axis=0), 1.0).astype(np.float64)


@pytest.mark.parametrize("fit_intercept", [True, False], ids=["intercept", "no intercept"])
@pytest.mark.parametrize(("name", "penalty", "solver"), CASES)
def test_1_the_minimum_at_defaults_and_at_tight_tolerance(name, penalty, solver, fit_intercept):
    """Objective to 1e-6 at default settings, coefficients to 1e-5 at tol=1e-8."""
    case = problems.load(name)
    options = PENALTIES[penalty] | {"fit_intercept": fit_intercept}
    task, minimum = problems.solved(name, **options)
    plain = fit(case, solver=solver, **options)
    assert plain.converged_
    assert -1e-15 <= suboptimality(task, plain.coef_, plain.intercept_, minimum) <= 1e-6
    model = fit(case, solver=solver, tol=1e-8, max_iter=1000, **options)
    best = np.c_[minimum.coef, minimum.intercept].astype(np.float64)
    assert_same(parameters(model), best, 1e-5)
    assert_same(parameters(model) * column_scale(task), best * column_scale(task), 1e-5)
    if not fit_intercept:
        np.testing.assert_array_equal(model.intercept_, np.zeros(task.n_outputs))


@pytest.mark.parametrize("C", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 3.0}])
@pytest.mark.parametrize("name", ["binary", "three_classes", "weighted", "sparse_three_classes"])
def test_1_scikit_learns_own_fit_agrees(name, class_weight, C):
    """Against LogisticRegression itself, whose rounding limits the comparison to 1e-6."""
    case = problems.load(name)
    options = {"C": C, "class_weight": class_weight, "tol": 1e-8, "max_iter": 1000}
    model = fit(case, **options)
    options |= {"solver": "newton-cholesky", "tol": 1e-12}
    theirs = LogisticRegression(**options).fit(case.X, case.y, sample_weight=case.sample_weight)
    assert_same(parameters(model), parameters(theirs), 1e-6)
    assert_same(model.predict_proba(case.X), theirs.predict_proba(case.X), 1e-6)
    assert model.score(case.X, case.y) == theirs.score(case.X, case.y)


@pytest.mark.parametrize("penalty", ["l2", "l1", "elastic net"])
@pytest.mark.parametrize("name", ["binary", "three_classes", "sparse_binary", "weighted"])
def test_1_strength_of_each_feature(name, penalty):
    """`penalty_factor` multiplies a feature's own penalty."""
    case = problems.load(name)
    factor = np.linspace(0.2, 5, case.X.shape[1])
    options = PENALTIES[penalty] | {"penalty_factor": factor}
    task, minimum = problems.solved(name, **options)
    model = fit(case, tol=1e-8, max_iter=1000, **options)
    assert_same(parameters(model), np.c_[minimum.coef, minimum.intercept], 1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("name", ["binary", "three_classes", "sparse_binary"])
def test_1_float32_data(name, penalty, dtype):
    """float32 data lose no more than their own rounding: 1e-6 of the objective."""
    case = problems.load(name)
    X = case.X.astype(dtype)
    model = TorchLogisticClassifier(**PENALTIES[penalty]).fit(X, case.y)
    assert model.coef_.dtype == model.intercept_.dtype == dtype
    assert model.predict_proba(X).dtype == model.decision_function(X).dtype == dtype
    task, minimum = problems.solved(name, **PENALTIES[penalty])
    assert -1e-15 <= suboptimality(task, model.coef_, model.intercept_, minimum) <= 1e-6


@pytest.mark.parametrize("name", ["three_classes", "ten_classes", "weighted_three_classes"])
@pytest.mark.parametrize("C", [1e-3, 1.0, 1e3, np.inf])
def test_1_multinomial_parameters_sum_to_zero(name, C):
    """The one parametrisation of softmax that scikit-learn reports."""
    model = fit(problems.load(name), C=C)
    scale = np.abs(parameters(model)).max()
    np.testing.assert_allclose(model.coef_.sum(axis=0), 0, atol=1e-10 * scale)
    np.testing.assert_allclose(model.intercept_.sum(), 0, atol=1e-11 * scale)


# ---------------------------------------------------------------- 2


@pytest.mark.parametrize("tol", [1e-2, 1e-4, 1e-6, 1e-8])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("name", [*SMALL, "constant_and_duplicated", "scales", "heavy_tails"])
def test_2_converged_means_the_tolerance_is_met(name, penalty, tol):
    """`optimality_ <= tol`, and the true suboptimality is at most max(10 tol^2, 1e-13)."""
    case = problems.load(name)
    options = PENALTIES[penalty]
    task, minimum = problems.solved(name, **options)
    model = fit(case, tol=tol, max_iter=1000, **options)
    assert model.converged_
    assert 0 <= model.optimality_ <= tol
    excess = suboptimality(task, model.coef_, model.intercept_, minimum)
    assert -1e-15 <= excess <= max(10 * tol**2, 1e-13)


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg", "newton-cholesky"])
@pytest.mark.parametrize("C", [1e-3, 1.0, 1e3])
def test_2_lognormal_features(C, solver):
    """Where steps move logits far, a quadratic model predicts too small a decrease."""
    data = load_breast_cancer()
    X, y = np.exp(1.5 * scale(data.data)), data.target

    def objective(tol):
        model = TorchLogisticClassifier(C=C, tol=tol, solver=solver, max_iter=1000).fit(X, y)
        margin = np.where(y == 1, 1, -1) * model.decision_function(X)
        return C * np.logaddexp(0, -margin).sum() + (model.coef_**2).sum() / 2

    best = objective(1e-6)
    for tol in (1e-1, 1e-2, 1e-3):
        assert objective(tol) - best <= 10 * tol**2 * best


@pytest.mark.parametrize("max_iter", [0, 1, 2, 3, 5, 1000])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("name", SMALL)
def test_2_the_gap_is_never_below_the_truth(name, penalty, max_iter):
    """`duality_gap_` bounds the relative suboptimality wherever the fit stops."""
    case = problems.load(name)
    options = PENALTIES[penalty]
    task, minimum = problems.solved(name, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = fit(case, max_iter=max_iter, **options)
    if penalty == "none":
        assert np.isnan(model.duality_gap_)
        return
    f = value(task, model.coef_, model.intercept_)
    gap = float((f - minimum.value) / f)
    assert model.duality_gap_ >= gap - 1e-14
    assert not model.converged_ or model.optimality_ <= model.tol


@pytest.mark.parametrize("name", ["binary", "three_classes", "weighted"])
def test_2_the_gap_is_tight_where_the_penalty_is_all_there_is(name):
    """At C = 1e-6 the objective is a parabola, and the bound of L2 exact but for 1e-3."""
    case = problems.load(name)
    task, minimum = problems.solved(name, C=1e-6)
    with pytest.warns(ConvergenceWarning):
        model = fit(case, C=1e-6, max_iter=0, tol=1e-12)
    f = value(task, model.coef_, model.intercept_)
    gap = float((f - minimum.value) / f)
    assert gap <= model.duality_gap_ <= 1.001 * gap + 1e-15


@pytest.mark.parametrize("penalty", ["l2", "l1", "elastic net"])
def test_2_the_gap_closes(penalty):
    """A bound that is always infinite would keep the promise above and be worth nothing."""
    for name in SMALL:
        model = fit(problems.load(name), tol=1e-8, max_iter=1000, **PENALTIES[penalty])
        assert 0 <= model.duality_gap_ <= 1e-9, name


def test_2_no_gap_where_a_feature_is_free():
    """A strength of zero leaves no finite bound."""
    model = fit(problems.load("binary"), penalty_factor=np.array([1, 1, 0, 1, 1, 1.0]))
    assert np.isnan(model.duality_gap_)


def test_2_fit_attributes_have_plain_types():
    model = fit(problems.load("binary"))
    assert model.converged_ is True
    assert type(model.optimality_) is float
    assert type(model.duality_gap_) is float
    assert type(model.n_passes_) is int
    assert model.n_iter_.shape == (1,)
    assert model.n_iter_.dtype == np.int32
    assert model.n_passes_ >= model.n_iter_[0] >= 1


# ---------------------------------------------------------------- 3


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("name", [*problems.ORDINARY, *problems.UGLY])
def test_3_finite_or_one_warning(name, penalty):
    """No NaN anywhere, whatever the data; what has no minimum says so once."""
    case = problems.load(name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = fit(case, **PENALTIES[penalty])
    assert len(caught) <= 1
    assert all(issubclass(w.category, ConvergenceWarning) for w in caught)
    assert bool(caught) != model.converged_
    assert_sound(model, case.X)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_3_probabilities_of_rows_far_away(dtype):
    """Logits from -1e30 to 1e30: probabilities proper, logarithms finite."""
    case = problems.load("binary")
    far = np.logspace(0, 30, 31)[:, None] * np.sign(np.arange(-2.5, 3.5))
    far = np.r_[far, -far].astype(dtype)
    for name in ("binary", "three_classes"):
        case = problems.load(name)
        model = TorchLogisticClassifier().fit(case.X.astype(dtype), case.y)
        assert_sound(model, far[:, : case.X.shape[1]])


def test_3_a_class_without_weight_keeps_its_place():
    """All its rows weigh nothing: no finite minimum, but no nonsense."""
    case = problems.load("three_classes")
    weight = (case.y != 1) * 1.0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = TorchLogisticClassifier().fit(case.X, case.y, sample_weight=weight)
    assert len(caught) <= 1
    assert_sound(model, case.X)
    assert list(model.classes_) == [0, 1, 2]
    two = TorchLogisticClassifier().fit(case.X[weight > 0], case.y[weight > 0])
    assert (model.predict(case.X) == two.predict(case.X)).mean() > 0.98


def test_3_empty_sparse_matrix():
    """No entries at all: the intercept is all there is."""
    y = np.repeat([0, 1], [30, 10])
    model = TorchLogisticClassifier(tol=1e-8).fit(sp.csr_array((40, 3)), y)
    np.testing.assert_array_equal(model.coef_, np.zeros((1, 3)))
    np.testing.assert_allclose(model.intercept_, [np.log(10 / 30)], rtol=1e-8)
