"""Soft and smoothed labels are rows of every class with weights, to 1e-8 (promise 4)."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skorch_logreg import (
    BatchedGridSearchCV,
    MultiLabel,
    TorchLogisticClassifier,
    TorchLogisticClassifierCV,
)
from skorch_logreg.exceptions import ConstantLabelWarning, ParameterError
from tests.estimators.data import assert_same_state, binary, multi, state

TIGHT = {"tol": 1e-10, "max_iter": 1000}
CLASS_WEIGHTS = [None, "balanced", {0: 0.3, 1: 2.0}]


def rows(K, n=150, p=4, seed=0):
    """X, shares (n, K), a third of them of one class alone, and weights, one of them 0."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * np.logspace(-1, 1, p) + np.linspace(0, 3, p)
    q = rng.dirichlet(np.full(K, 0.5), n)
    q[::3] = np.eye(K)[rng.integers(0, K, len(q[::3]))]
    s = rng.uniform(0.2, 2.0, n)
    s[5] = 0.0
    return X, q, s


def repeated(X, share, s, classes=None):
    """A row of every class, of weight ``s * share``; those of no weight are left out."""
    K = share.shape[1]
    w = (s[:, None] * share).T.ravel()
    X = sp.vstack([X] * K, format="csr") if sp.issparse(X) else np.tile(X, (K, 1))
    y = np.repeat(np.arange(K) if classes is None else classes, len(share))
    return X[w > 0], y[w > 0], w[w > 0]


def smoothed(share, e):
    return (1 - e) * share + e / share.shape[1]


def assert_same_model(a, b, tol=1e-8):
    for name in ("coef_", "intercept_"):
        got, expected = np.asarray(getattr(a, name)), np.asarray(getattr(b, name))
        size = max(np.abs(expected).max(), 1e-300)
        np.testing.assert_allclose(got, expected, rtol=0, atol=tol * size, err_msg=name)


@pytest.mark.parametrize("K", [2, 3])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("class_weight", CLASS_WEIGHTS, ids=str)
def test_soft_labels_are_weighted_rows(K, smoothing, class_weight):
    """By scikit-learn, and by our own estimator; class weights meet each of the rows."""
    X, q, s = rows(K)
    shared = {"C": 2.0, "class_weight": class_weight}
    soft = TorchLogisticClassifier(
        soft_labels=True, label_smoothing=smoothing, **shared, **TIGHT
    ).fit(X, q, s)
    many = repeated(X, smoothed(q, smoothing), s)
    judge = LogisticRegression(solver="newton-cholesky", tol=1e-13, max_iter=1000, **shared)
    assert_same_model(soft, judge.fit(*many))
    assert_same_model(soft, TorchLogisticClassifier(**shared, **TIGHT).fit(*many))
    np.testing.assert_array_equal(soft.classes_, np.arange(K))
    assert soft.coef_.shape == (1 if K == 2 else K, X.shape[1])
    if K == 2:
        one = clone(soft).fit(X, q[:, 1], s)
        assert_same_model(one, soft, tol=1e-14)


@pytest.mark.parametrize("data", [binary, multi])
@pytest.mark.parametrize("class_weight", CLASS_WEIGHTS, ids=str)
def test_smoothed_labels_are_weighted_rows(data, class_weight):
    X, y = data()
    K = y.max() + 1
    names = np.array(["a", "b", "c"])[:K]
    if isinstance(class_weight, dict):
        class_weight = {str(names[c]): weight for c, weight in class_weight.items()}
    s = np.random.default_rng(3).uniform(0.2, 2.0, len(y))
    shared = {"class_weight": class_weight}
    ours = TorchLogisticClassifier(label_smoothing=0.1, **shared, **TIGHT).fit(X, names[y], s)
    many = repeated(X, smoothed(np.eye(K)[y], 0.1), s, names)
    judge = LogisticRegression(solver="newton-cholesky", tol=1e-13, max_iter=1000, **shared)
    assert_same_model(ours, judge.fit(*many))
    assert ours.classes_.tolist() == names.tolist()
    plain = TorchLogisticClassifier(**shared, **TIGHT)
    assert_same_model(ours, plain.fit(*many))
    assert not np.allclose(ours.coef_, clone(plain).fit(X, names[y], s).coef_, rtol=1e-2)
    zero = clone(ours).set_params(label_smoothing=0.0).fit(X, names[y], s)
    assert_same_state(state(zero), state(clone(plain).fit(X, names[y], s)))


