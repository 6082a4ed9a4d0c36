"""The sparse group lasso, against accelerated proximal steps in NumPy, and wherever a fit is."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skorch_logreg import (
    BatchedGridSearchCV,
    MultiLabel,
    ParameterError,
    TorchLogisticClassifier,
    TorchLogisticClassifierCV,
)
from skorch_logreg.penalties import GroupL2, SparseGroupLasso
from tests import reference
from tests.estimators.data import binary, multi

GROUPS = np.array([0, 1, 0, 2, 1, 0, 3, 2])


def problem(seed, n_classes, n=80, p=8):
    """Correlated columns of different scales, a third of the entries zero; weights and factors."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) @ (np.eye(p) + 0.3 * rng.normal(size=(p, p)))
    X *= rng.uniform(0.5, 2.0, p)
    X[rng.random((n, p)) < 0.3] = 0.0
    score = X[:, :n_classes] + rng.gumbel(size=(n, n_classes))
    y = np.r_[np.arange(n_classes), score.argmax(axis=1)[n_classes:]]
    factor = rng.uniform(0.5, 2.0, p)
    if seed % 3 == 0:
        factor[2] = 0.0
    return X, y, rng.integers(0, 4, n).astype(float), factor


def soft(v, bound):
    return np.sign(v) * np.maximum(np.abs(v) - bound, 0)


def objective(task, coef, intercept, C, ratio, factor):
    """Loss and penalty, from their definitions."""
    weights = reference.group_weights(GROUPS, factor)
    penalty = ratio * (factor * np.abs(coef)).sum()
    penalty += (1 - ratio) * reference.group_penalty(coef, GROUPS, weights)
    return float(reference.value(task, coef, intercept)) + penalty / C


def first_order(task, C, ratio, factor):
    """Least objective that accelerated proximal gradient steps reach."""
    weights = (1 - ratio) * reference.group_weights(GROUPS, factor)

    def prox(v, step):
        return reference.group_prox(soft(v, step / C * ratio * factor), step / C, GROUPS, weights)

    return objective(task, *reference.minimise_first_order(task, prox), C, ratio, factor)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("make", [np.asarray, sp.csr_array])
def test_is_the_minimum_of_first_order_steps(seed, make):
    n_classes, ratio, C = 2 + seed % 2, [0.2, 0.5, 0.9][seed % 3], [0.1, 0.5, 2.0, 0.3][seed % 4]
    X, y, weight, factor = problem(seed, n_classes)
    model = TorchLogisticClassifier(
        penalty=SparseGroupLasso(GROUPS, l1_ratio=ratio), penalty_factor=factor, C=C, tol=1e-7,
        fit_intercept=seed % 4 < 3,
    ).fit(make(X), y, weight)  # fmt: skip
    task = reference.Task(X, y, weight, C=np.inf, fit_intercept=seed % 4 < 3)
    best = first_order(task, C, ratio, factor)
    reached = objective(task, model.coef_, model.intercept_, C, ratio, factor)
    assert model.converged_
    assert model.optimality_ <= 1e-7
    assert reached - best <= 1e-12 * best
    if not (factor == 0).any():  # by weak duality
        assert reached - best <= (model.duality_gap_ + 1e-14) * best


def test_selects_groups_and_features_within_them():
    X, y, weight, factor = problem(1, 3)
    model = TorchLogisticClassifier(penalty=SparseGroupLasso(GROUPS), C=0.05).fit(X, y, weight)
    groups = [model.coef_[:, group == GROUPS] for group in range(4)]
    assert any((group == 0).all() for group in groups)
    assert any((group == 0).any() and (group != 0).any() for group in groups)


# fits are ended before they have converged, on purpose
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("max_iter", [1, 2])
def test_the_gap_by_hand(max_iter):
    """The residuals, scaled until the thresholded norm of every group is at most one."""
    X, y, weight, factor = problem(1, 2)
    C, ratio = 0.5, 0.4
    model = TorchLogisticClassifier(
        penalty=SparseGroupLasso(GROUPS, ratio), penalty_factor=factor, C=C, fit_intercept=False,
        max_iter=max_iter, tol=0.0,
    ).fit(X, y, weight)  # fmt: skip
    task = reference.Task(X, y, weight, C=np.inf, fit_intercept=False)
    dual = -C * reference.gradient(task, model.coef_, np.zeros(1))[0][0].astype(float)
    weights = (1 - ratio) * reference.group_weights(GROUPS, factor)

    def is_inside(share):
        squares = (soft(share * dual, ratio * factor) / weights) ** 2
        return all(squares[group == GROUPS].sum() <= 1 for group in range(4))

    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if is_inside(middle) else (low, middle)
    bound = reference.dual_value(task, model.coef_, low, lambda v: 0.0)
    reached = objective(task, model.coef_, np.zeros(1), C, ratio, factor)
    assert low < 1
    np.testing.assert_allclose(model.duality_gap_, float(1 - bound / reached), rtol=1e-9)


