"""A ridge towards known coefficients."""

import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from skorch_logreg import (
    BatchedGridSearchCV,
    MultiLabel,
    TorchLogisticClassifier,
    TorchLogisticClassifierCV,
    bootstrap,
    summary,
)
from skorch_logreg.data import ArrayChunks
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.penalties import L2
from skorch_logreg.solvers import Adam

CONTAINERS = {
    "dense": np.asarray,
    "csr": sp.csr_array,
    "frame": pd.DataFrame,
    "chunks": lambda X: ArrayChunks(X, rows=50),
    "tensor": torch.from_numpy,
}


def problem(n_classes):
    """Rows with a distant, a constant and a coarse column, their labels, and a center."""
    rng = np.random.default_rng(n_classes)
    X = rng.normal(size=(150, 5)) * [1.0, 20.0, 0.1, 1.0, 0.0] + [0.0, 5.0, 0.0, 1e3, 3.0]
    y = (X[:, 0] + rng.logistic(size=150) > 0).astype(int)
    if n_classes > 2:
        y += X[:, 1] > 10
    center = rng.normal(size=(1 if n_classes == 2 else n_classes, 5)) * [1, 0.1, 1, 1, 1]
    return X, y, center


def reference(X, y, center, *, C, factor=1.0, fit_intercept=True):
    """Coefficients and intercepts by Newton's method on derivatives of autograd."""
    means = X.mean(axis=0) * fit_intercept
    Z, c, n = torch.from_numpy(X - means), torch.from_numpy(center), len(center)
    weight = torch.as_tensor(factor, dtype=torch.float64)

    def objective(theta):
        theta = theta.view(n, -1)
        logits = Z @ theta[:, :-1].T + theta[:, -1] * fit_intercept
        if n == 1:
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(y), reduction="sum")
        free = 1e-9 * theta[:, -1].square().sum()  # the intercepts' constant
        return loss + (weight * (theta[:, :-1] - c).square()).sum() / (2 * C) + free

    theta = torch.cat([c, torch.zeros(n, 1, dtype=torch.float64)], dim=1).ravel()
    for _ in range(60):
        slope = torch.autograd.functional.jacobian(objective, theta)
        bend = torch.autograd.functional.hessian(objective, theta)
        step, length = torch.linalg.solve(bend, slope), 1.0
        while length > 1e-6 and objective(theta - length * step) > objective(theta):
            length /= 2
        theta = theta - length * step
    found = theta.view(n, -1).numpy()
    coef, intercept = found[:, :-1], found[:, -1] * fit_intercept
    intercept = intercept - coef @ means
    return coef, intercept - (intercept.mean() if n > 1 else 0.0)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_minimises_the_shifted_ridge(n_classes, fit_intercept, container):
    X, y, center = problem(n_classes)
    if not fit_intercept:
        X = X[:, :3]
        center = center[:, :3]
    model = TorchLogisticClassifier(
        penalty=L2(center=center), C=0.05, tol=1e-8, fit_intercept=fit_intercept
    ).fit(CONTAINERS[container](X), y)
    coef, intercept = reference(X, y, center, C=0.05, fit_intercept=fit_intercept)
    assert model.converged_
    assert 0 <= model.duality_gap_ < 1e-8
    np.testing.assert_allclose(model.coef_, coef, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(model.decision_function(X), _logits(X, coef, intercept), atol=1e-5)


def _logits(X, coef, intercept):
    logits = X @ coef.T + intercept
    return logits[:, 0] if len(coef) == 1 else logits


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg", "newton-cholesky", "sag", "saga"])
def test_every_smooth_solver_and_strengths_of_features(solver):
    X, y, center = problem(2)
    factor = [1.0, 0.0, 10.0, 2.0, 1.0]
    model = TorchLogisticClassifier(
        penalty=L2(center=center[0]), C=0.3, tol=1e-8, solver=solver, penalty_factor=factor
    ).fit(X, y)
    coef, _ = reference(X, y, center, C=0.3, factor=factor)
    np.testing.assert_allclose(model.coef_, coef, rtol=1e-6, atol=1e-7)


def test_an_excluded_feature_has_no_coefficient():
    X, y, center = problem(2)
    factor = [1.0, 1.0, np.inf, 1.0, 1.0]
    model = TorchLogisticClassifier(
        penalty=L2(center=center), C=0.3, tol=1e-8, penalty_factor=factor
    ).fit(X, y)
    kept = [0, 1, 3, 4]
    coef, _ = reference(X[:, kept], y, center[:, kept], C=0.3)
    np.testing.assert_allclose(model.coef_[:, kept], coef, rtol=1e-6, atol=1e-7)
    assert model.coef_[0, 2] == 0


def test_its_ends_are_the_center_and_no_penalty():
    X, y, center = problem(3)
    strong = TorchLogisticClassifier(penalty=L2(center=center), C=1e-12).fit(X, y)
    np.testing.assert_allclose(strong.coef_, center, atol=1e-6)
    free = TorchLogisticClassifier(C=np.inf, tol=1e-7).fit(X[:, :3], y)
    weak = TorchLogisticClassifier(penalty=L2(center=center[:, :3]), C=np.inf, tol=1e-7)
    np.testing.assert_allclose(weak.fit(X[:, :3], y).coef_, free.coef_, atol=1e-4)
    none = TorchLogisticClassifier(penalty=L2(), tol=1e-8).fit(X, y)
    plain = TorchLogisticClassifier(tol=1e-8).fit(X, y)
    np.testing.assert_array_equal(none.coef_, plain.coef_)


def test_an_older_model_is_where_no_new_rows_weigh():
    X, y, _ = problem(2)
    old = TorchLogisticClassifier(tol=1e-9).fit(X, y)
    same = TorchLogisticClassifier(penalty=L2(center=old.coef_), C=0.5, tol=1e-9)
    same.fit(X, y, sample_weight=np.full(len(y), 1e-9))
    np.testing.assert_allclose(same.coef_, old.coef_, atol=1e-6)


def test_names_of_features():
    X, y, center = problem(2)
    frame = pd.DataFrame(X, columns=list("abcde"))
    by_name = TorchLogisticClassifier(penalty=L2(center={"d": 2.0, "a": -1.0})).fit(frame, y)
    in_order = TorchLogisticClassifier(penalty=L2(center=[-1.0, 0, 0, 2.0, 0])).fit(X, y)
    np.testing.assert_allclose(by_name.coef_, in_order.coef_, rtol=1e-12)


@pytest.mark.parametrize("index", [None, ["x", "y", "z"]])
def test_columns_of_a_frame_are_features(index):
    X, y, center = problem(3)
    frame = pd.DataFrame(X[:, :3], columns=list("abc"))
    given = pd.DataFrame(center[:, :3], columns=list("abc"), index=index)
    estimator = TorchLogisticClassifier(penalty=L2(center=given[list("cab")]), C=1e-12)
    np.testing.assert_allclose(estimator.fit(frame, y).coef_, center[:, :3], atol=1e-6)
    with pytest.raises(ParameterError, match="X has no names of features"):
        estimator.fit(frame.to_numpy(), y)
    Y = np.eye(3, dtype=int)[y]
    one = MultiLabel(estimator).fit(frame, Y).label_estimator(2)
    np.testing.assert_allclose(one.coef_, center[2:, :3], atol=1e-6)
    np.testing.assert_allclose(one.fit(frame, Y[:, 2]).coef_, center[2:, :3], atol=1e-6)


def test_a_reversed_view():
    X, y, center = problem(2)
    found = TorchLogisticClassifier(penalty=L2(center=center[0, ::-1])).fit(X, y).coef_
    expected = TorchLogisticClassifier(penalty=L2(center=center[0, ::-1].copy())).fit(X, y).coef_
    np.testing.assert_array_equal(found, expected)


def test_searches_labels_and_resamples_fit_it():
    X, y, center = problem(3)
    X, center, folds = X[:, :3], center[:, :3], StratifiedKFold(3)
    model = TorchLogisticClassifier(penalty=L2(center=center), tol=1e-8)
    grid = {"C": [0.01, 1.0], "penalty": [L2(center=center), L2()]}
    batched = BatchedGridSearchCV(model, grid, cv=folds, scoring="neg_log_loss").fit(X, y)
    plain = GridSearchCV(model, grid, cv=folds, scoring="neg_log_loss").fit(X, y)
    assert batched.batched_.all()
    np.testing.assert_allclose(
        batched.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"], atol=1e-7
    )
    cv = TorchLogisticClassifierCV(
        penalty=L2(center=center), Cs=[0.01, 1.0], l1_ratios=(0,), cv=folds, tol=1e-8,
        scoring="neg_log_loss", use_legacy_attributes=False,
    ).fit(X, y)  # fmt: skip
    scores = [plain.cv_results_[f"split{i}_test_score"][::2] for i in range(3)]
    np.testing.assert_allclose(cv.scores_.reshape(3, 2), scores, atol=1e-7)
    Y = np.c_[y > 0, y > 1]
    label = TorchLogisticClassifier(penalty=L2(center=center[0]), tol=1e-8)
    both = MultiLabel(label).fit(X, Y)
    for k in range(2):
        np.testing.assert_allclose(both.coef_[k], label.fit(X, Y[:, k]).coef_[0], atol=1e-7)
    found = bootstrap(label, X, Y[:, 1], n_resamples=20, random_state=0)
    assert np.abs(found.coefs[:, :3].mean(axis=0) - label.coef_[0]).max() < 0.5


@pytest.mark.parametrize("wrap", [np.asarray, pd.DataFrame, sp.csr_array])
def test_a_center_for_each_label(wrap):
    X, y, center = problem(3)
    X, Y, centers = wrap(X), np.c_[y > 0, y > 1].astype(int), center[:2]
    options = {"penalty_factor": [1.0, 2.0, 1.0, 0.0, 1.0], "tol": 1e-9}
    estimator = TorchLogisticClassifier(penalty=L2(center=centers.tolist()), **options)
    both = MultiLabel(estimator, C=[0.01, 0.1]).fit(X, Y)
    for k in range(2):
        ridge = L2(center=centers[k])
        single = TorchLogisticClassifier(penalty=ridge, C=both.C[k], **options).fit(X, Y[:, k])
        np.testing.assert_allclose(both.coef_[k], single.coef_[0], rtol=1e-8, atol=1e-12)
        own = both.label_estimator(k)
        np.testing.assert_array_equal(own.penalty.center, centers[k])
        np.testing.assert_allclose(own.fit(X, Y[:, k]).coef_, single.coef_, rtol=1e-8, atol=1e-12)


def test_refused_centers_of_labels():
    X, y, center = problem(3)
    Y = np.c_[y > 0, y > 1, y > 1].astype(int)
    label = TorchLogisticClassifier(penalty=L2(center=center))
    with pytest.raises(ParameterError, match=r"shape \(3, 5\), expected"):
        MultiLabel(label).fit(X, Y[:, :2])
    with pytest.raises(ParameterError, match=r"shape \(3, 5\), expected"):
        MultiLabel(TorchLogisticClassifierCV(penalty=L2(center=center))).fit(X, Y)
    with pytest.raises(ParameterError, match=r"shape \(3, 5\), expected"):
        MultiLabel(label.set_params(solver=Adam())).partial_fit(X, Y)
    center[2, 1] = np.nan
    with pytest.raises(ParameterError, match="is nan for feature 1"):
        MultiLabel(TorchLogisticClassifier(penalty=L2(center=center))).fit(X, Y)


def test_mini_batches_end_there():
    X, y, center = problem(2)
    X, center = X[:, :3] / [1, 20, 0.1], center[:, :3]
    exact = TorchLogisticClassifier(penalty=L2(center=center), C=0.1, tol=1e-8).fit(X, y)
    solver = Adam(learning_rate=0.05, epochs=200, schedule="cosine")
    trained = TorchLogisticClassifier(
        penalty=L2(center=center), C=0.1, tol=0.05, solver=solver, random_state=0
    ).fit(X, y)
    np.testing.assert_allclose(trained.coef_, exact.coef_, atol=0.05)
    assert trained.converged_


def test_it_is_stored_and_summarised():
    X, y, center = problem(2)
    X, center = X[:, :3], center[:, :3]
    model = TorchLogisticClassifier(penalty=L2(center=center), C=0.5, tol=1e-8).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.penalty.center, center)
    table = summary(model, X, y, covariance="posterior")
    ridge = TorchLogisticClassifier(C=0.5).fit(X, y)
    free = summary(ridge.set_params(C=1e9).fit(X, y), X, y)
    assert (table.to_frame()["std err"] < free.to_frame()["std err"]).all()
    single = TorchLogisticClassifier(penalty=L2(center=100 * center), C=0.5, tol=1e-6)
    single.fit(X.astype(np.float32), y)
    exact = TorchLogisticClassifier(penalty=L2(center=100 * center), C=0.5, tol=1e-9).fit(
        X.astype(np.float32).astype(float), y
    )
    assert single.coef_.dtype == np.float32
    np.testing.assert_allclose(single.coef_, exact.coef_, rtol=1e-4)