SETTINGS = {
    "newton-cg": {"solver": "newton-cg"},
    "newton-cholesky": {"solver": "newton-cholesky"},
    "lbfgs": {"solver": "lbfgs"},
    "liblinear": {"solver": "liblinear", "intercept_scaling": 2.0},
    "liblinear-l1": {"solver": "liblinear", "l1_ratio": 1.0},
    "lasso": {"l1_ratio": 1.0, "C": 0.3},
    "elastic-net": {"l1_ratio": 0.5, "C": 0.3},
    "no-penalty": {"C": np.inf},
    "no-intercept": {"fit_intercept": False},
    "penalty-factor": {"penalty_factor": [0.0, 1.0, 3.0, 0.5]},
    "warm": {"warm_start": True},
}


@pytest.mark.parametrize("K", [2, 3])
@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_under_every_penalty_and_solver(K, name, sparse):
    if K == 3 and name.startswith("liblinear"):
        pytest.skip("two classes only")
    X, q, s = rows(K, seed=1)
    X = sp.csr_array(np.where(X > 0.5, X, 0.0)) if sparse else X
    model = TorchLogisticClassifier(**SETTINGS[name] | TIGHT).set_params(tol=1e-9)
    soft = clone(model).set_params(soft_labels=True).fit(X, q, s)
    hard = model.fit(*repeated(X, q, s))
    assert soft.converged_
    assert_same_model(soft, hard)
    np.testing.assert_allclose(soft.predict_proba(X), hard.predict_proba(X), atol=1e-7)
    if name in ("no-penalty", "penalty-factor"):  # a column without penalty has no bound
        assert np.isnan(soft.duality_gap_)
    else:
        assert 0 <= soft.duality_gap_ < 1e-12
    if name == "warm":
        soft.fit(X, q, s)
        assert soft.n_iter_.tolist() == [0]


@pytest.mark.parametrize("K", [2, 3])
def test_wide_rows(K):
    """p >> n starts in the space of the rows."""
    X, q, s = rows(K, n=40, p=600)
    soft = TorchLogisticClassifier(soft_labels=True, C=0.1, **TIGHT).fit(X, q, s)
    assert_same_model(soft, TorchLogisticClassifier(C=0.1, **TIGHT).fit(*repeated(X, q, s)))


@pytest.mark.parametrize("K", [2, 9])
def test_many_rows(K):
    """Starts on a sample, and rough products, whose targets are float32."""
    X, q, s = rows(K, n=30_000)
    soft = TorchLogisticClassifier(soft_labels=True, **TIGHT).fit(X, q, s)
    assert_same_model(soft, TorchLogisticClassifier(**TIGHT).fit(*repeated(X, q, s)))


@pytest.mark.parametrize("K", [2, 3])
def test_float32(K):
    X, q, s = rows(K)
    X = X.astype(np.float32)
    soft = TorchLogisticClassifier(soft_labels=True, tol=1e-7).fit(X, q.astype(np.float32), s)
    assert soft.coef_.dtype == np.float32
    expected = TorchLogisticClassifier(**TIGHT).fit(*repeated(X, q, s))
    assert_same_model(soft, expected, tol=1e-5)