@pytest.mark.parametrize("data", [binary, multi], ids=["binary", "multinomial"])
def test_ends_are_the_group_lasso_and_the_lasso(data):
    X, y = data()
    groups, options = [0, 0, 1, 1], {"C": 0.1, "tol": 1e-8}
    fits = [
        (SparseGroupLasso(groups, 0.0), {"penalty": GroupL2(groups)}),
        (SparseGroupLasso(groups, 1.0), {"l1_ratio": 1.0}),
    ]
    for penalty, other in fits:
        found = TorchLogisticClassifier(penalty=penalty, **options).fit(X, y)
        expected = TorchLogisticClassifier(**other, **options).fit(X, y)
        np.testing.assert_allclose(found.coef_, expected.coef_, atol=1e-8)


def test_excluded_features_do_not_count_in_their_groups():
    X, y, weight, factor = problem(5, 3)
    factor[[2, 6]] = np.inf
    kept = np.isfinite(factor)
    options = {"C": 0.5, "tol": 1e-8}
    model = TorchLogisticClassifier(penalty=SparseGroupLasso(GROUPS), penalty_factor=factor)
    other = TorchLogisticClassifier(penalty=SparseGroupLasso(GROUPS[kept]), **options)
    model.set_params(**options).fit(X, y, weight)
    other.set_params(penalty_factor=factor[kept]).fit(X[:, kept], y, weight)
    assert (model.coef_[:, ~kept] == 0).all()
    np.testing.assert_allclose(model.coef_[:, kept], other.coef_, atol=1e-8)


@pytest.mark.parametrize("data", [binary, multi], ids=["binary", "multinomial"])
def test_cross_validation_searches_and_labels_take_it(data):
    X, y = data()
    penalty = SparseGroupLasso([0, 0, 1, 1], 0.3)
    model = TorchLogisticClassifier(penalty=penalty, tol=1e-7)
    options = {"scoring": "neg_log_loss", "cv": 3}
    grid = {"C": [0.03, 0.3], "penalty": [penalty, SparseGroupLasso([0, 1, 0, 1], 0.8)]}
    plain = GridSearchCV(model, grid, **options).fit(X, y)
    batched = BatchedGridSearchCV(model, grid, **options).fit(sp.csr_array(X), y)
    assert batched.batched_.all()
    np.testing.assert_allclose(
        batched.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"], atol=1e-8
    )
    cv = TorchLogisticClassifierCV(
        penalty=penalty, Cs=[0.03, 0.3], l1_ratios=(0,), use_legacy_attributes=False, tol=1e-7,
        **options,
    ).fit(X, y)  # fmt: skip
    np.testing.assert_allclose(
        cv.scores_.mean(axis=(0, 1)), plain.cv_results_["mean_test_score"][[0, 2]], atol=1e-8
    )
    if data is binary:
        Y = np.c_[y, X[:, 2] > 0.3]
        labels = MultiLabel(model.set_params(C=0.1)).fit(X, Y)
        for own, label in zip(labels.coef_, Y.T, strict=True):
            np.testing.assert_allclose(own, clone(model).fit(X, label).coef_[0], atol=1e-7)


def test_is_a_parameter_like_others():
    X, y = binary()
    model = TorchLogisticClassifier(penalty=SparseGroupLasso(np.array([0, 0, 1, 1])), C=0.05)
    first = clone(model).fit(X, y)
    again = pickle.loads(pickle.dumps(first))
    np.testing.assert_array_equal(clone(again).fit(X, y).coef_, first.coef_)
    assert "SparseGroupLasso(groups=array([0, 0, 1, 1]), l1_ratio=0.5)" == repr(model.penalty)
    with pytest.raises(ParameterError, match=r"l1_ratio=0\.5 mixes ridge and lasso, but penalty="):
        model.set_params(l1_ratio=0.5).fit(X, y)
    with pytest.raises(ParameterError, match=r"l1_ratio must be in \[0, 1\], got 1\.5\."):
        SparseGroupLasso([0, 1], 1.5)
    with pytest.raises(ParameterError, match=r"Feature 3 is in none of the groups"):
        TorchLogisticClassifier(penalty=SparseGroupLasso([[0, 1], [2]])).fit(X, y)