@pytest.mark.parametrize(
    ("center", "text"),
    [
        ([1.0, 2.0], r"center of L2 has shape \(2,\), expected \(5,\) or \(1, 5\)\."),
        (np.zeros((2, 5)), r"center of L2 has shape \(2, 5\), expected"),
        (["a"] * 5, "center of L2 must hold numbers"),
        (np.full(5, 1j), "center of L2 must hold numbers: complex data"),
        ([0, 0, np.nan, 0, 0], "center of L2 is nan for feature 2; it must be finite"),
        ({"age": 1.0}, "center names features, but X has no names"),
    ],
)
def test_centers_that_do_not_fit(center, text):
    X, y, _ = problem(2)
    with pytest.raises(ParameterError, match=text):
        TorchLogisticClassifier(penalty=L2(center=center)).fit(X, y)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"solver": "liblinear"}, "solver='liblinear' cannot do with penalty=L2"),
        ({"l1_ratio": 0.5}, "l1_ratio=0.5 mixes ridge and lasso, but penalty=L2"),
        ({"bounds": (0, None)}, "bounds go with ridge, lasso and elastic net"),
        ({"penalty": L2(torch.ones(5))}, "penalty=L2 has a factor or a scale of its own"),
    ],
    ids=str,
)
def test_what_it_does_not_go_with(parameters, text):
    X, y, center = problem(2)
    model = TorchLogisticClassifier(**{"penalty": L2(center=center)} | parameters)
    with pytest.raises(ParameterError, match=text):
        model.fit(X, y)