def test_a_soft_row_is_on_both_sides_of_any_plane():
    """Without a penalty there is a minimum where the hard classes have none."""
    X = np.linspace(-2, 2, 20)[:, None]
    hard = TorchLogisticClassifier(C=np.inf)
    with pytest.warns(Warning, match="separa"):
        hard.fit(X, (X[:, 0] > 0).astype(int))
    smooth = TorchLogisticClassifier(C=np.inf, label_smoothing=0.1, **TIGHT)
    smooth.fit(X, (X[:, 0] > 0).astype(int))
    assert smooth.converged_
    own = 1 / (1 + np.exp(-(2.0 * X[:, 0])))
    soft = TorchLogisticClassifier(C=np.inf, soft_labels=True, **TIGHT).fit(X, own)
    assert soft.coef_[0, 0] == pytest.approx(2.0, rel=1e-8)
    assert soft.intercept_[0] == pytest.approx(0.0, abs=1e-8)


def test_probabilities_are_read_from_what_callers_have():
    pd = pytest.importorskip("pandas")
    X, q, s = rows(3)
    model = TorchLogisticClassifier(soft_labels=True, **TIGHT)
    expected = clone(model).fit(X, q, s)
    before = q.copy()
    q.setflags(write=False)
    for y in (q, np.asfortranarray(q), q.tolist(), pd.DataFrame(q), q.astype(object)):
        assert_same_model(clone(model).fit(X, y, s), expected, tol=1e-12)
    np.testing.assert_array_equal(q, before)
    rounded = clone(model).fit(X, q * (1 - 4e-7), s)
    assert_same_model(rounded, expected, tol=1e-8)
    whole = np.eye(3)[q.argmax(axis=1)]
    plain = TorchLogisticClassifier(**TIGHT).fit(X, q.argmax(axis=1), s)
    for y in (whole, whole.astype(int), whole.astype(bool)):
        assert_same_model(clone(model).fit(X, y, s), plain)


def test_tensors_stay_tensors():
    from sklearn import config_context

    X, q, _ = rows(3)
    expected = TorchLogisticClassifier(soft_labels=True, label_smoothing=0.1, **TIGHT).fit(X, q)
    with config_context(array_api_dispatch=True):
        X, q = torch.from_numpy(X), torch.from_numpy(q)
        model = clone(expected).fit(X, q)
        assert model.classes_.tolist() == [0, 1, 2]
        assert isinstance(model.predict(X), torch.Tensor)
    assert_same_model(model, expected, tol=1e-12)


Q = np.array([[0.2, 0.3, 0.5], [0.6, 0.2, 0.2], [0.0, 0.5, 0.5], [1.0, 0.0, 0.0]])


@pytest.mark.parametrize(
    ("y", "match"),
    [
        (Q - np.eye(4)[:, :3] * 0.3, r"y\[0, 0\] is -0\.09.*from 0 to 1"),
        (np.array([0.2, 0.3, 1.5, 0.0]), r"y\[2\] is 1\.5; with soft_labels=True"),
        (Q * [[1], [1], [0.9], [1]], r"y\[2\] sums to 0\.9"),
        (np.where(Q == 0.6, np.nan, Q), "Input y contains NaN"),
        (np.array([0.2, np.inf, 0.4, 0.3]), "Input y contains infinity"),
        (Q[:, :1], r"y has shape \(4, 1\); with soft_labels=True"),
        (Q[:, :, None], "dim 3"),
        (sp.csr_array(Q), "y is sparse"),
        (np.array(["a", "b", "a", "b"]), "must hold probabilities with soft_labels=True"),
        (np.array(["a", "b", "a", "b"], dtype=object), "must hold probabilities"),
        (np.array([0, 1, 2, 1]), r"y\[2\] is 2\.0"),
        (np.zeros(4), "every row of y belongs to class 0 only"),
        (np.ones(4), "every row of y belongs to class 1 only"),
        (np.c_[Q[:, :2] / Q[:, :2].sum(axis=1, keepdims=True), np.zeros(4)], "share of class 2"),
        (Q[:3], "inconsistent numbers of samples"),
    ],
)
def test_what_is_no_probability_is_refused(y, match):
    """Promise 12: in words that say what was got, and the estimator as it was."""
    X, q, s = rows(2)
    model = TorchLogisticClassifier(soft_labels=True).fit(X, q, s)
    before = state(model)
    with pytest.raises(ValueError, match=match):
        model.fit(np.arange(8.0).reshape(4, 2), y)
    assert_same_state(state(model), before)


