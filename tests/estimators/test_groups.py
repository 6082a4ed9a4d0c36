"""Features that come in by groups: against a slow reference, and at the edges."""

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
from skorch_logreg.penalties import ElasticNet, GroupL2
from skorch_logreg.solvers import LBFGS, Adam, ProximalNewton
from tests import reference
from tests.estimators.data import binary, multi

GROUPS = np.array([0, 1, 0, 2, 1, 0, 3])
FORMS = [np.asarray, sp.csr_array]


def problem(seed, n_classes=2, n=70, p=7):
    """Correlated columns of unlike units, weights, factors (one of them zero)."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) @ (np.eye(p) + 0.4 * rng.normal(size=(p, p)))
    X *= rng.uniform(0.5, 2.0, p)
    score = X[:, :n_classes] + rng.gumbel(size=(n, n_classes))
    y = np.r_[np.arange(n_classes), score.argmax(axis=1)[n_classes:]]
    weight = rng.integers(0, 4, n).astype(float)
    factor = rng.uniform(0.5, 2.0, p)
    factor[rng.integers(p)] = 0.0 if seed % 3 == 0 else 1.0
    return X, y, weight, factor


def value(task, coef, intercept, C, weights):
    return float(reference.value(task, coef, intercept)) + (
        reference.group_penalty(coef, GROUPS, weights) / C
    )


def violation(task, coef, intercept, C, weights):
    """Distance of minus the gradient to the subdifferential, group by group, in longdouble."""
    g, g_intercept = reference.gradient(task, coef, intercept)
    worst = np.abs(g_intercept).max() if task.fit_intercept else 0.0
    for group in np.unique(GROUPS):
        own = (weights > 0) & (group == GROUPS)
        free = (weights == 0) & (group == GROUPS)
        d, part, w = weights[own], g[:, own], coef[:, own]
        norm = np.sqrt(((d * w) ** 2).sum())
        if norm > 0:
            worst = max(worst, np.abs(part + d**2 * w / (C * norm)).max(initial=0))
        else:
            worst = max(worst, np.sqrt(((part / d) ** 2).sum()) - 1 / C)
        worst = max(worst, np.abs(g[:, free]).max(initial=0))
    return float(worst)


@pytest.mark.parametrize("seed", range(20))
def test_against_a_slow_reference(seed):
    n_classes, fit_intercept = 2 + seed % 2, seed % 4 < 3
    X, y, weight, factor = problem(seed, n_classes)
    C = [0.05, 0.2, 2.0][seed % 3]
    weights = reference.group_weights(GROUPS, factor)
    task = reference.Task(X, y, weight, C=np.inf, fit_intercept=fit_intercept)
    best = value(
        task,
        *reference.minimise_first_order(
            task, lambda v, step: reference.group_prox(v, step / C, GROUPS, weights)
        ),
        C,
        weights,
    )
    options = {"penalty": GroupL2(GROUPS), "penalty_factor": factor, "C": C}
    options |= {"fit_intercept": fit_intercept}
    make = FORMS[seed % 2]
    model = TorchLogisticClassifier(**options, tol=1e-7).fit(make(X), y, weight)
    reached = value(task, model.coef_, model.intercept_, C, weights)
    assert abs(reached - best) <= 1e-10 * best
    size = np.abs(X).T @ weight
    assert violation(task, model.coef_, model.intercept_, C, weights) <= 1e-6 * size.max()
    for group in np.unique(GROUPS):  # a group is in, in every class, or out
        own = model.coef_[:, (group == GROUPS) & (weights > 0)]
        assert (own == 0).all() or (own != 0).all()
    if n_classes > 2:
        np.testing.assert_allclose(model.coef_.sum(axis=0), 0, atol=1e-12)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("max_iter", [1, 2, 4])
# fits are ended before they have converged, on purpose
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_gap_is_never_below_the_truth(n_classes, max_iter):
    """Promise 2."""
    X, y, weight, factor = problem(1, n_classes)
    options = {"penalty": GroupL2(GROUPS), "C": 0.5, "penalty_factor": factor}
    best = TorchLogisticClassifier(**options, tol=1e-8).fit(X, y, weight)
    model = TorchLogisticClassifier(**options, tol=0.0, max_iter=max_iter).fit(X, y, weight)
    task = reference.Task(X, y, weight, C=np.inf)
    weights = reference.group_weights(GROUPS, factor)
    least, reached = (value(task, m.coef_, m.intercept_, 0.5, weights) for m in (best, model))
    assert model.duality_gap_ >= (reached - least) / reached * (1 - 1e-6) - 1e-15
    assert best.duality_gap_ <= 1e-14


# fits are ended before they have converged, on purpose
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_gap_by_hand():
    X, y, weight, factor = problem(1)
    options = {"penalty": GroupL2(GROUPS), "C": 0.5, "penalty_factor": factor}
    model = TorchLogisticClassifier(**options, fit_intercept=False, max_iter=2).fit(X, y, weight)
    task = reference.Task(X, y, weight, C=np.inf, fit_intercept=False)
    weights = reference.group_weights(GROUPS, factor)
    dual = -reference.gradient(task, model.coef_, np.zeros(1))[0][0] / weights * 0.5
    norms = [np.sqrt((dual[group == GROUPS] ** 2).sum()) for group in np.unique(GROUPS)]
    shrink = min(1.0, 1 / max(norms))
    bound = reference.dual_value(task, model.coef_, shrink, lambda v: 0.0)
    reached = value(task, model.coef_, np.zeros(1), 0.5, weights)
    assert shrink < 1
    np.testing.assert_allclose(model.duality_gap_, float(1 - bound / reached), rtol=1e-9)


def test_groups_of_one_are_the_lasso():
    X, y = binary()
    lasso = TorchLogisticClassifier(C=0.1, l1_ratio=1, tol=1e-8).fit(X, y)
    model = TorchLogisticClassifier(C=0.1, penalty=GroupL2([3, 1, 4, 9]), tol=1e-8).fit(X, y)
    np.testing.assert_allclose(model.coef_, lasso.coef_, atol=1e-9)
    np.testing.assert_array_equal(model.coef_ == 0, lasso.coef_ == 0)


def test_groups_are_said_in_two_ways():
    X, y = multi()
    one = TorchLogisticClassifier(penalty=GroupL2(np.array([7, -1, 7, -1])), C=0.1).fit(X, y)
    other = TorchLogisticClassifier(penalty=GroupL2([[1, 3], [0, 2]]), C=0.1).fit(X, y)
    np.testing.assert_allclose(one.coef_, other.coef_, atol=1e-12)


def test_a_factor_of_a_group_is_a_scaling_of_its_columns():
    X, y, weight, _ = problem(4)
    factor = np.array([3.0, 0.5, 2.0, 1.0])[GROUPS]
    options = {"penalty": GroupL2(GROUPS), "C": 0.5, "tol": 1e-8}
    model = TorchLogisticClassifier(**options, penalty_factor=factor).fit(X, y, weight)
    scaled = TorchLogisticClassifier(**options).fit(X / factor, y, weight)
    np.testing.assert_allclose(model.coef_ * factor, scaled.coef_, atol=1e-9)


def test_a_feature_left_out_does_not_count_in_its_group():
    X, y, weight, _ = problem(5, 3)
    factor = np.ones(7)
    factor[[2, 6]] = np.inf
    kept = np.isfinite(factor)
    options = {"C": 0.5, "tol": 1e-8}
    model = TorchLogisticClassifier(**options, penalty=GroupL2(GROUPS), penalty_factor=factor)
    other = TorchLogisticClassifier(**options, penalty=GroupL2(GROUPS[kept]))
    model.fit(X, y, weight)
    assert (model.coef_[:, ~kept] == 0).all()
    np.testing.assert_allclose(
        model.coef_[:, kept], other.fit(X[:, kept], y, weight).coef_, atol=1e-9
    )


@pytest.mark.parametrize("n_classes", [2, 3])
def test_order_weights_and_sparsity_do_not_matter(n_classes):
    """Promises 4, 5 and 7."""
    X, y, weight, factor = problem(8, n_classes)
    options = {"C": 0.3, "tol": 1e-8}

    def fit(X, y, weight, order=slice(None)):
        penalty = GroupL2(GROUPS[order])
        model = TorchLogisticClassifier(penalty=penalty, penalty_factor=factor[order], **options)
        return model.fit(X, y, weight)

    model = fit(X, y, weight)
    order = np.random.default_rng(0).permutation(7)
    np.testing.assert_allclose(
        fit(X[:, order], y, weight, order).coef_, model.coef_[:, order], atol=1e-8
    )
    rows = np.repeat(np.arange(len(y)), weight.astype(int))
    np.testing.assert_allclose(fit(X[rows], y[rows], None).coef_, model.coef_, atol=1e-8)
    np.testing.assert_allclose(fit(sp.csr_array(X), y, weight).coef_, model.coef_, atol=1e-8)


def test_many_columns_and_few_groups():
    """A working set of groups: p far above n, and the gap says that it is the minimum."""
    rng = np.random.default_rng(0)
    X, groups = rng.normal(size=(80, 1200)), np.arange(1200) // 6
    y = (X[:, :6].sum(axis=1) + rng.logistic(size=80) > 0).astype(int)
    model = TorchLogisticClassifier(penalty=GroupL2(groups), C=0.15, tol=1e-7).fit(X, y)
    assert model.duality_gap_ <= 1e-13
    chosen = np.unique(groups[model.coef_[0] != 0])
    assert 0 in chosen
    assert len(chosen) < 40
    # the gap, once more and by hand
    residual = y - model.predict_proba(X)[:, 1]
    norms = np.sqrt(np.add.reduceat((X.T @ residual) ** 2, np.arange(0, 1200, 6)))
    assert norms.max() <= np.sqrt(6) / 0.15 * (1 + 1e-6)
    assert (norms[chosen] >= np.sqrt(6) / 0.15 * (1 - 1e-6)).all()


def test_no_penalty_at_all():
    X, y = binary()
    model = TorchLogisticClassifier(penalty=GroupL2([0, 0, 1, 1]), C=np.inf, tol=1e-9).fit(X, y)
    plain = TorchLogisticClassifier(C=np.inf, tol=1e-9).fit(X, y)
    np.testing.assert_allclose(model.coef_, plain.coef_, rtol=1e-9)


def test_it_is_a_parameter_like_others():
    X, y = binary()
    model = TorchLogisticClassifier(penalty=GroupL2(np.array([0, 0, 1, 1])), C=0.05)
    first = clone(model).fit(X, y)
    again = pickle.loads(pickle.dumps(first))
    np.testing.assert_array_equal(again.coef_, first.coef_)
    np.testing.assert_array_equal(clone(again).fit(X, y).coef_, first.coef_)
    assert "GroupL2(groups=array([0, 0, 1, 1]))" in repr(model)
    np.testing.assert_allclose(
        first.set_params(warm_start=True).fit(X, y).coef_, again.coef_, atol=1e-6
    )
    model = TorchLogisticClassifier(penalty=GroupL2([0, 0, 1, 1]), solver=ProximalNewton())
    assert model.fit(X, y).converged_


def test_searches_and_labels_take_it():
    X, y = binary()
    grid = {"C": [0.03, 0.3], "penalty": [GroupL2([0, 0, 1, 1]), GroupL2([0, 1, 0, 1])]}
    plain = GridSearchCV(TorchLogisticClassifier(), grid, cv=3, scoring="neg_log_loss").fit(X, y)
    ours = BatchedGridSearchCV(TorchLogisticClassifier(), grid, cv=3, scoring="neg_log_loss")
    ours.fit(X, y)
    assert ours.batched_.all()
    np.testing.assert_allclose(
        ours.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"], atol=1e-6
    )
    Y = np.c_[y, X[:, 2] > 0.3]
    model = TorchLogisticClassifier(penalty=GroupL2([0, 0, 1, 1]), C=0.1, tol=1e-8)
    labels = MultiLabel(model).fit(X, Y)
    for own, label in zip(labels.coef_, Y.T, strict=True):
        np.testing.assert_allclose(own, clone(model).fit(X, label).coef_[0], atol=1e-8)


def test_mini_batches_follow_a_subgradient():
    X, y = binary()
    exact = TorchLogisticClassifier(penalty=GroupL2([0, 0, 1, 1]), C=0.1, tol=1e-8).fit(X, y)
    adam = Adam(learning_rate=0.05, epochs=5, batch_size=32, finish="exact")
    model = TorchLogisticClassifier(
        penalty=GroupL2([0, 0, 1, 1]), C=0.1, tol=1e-8, solver=adam
    ).fit(X, y)
    assert model.converged_
    np.testing.assert_allclose(model.coef_, exact.coef_, atol=1e-8)
    model = TorchLogisticClassifier(penalty=GroupL2([0, 0, 1, 1]), C=0.1)
    assert np.isfinite(model.partial_fit(X, y, classes=[0, 1]).coef_).all()


@pytest.mark.parametrize(
    ("groups", "text"),
    [
        ([0, 1, 2], r"groups has shape \(3,\), expected \(n_features,\) = \(4,\)\."),
        (np.zeros((4, 1), int), r"groups has shape \(4, 1\)"),
        ([0.0, 1.0, 1.0, 2.0], "groups must be integers"),
        (["a", "b", "c", "d"], "groups must be integers"),
        (None, "groups must be integers"),
        ([[0, 1], [2]], r"Feature 3 is in none of the groups \(1 of 4 are not\)"),
        ([[0, 1], [1, 2, 3]], r"Feature 1 is in groups\[0\] and in groups\[1\]"),
        ([[0, 1], [2, 4]], r"groups\[1\] holds feature 4, but X has 4 features, 0 to 3\."),
        ([[0, 1], [2, -1]], r"groups\[1\] holds feature -1"),
        ([[0, 1], [2, 3], []], r"groups\[2\] is \[\]; expected a list"),
        ([[0, 1], [2.0, 3]], r"groups\[1\] is \[2\.0, 3\]"),
    ],
)
def test_groups_that_do_not_fit(groups, text):
    with pytest.raises(ParameterError, match=text):
        TorchLogisticClassifier(penalty=GroupL2(groups)).fit(*binary())


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"l1_ratio": 0.5}, r"l1_ratio=0\.5 mixes ridge and lasso, but penalty=GroupL2"),
        ({"solver": "lbfgs"}, "solver='lbfgs' cannot do with penalty=GroupL2.*solver='auto'"),
        ({"solver": "liblinear"}, "solver='liblinear' cannot do with"),
        ({"solver": LBFGS()}, "LBFGS needs a smooth penalty"),
        ({"bounds": (0, None)}, "bounds go with ridge, lasso and elastic net"),
        ({"penalty": ElasticNet(0.5)}, "The 'penalty' parameter of TorchLogisticClassifier must"),
        ({"penalty": GroupL2}, "penalty=GroupL2 is a class; expected an instance"),
        ({"dual": True}, "supports only dual=False"),
    ],
    ids=str,
)
def test_what_it_does_not_go_with(parameters, text):
    model = TorchLogisticClassifier(**{"penalty": GroupL2([0, 0, 1, 1])} | parameters)
    with pytest.raises(ValueError, match=text):
        model.fit(*binary())


def test_cross_validation_chooses_its_strength():
    X, y = binary()
    penalty, options = GroupL2([0, 0, 1, 1]), {"scoring": "neg_log_loss", "cv": 3}
    cv = TorchLogisticClassifierCV(
        penalty=penalty, Cs=[0.03, 0.3], l1_ratios=(0,), use_legacy_attributes=False, tol=1e-7,
        **options,
    ).fit(X, y)  # fmt: skip
    search = GridSearchCV(
        TorchLogisticClassifier(penalty=penalty, tol=1e-7), {"C": [0.03, 0.3]}, **options
    ).fit(X, y)
    assert search.best_params_["C"] == cv.C_
    np.testing.assert_allclose(cv.coef_, search.best_estimator_.coef_, atol=1e-7)
    np.testing.assert_allclose(
        cv.scores_.mean(axis=(0, 1)), search.cv_results_["mean_test_score"], atol=1e-8
    )
    Y = np.c_[y, X[:, 2] > 0.3]
    labels = MultiLabel(cv).fit(X, Y)
    np.testing.assert_allclose(labels.coef_[0], cv.coef_[0], atol=1e-7)
    with pytest.raises(ParameterError, match=r"l1_ratios=\(0.5,\) mix ridge and lasso"):
        cv.set_params(l1_ratios=(0.5,)).fit(X, y)
    with pytest.raises(ParameterError, match="solver='lbfgs' cannot do with"):
        cv.set_params(l1_ratios=(0,), solver="lbfgs").fit(X, y)
