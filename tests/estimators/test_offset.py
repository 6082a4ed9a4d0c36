"""An offset is added to the logits as it is: the figures of statsmodels, and of shifted fits."""

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn
import statsmodels.api as sm
from scipy.optimize import minimize
from scipy.special import logsumexp
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from skorch_logreg import OffsetLogisticClassifier, summary, tune_threshold
from skorch_logreg.checkpoint import CheckpointWriter
from skorch_logreg.data import ArrayChunks, RankRows
from skorch_logreg.exceptions import CheckpointError, ParameterError
from skorch_logreg.solvers import LBFGS, SGD, Checkpoint
from tests.estimators.data import binary


def rows(n=600, p=4):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, p)) * np.logspace(-1, 1, p) + 3
    offset = 2 * rng.normal(size=n)
    y = X[:, 0] * 5 - 15 + offset + rng.logistic(size=n) > 0
    return X, y.astype(int), offset


def fit(X, y, offset, **options):
    return OffsetLogisticClassifier(**{"tol": 1e-9} | options).fit(X, y, offset=offset)


def blocks(X):
    return pytest.importorskip("dask.array").from_array(X, chunks=(len(X) // 3, -1))


@pytest.mark.parametrize("n", [200, 3000, 40_000])
@pytest.mark.parametrize(
    "wrap", [np.asarray, sp.csr_array, lambda X: ArrayChunks(X, len(X) // 3), blocks]
)
def test_it_is_that_of_a_generalised_linear_model(wrap, n):
    X, y, offset = rows(n)
    Z = sm.add_constant(X, prepend=False)
    expected = sm.GLM(y, Z, offset=offset, family=sm.families.Binomial()).fit(tol=1e-13)
    found = fit(wrap(X), y, offset, C=np.inf, tol=1e-8)
    np.testing.assert_allclose(found.coef_[0], expected.params[:-1], rtol=1e-6)
    np.testing.assert_allclose(found.intercept_, expected.params[-1:], rtol=1e-6)
    if n == 200:
        known = summary(found, X, y, offset=offset)
        np.testing.assert_allclose(known.standard_error, expected.bse, rtol=1e-6)
        np.testing.assert_allclose(known.log_likelihood, expected.llf, rtol=1e-9)
        null = sm.GLM(y, np.ones(n), offset=offset, family=sm.families.Binomial()).fit().llf
        np.testing.assert_allclose(known.null_log_likelihood, null, rtol=1e-9)


@pytest.mark.parametrize("solver", ["auto", "lbfgs", "newton-cg", "newton-cholesky"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_what_columns_explain_is_taken_off_their_coefficients(solver, n_classes):
    """Without a penalty an offset ``X v`` leaves ``w - v``."""
    X, y, _ = rows()
    y = y + (X[:, 1] > X[:, 1].mean()) * (np.arange(600) % 3 > 0) * (n_classes == 3)
    known = np.random.default_rng(1).normal(size=(4, 1 if n_classes == 2 else 3)) / 5
    offset = X @ known
    options = {"C": np.inf, "solver": solver, "max_iter": 500, "tol": 1e-7}
    plain = fit(X, y, None, **options)
    moved = fit(X, y, offset[:, 0] if n_classes == 2 else offset, **options)
    known = known - known.mean(axis=1, keepdims=True) * (n_classes == 3)
    scale = X.std(axis=0)
    np.testing.assert_allclose((moved.coef_ + known.T) * scale, plain.coef_ * scale, atol=1e-5)


OPTIONS = {
    "ridge": {"C": 0.1},
    "lasso": {"C": 0.05, "l1_ratio": 1.0},
    "bounds": {"bounds": (0, 1)},
}


@pytest.mark.parametrize("shape", [(600, 4), (40, 300), (3000, 30)])
@pytest.mark.parametrize("options", OPTIONS)
def test_a_penalised_fit_is_at_its_optimum_and_proves_it(options, shape):
    X, y, offset = rows(*shape)
    found = fit(X, y, offset, **OPTIONS[options])
    coef, lam = found.coef_[0], 1 / found.C
    z = X @ coef + found.intercept_[0] + offset
    slope = X.T @ (1 / (1 + np.exp(-z)) - y)
    if options == "lasso":
        left = np.where(coef, slope + lam * np.sign(coef), np.maximum(abs(slope) - lam, 0))
    else:
        left = slope + lam * coef
    if options == "bounds":
        left = np.where(coef <= 0, np.minimum(left, 0), left)
        left = np.where(coef >= 1, np.maximum(left, 0), left)
    assert abs(left / X.std(axis=0)).max() <= 1e-6 * len(y)
    assert found.converged_
    assert found.duality_gap_ <= 1e-8


def test_a_constant_moves_the_intercept():
    X, y, _ = rows()
    plain, moved = fit(X, y, None), fit(X, y, np.full(600, 2.0))
    np.testing.assert_allclose(moved.coef_, plain.coef_, rtol=1e-7)
    np.testing.assert_allclose(moved.intercept_ + 2, plain.intercept_, rtol=1e-7)


def test_rows_that_the_offset_alone_separates_are_not_separable():
    X, y, _ = rows()
    found = OffsetLogisticClassifier(C=np.inf).fit(X, y, offset=3.0 * (2 * y - 1))
    assert found.converged_


def test_it_is_routed_like_weights():
    X, y, offset = rows()
    with sklearn.config_context(enable_metadata_routing=True):
        model = OffsetLogisticClassifier().set_fit_request(offset=True)
        model.set_score_request(offset=True)
        search = GridSearchCV(model, {"C": [0.1, 1.0]}, cv=2).fit(X, y, offset=offset)
    halves = StratifiedKFold(2).split(X, y)
    scores = [
        OffsetLogisticClassifier(C=0.1)
        .fit(X[train], y[train], offset=offset[train])
        .score(X[test], y[test], offset=offset[test])
        for train, test in halves
    ]
    assert search.cv_results_["mean_test_score"][0] == pytest.approx(np.mean(scores))
    best = OffsetLogisticClassifier(**search.best_params_).fit(X, y, offset=offset)
    np.testing.assert_allclose(search.best_estimator_.coef_, best.coef_, rtol=1e-6)


def test_a_checkpoint_knows_its_offset(tmp_path, monkeypatch):
    X, y, offset = rows()
    solver = LBFGS(checkpoint=Checkpoint(tmp_path / "fit.npz"))
    model, write = OffsetLogisticClassifier(solver=solver, tol=1e-9), CheckpointWriter.write

    def killed(writer, *values):
        write(writer, *values)
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointWriter, "write", killed)
        with pytest.raises(RuntimeError, match="killed"):
            model.fit(X, y, offset=offset)
    with pytest.raises(CheckpointError, match="offset"):
        model.fit(X, y, offset=-offset)
    found = model.fit(X, y, offset=offset)
    expected = OffsetLogisticClassifier(solver=LBFGS(), tol=1e-9).fit(X, y, offset=offset)
    np.testing.assert_array_equal(found.coef_, expected.coef_)


BAD = {
    "shape": (np.zeros(5), r"offset has shape \(5,\), expected \(600,\)"),
    "nan": (np.r_[np.nan, np.zeros(599)], r"offset\[0\] is nan; it must be finite"),
    "text": (np.full(600, "a"), "offset must hold numbers"),
    "complex": (np.full(600, 1 + 5j), "offset must hold numbers: complex data"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_offsets_are_refused(what):
    X, y, _ = rows()
    offset, match = BAD[what]
    with pytest.raises(ParameterError, match=match):
        OffsetLogisticClassifier().fit(X, y, offset=offset)


def test_where_it_has_no_place_it_is_refused():
    X, y, offset = rows()
    with pytest.raises(ParameterError, match="SGD"):
        OffsetLogisticClassifier(solver=SGD(0.1)).fit(X, y, offset=offset)
    with pytest.raises(ParameterError, match="RankRows has no place"):
        OffsetLogisticClassifier().fit(RankRows(X), y, offset=offset)


@pytest.mark.parametrize("wrap", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("penalty", [{"l1_ratio": 1.0}, {"l1_ratio": 0.5}, {"l1_ratio": 0.0}])
@pytest.mark.parametrize("n_classes", [2, 3, 4])
@pytest.mark.parametrize("seed", [0, 8, 11])
def test_far_offsets_are_minimised_and_certified(wrap, penalty, n_classes, seed):
    """Promise 2: the best of a generic minimiser is no better than the gap allows.

    Rows are so far out that a Newton step of the intercept sees no curvature.
    """
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(100, 2)), rng.integers(0, n_classes, 100)
    n_outputs = 1 if n_classes == 2 else n_classes
    offset = 100 * rng.normal(size=(100, n_outputs))

    def value(intercept):
        z = offset + intercept
        z = np.column_stack([np.zeros(100), z]) if n_outputs == 1 else z
        return float((logsumexp(z, axis=1) - z[np.arange(100), y]).sum())

    found = fit(wrap(X), y, offset.squeeze(), C=1e-4, tol=1e-6, **penalty)
    if penalty["l1_ratio"] == 1.0:
        assert (found.coef_ == 0).all()
    starts = [np.zeros(n_outputs), found.intercept_, -offset.mean(axis=0)]
    best = min(minimize(value, start, method="Powell", tol=1e-13).fun for start in starts)
    reached = np.sum(reached_losses(found, X, y, offset)) + penalty_of(found, 1e-4, **penalty)
    assert reached * (1 - found.duality_gap_ - 1e-14) <= best
    assert found.duality_gap_ <= 1e-9


def reached_losses(model, X, y, offset):
    z = offset + X @ model.coef_.T + model.intercept_
    z = np.column_stack([np.zeros(len(X)), z]) if z.shape[1] == 1 else z
    return logsumexp(z, axis=1) - z[np.arange(len(X)), y]


def penalty_of(model, C, l1_ratio):
    lasso, ridge = np.abs(model.coef_).sum(), (model.coef_**2).sum() / 2
    return (l1_ratio * lasso + (1 - l1_ratio) * ridge) / C


@pytest.mark.parametrize("threshold", [0.5, 0.7])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_predictions_take_the_offset_of_their_rows(n_classes, threshold):
    X, y, _ = rows()
    y = y + (X[:, 1] > X[:, 1].mean()) * (n_classes == 3)
    offset = np.random.default_rng(1).normal(size=(600,) if n_classes == 2 else (600, 3))
    options = {"threshold": threshold} if n_classes == 2 else {}
    model = fit(X, y, offset, **options)
    logits = model.decision_function(X, offset=offset)
    np.testing.assert_allclose(logits, model.decision_function(X) + offset)
    log_proba = logits - logsumexp(logits, axis=1, keepdims=True) if n_classes == 3 else None
    proba = model.predict_proba(X, offset=offset)
    expected = 1 / (1 + np.exp(-logits)) if n_classes == 2 else np.exp(log_proba)
    np.testing.assert_allclose(proba[:, 1] if n_classes == 2 else proba, expected)
    np.testing.assert_allclose(model.predict_log_proba(X, offset), np.log(proba))
    chosen = (proba[:, 1] >= threshold) if n_classes == 2 else proba.argmax(axis=1)
    np.testing.assert_array_equal(model.predict(X, offset=offset), chosen)
    weight = np.arange(600.0)
    right = np.average(chosen == y, weights=weight)
    assert model.score(X, y, weight, offset=offset) == pytest.approx(right)
    if n_classes == 2:
        with pytest.raises(ParameterError, match="fitted with an offset"):
            tune_threshold(model, X, y, scoring="f1", cv="prefit")
    # the mean of the fitted rows is that of their labels
    np.testing.assert_allclose(proba.mean(axis=0), np.bincount(y) / len(y), atol=1e-6)
    for some, own in ((X, offset[:5]), (ArrayChunks(X, 100), offset)):
        with pytest.raises(ParameterError, match="offset"):
            model.predict(some, own)


def test_partial_fit_has_no_offset():
    X, y = binary()
    assert OffsetLogisticClassifier().partial_fit(X, y, classes=[0, 1]).has_offset_ is False