def test_probabilities_need_soft_labels():
    X, q, _ = rows(3)
    with pytest.raises(ValueError, match="y should be a 1d array"):
        TorchLogisticClassifier().fit(X, q)
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        TorchLogisticClassifier().fit(X, q[:, 0])


@pytest.mark.parametrize("smoothing", [1.0, -0.1, np.nan, "0.1"])
def test_smoothing_has_a_range(smoothing):
    X, y = binary()
    with pytest.raises(ValueError, match="label_smoothing"):
        TorchLogisticClassifier(label_smoothing=smoothing).fit(X, y)


def test_one_class_is_one_class_however_smooth():
    X, y = binary()
    with pytest.raises(ValueError, match="at least 2 classes"):
        TorchLogisticClassifier(label_smoothing=0.1).fit(X, np.ones_like(y))


def test_smoothing_gives_every_class_a_share():
    X, _, _ = rows(2)
    q = np.zeros((len(X), 3))
    q[:, 0] = 1.0
    model = TorchLogisticClassifier(soft_labels=True, label_smoothing=0.3, **TIGHT).fit(X, q)
    np.testing.assert_allclose(model.predict_proba(X), [[0.8, 0.1, 0.1]] * len(X), rtol=1e-7)


def test_cross_validation_has_neither():
    names = TorchLogisticClassifierCV().get_params()
    assert not {"soft_labels", "label_smoothing"} & names.keys()
    constraints = TorchLogisticClassifierCV._parameter_constraints
    assert not {"soft_labels", "label_smoothing"} & constraints.keys()


def _labels(n=150, seed=0):
    X, _, s = rows(2, n=n, seed=seed)
    logits = X[:, :3] - X[:, :3].mean(axis=0)
    rng = np.random.default_rng(seed)
    Y = (logits + rng.logistic(size=logits.shape) > 0).astype(float)
    return X, Y, s


@pytest.mark.parametrize("class_weight", [None, "balanced", [{0: 1, 1: 3}, "balanced", None]])
@pytest.mark.parametrize("kind", ["soft", "smoothed", "sparse"])
def test_labels_are_each_a_binary_model(class_weight, kind):
    """Promise 8, also where some cells are not known."""
    X, Y, s = _labels()
    inner = {"label_smoothing": 0.2}
    if kind == "soft":
        Y = np.random.default_rng(5).beta(0.5, 0.5, Y.shape)
        inner["soft_labels"] = True
    if kind == "sparse":
        Y = sp.csr_array(Y)
    else:
        Y[3:9, 1] = np.nan
    model = MultiLabel(TorchLogisticClassifier(**inner, **TIGHT), class_weight=class_weight)
    model.fit(X, Y, s)
    dense = Y.toarray() if sp.issparse(Y) else Y
    for label in range(3):
        own = class_weight[label] if isinstance(class_weight, list) else class_weight
        known = ~np.isnan(dense[:, label])
        alone = TorchLogisticClassifier(class_weight=own, **inner, **TIGHT)
        alone.fit(X[known], dense[known, label], s[known])
        np.testing.assert_allclose(model.coef_[label], alone.coef_[0], rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(model.intercept_[label], alone.intercept_[0], rtol=1e-7)
    assert set(np.unique(np.asarray((model.predict(X) != 0).sum(axis=0)))) != {0}


def test_a_constant_label_that_is_smoothed_has_a_minimum():
    X, Y, s = _labels()
    Y[:, 1] = 1
    with pytest.warns(ConstantLabelWarning, match="always 1: 1"):
        MultiLabel(TorchLogisticClassifier()).fit(X, Y, s)
    model = MultiLabel(TorchLogisticClassifier(label_smoothing=0.2, **TIGHT)).fit(X, Y, s)
    assert model.intercept_[1] == pytest.approx(np.log(9), rel=1e-8)
    assert model.converged_.all()


@pytest.mark.parametrize(
    ("Y", "match"),
    [
        (np.array([[0.1, 1.2]] * 4), r"y\[0, 1\] is 1\.2.*nan: not known"),
        (np.full(4, 0.5), r"y has shape \(4,\).*y\[:, None\]"),
        (sp.csr_array(np.full((4, 2), 0.5)), "y is sparse"),
        (np.array([["a", "b"]] * 4), "must hold probabilities"),
    ],
)
def test_labels_that_are_no_probabilities_are_refused(Y, match):
    model = MultiLabel(TorchLogisticClassifier(soft_labels=True))
    with pytest.raises(ParameterError, match=match):
        model.fit(np.arange(8.0).reshape(4, 2), Y)


@pytest.mark.parametrize("steps", [False, True], ids=["alone", "pipeline"])
def test_searches_smooth_as_scikit_learns_do(steps):
    X, y = binary()
    model = TorchLogisticClassifier(**TIGHT)
    name = ""
    if steps:
        model, name = make_pipeline(StandardScaler(), model), "torchlogisticclassifier__"
    grid = {f"{name}C": [0.1, 1.0], f"{name}label_smoothing": [0.0, 0.4]}
    ours = BatchedGridSearchCV(model, grid, cv=3, scoring="neg_log_loss").fit(X, y)
    judge = GridSearchCV(model, grid, cv=3, scoring="neg_log_loss").fit(X, y)
    for key in ("split0_test_score", "split2_test_score", "mean_test_score"):
        np.testing.assert_allclose(ours.cv_results_[key], judge.cv_results_[key], rtol=1e-9)
    assert ours.best_params_ == judge.best_params_
    assert ours.batched_.tolist() == [True, False, True, False]
    assert len(set(ours.cv_results_["mean_test_score"])) == 4


def test_searches_of_soft_labels_are_scikit_learns():
    X, q, _ = rows(3)

    def cross_entropy(model, X, y):
        return float((y * np.log(model.predict_proba(X))).sum(axis=1).mean())

    model = TorchLogisticClassifier(soft_labels=True, **TIGHT)
    options = {"cv": KFold(3), "scoring": cross_entropy}
    ours = BatchedGridSearchCV(model, {"C": [0.01, 1.0]}, **options).fit(X, q)
    judge = GridSearchCV(model, {"C": [0.01, 1.0]}, **options).fit(X, q)
    np.testing.assert_allclose(
        ours.cv_results_["mean_test_score"], judge.cv_results_["mean_test_score"], rtol=1e-9
    )
    assert not ours.batched_.any()


def test_searches_of_smoothed_labels():
    """Labels that are smoothed go into a batch, where each keeps its smoothing."""
    X, Y, _ = _labels()
    Y = Y.astype(int)
    model = MultiLabel(TorchLogisticClassifier(**TIGHT))
    grid = {"estimator__C": [0.01, 1.0], "estimator__label_smoothing": [0.0, 0.4]}
    options = {"cv": KFold(3), "scoring": "roc_auc"}
    ours = BatchedGridSearchCV(model, grid, **options).fit(X, Y)
    judge = GridSearchCV(model, grid, **options).fit(X, Y)
    np.testing.assert_allclose(
        ours.cv_results_["mean_test_score"], judge.cv_results_["mean_test_score"], rtol=1e-6
    )
    assert ours.batched_.all()
    np.testing.assert_allclose(
        ours.best_estimator_.coef_, judge.best_estimator_.coef_, rtol=1e-6, atol=1e-9
    )
