"""Optima at infinity: `converged_` is False, and one warning names the columns (promise 18)."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning

from skorch_logreg import (
    MultiLabel,
    OffsetLogisticClassifier,
    TorchLogisticClassifier,
    TorchLogisticClassifierCV,
)
from skorch_logreg.data import ArrayChunks
from skorch_logreg.penalties import GroupL2
from tests import problems
from tests.recession.judges import constraints, designs, separable_rows

INF = np.inf


def rare(n=1000, n_classes=2, held=39):
    """Draw a column that is 1 in some rows of the first class, and 0 in all others."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 4))
    y = (X[:, 0] + rng.logistic(size=n) > 0) * 1
    if n_classes > 2:
        y = rng.integers(0, n_classes, n)
    X[:, 3] = 0
    X[np.flatnonzero(y == 0)[:held], 3] = 1
    return X, y


def fitted(model, *args, **kwargs):
    """The model and the texts of its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(*args, **kwargs)
    assert all(warning.category is ConvergenceWarning for warning in caught)
    return model, [str(warning.message) for warning in caught]


def assert_at_infinity(model, texts, columns="columns x3"):
    (text,) = texts
    assert not model.converged_
    assert "separable" in text
    assert f"({columns})" in text
    assert np.isfinite(model.coef_).all()


def assert_finite(model, texts):
    assert not texts
    assert model.converged_


def dask_array(X):
    return pytest.importorskip("dask.array").from_array(X, chunks=(130, X.shape[1]))


FORMS = {
    "dense": np.asarray,
    "float32": lambda X: X.astype(np.float32),
    "csr": sp.csr_array,
    "chunks": lambda X: ArrayChunks(X, rows=130),
    "dask": dask_array,
}


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("form", FORMS)
def test_a_rare_column_of_one_class(form, n_classes):
    X, y = rare(n_classes=n_classes)
    assert_at_infinity(*fitted(TorchLogisticClassifier(C=INF), FORMS[form](X), y))
    assert_finite(*fitted(TorchLogisticClassifier(C=INF), FORMS[form](X[:, :3]), y))


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("tol", [1e-2, 1e-4, 1e-8])
@pytest.mark.parametrize("solver", ["auto", "lbfgs", "newton-cg", "newton-cholesky"])
def test_every_solver_at_every_tolerance(solver, tol, n_classes):
    X, y = rare(n_classes=n_classes)
    model = TorchLogisticClassifier(C=INF, solver=solver, tol=tol, max_iter=1000)
    assert_at_infinity(*fitted(model, X, y))
    assert_finite(*fitted(model, X[:, :3], y))


def test_iris_names_a_feature():
    model, texts = fitted(
        TorchLogisticClassifier(C=INF), load_iris(as_frame=True).data, load_iris().target
    )
    assert not model.converged_
    assert "petal length (cm)" in texts[0]


@pytest.mark.parametrize("unit", [1e-8, 1e8])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_units_do_not_matter(form, unit):
    X, y = rare()
    X = X * [unit, 1, 1 / unit, unit] + [0, 1e3, 0, unit]
    assert_at_infinity(*fitted(TorchLogisticClassifier(C=INF), form(X), y))


FACTOR = [1, 1, 1, 0]
AT_INFINITY = {
    "no intercept": {"fit_intercept": False},
    "lasso": {"l1_ratio": 1.0},
    "ridge elsewhere": {"C": 1.0, "penalty_factor": FACTOR},
    "lasso elsewhere": {"C": 1.0, "l1_ratio": 1.0, "penalty_factor": FACTOR},
    "elastic net elsewhere": {"C": 1.0, "l1_ratio": 0.5, "penalty_factor": FACTOR},
    "groups elsewhere": {"penalty": GroupL2([[0, 1], [2], [3]]), "penalty_factor": FACTOR},
    "a group": {"penalty": GroupL2([[0, 1], [2, 3]])},
    "another excluded": {"penalty_factor": [1, INF, 1, 1]},
    "bounds of others": {"bounds": ([-1, -1, -1, -INF], [1, 1, 1, 0])},
}
HELD = {
    "ridge": {"C": 1e6},
    "its own ridge": {"C": 1.0, "penalty_factor": [0, 0, 0, 1]},
    "its own lasso": {"C": 1.0, "l1_ratio": 1.0, "penalty_factor": [0, 0, 0, 1]},
    "its own group": {"penalty": GroupL2([[0, 1], [2], [3]]), "penalty_factor": [0, 0, 0, 1],
                      "C": 1.0},
    "excluded": {"penalty_factor": [1, 1, 1, INF]},
    "bounded": {"bounds": (-3, None)},
    "not negative": {"bounds": ([-INF, -INF, -INF, 0], None)},
    "smoothed labels": {"label_smoothing": 0.01},
}  # fmt: skip


@pytest.mark.parametrize("options", AT_INFINITY.values(), ids=AT_INFINITY)
def test_what_carries_no_penalty_runs_away(options):
    assert_at_infinity(*fitted(TorchLogisticClassifier(**{"C": INF, **options}), *rare()))


@pytest.mark.parametrize("options", HELD.values(), ids=HELD)
def test_what_is_held_does_not(options):
    assert_finite(*fitted(TorchLogisticClassifier(**{"C": INF, **options}), *rare()))


def test_complete_separation_by_a_column_without_a_penalty():
    """The penalised coefficients go to zero: that took all iterations, and said so."""
    X, y = rare()
    X[:, 3] = y + 0.1 * X[:, 0]
    model = TorchLogisticClassifier(penalty_factor=[1, 1, 1, 0])
    model, texts = fitted(model, X, y)
    assert_at_infinity(model, texts)
    assert model.n_iter_[0] < 20


def test_bounds_cut_directions_of_some_classes():
    """All classes share their bounds: where one may not grow, the others may fall."""
    X, y = rare(n_classes=3)
    for bounds in ((-3, None), (None, 3)):
        assert_at_infinity(*fitted(TorchLogisticClassifier(C=INF, bounds=bounds), X, y))
    assert_finite(*fitted(TorchLogisticClassifier(C=INF, bounds=(-3, 3)), X, y))


def test_an_objective_that_vanishes_in_one_step_is_at_infinity():
    """No decrement was known before that step, and a share of zero is none."""
    X = np.array([[1.0, 0.0], [0.0, 1.0], [3.0, 0.0]])
    model = TorchLogisticClassifier(C=INF, bounds=([1000, -INF], [INF, INF]))
    model, (text,) = fitted(model, X, np.array([0, 1, 0]))
    assert not model.converged_
    assert "separable" in text


def test_soft_labels():
    """Probabilities of 0 and 1 are classes; a row that two classes share stays where it is."""
    X, y = rare()
    soft = TorchLogisticClassifier(C=INF, soft_labels=True)
    assert_at_infinity(*fitted(soft, X, y.astype(float)))
    assert_finite(*fitted(soft, X, 0.05 + 0.9 * y))
    assert_at_infinity(*fitted(soft, X, 0.9 * y))  # the rows of the column are of one class
    one = 1.0 * y
    one[np.flatnonzero(X[:, 3])[0]] = 0.01
    assert_finite(*fitted(soft, X, one))
    X, y = rare(n_classes=3)
    share = np.eye(3)[y]
    assert_at_infinity(*fitted(soft, X, share))
    share[X[:, 3] == 0] = [0.2, 0.3, 0.5]
    assert_at_infinity(*fitted(soft, X, share))
    share[X[:, 3] == 1] = [0.5, 0.5, 0.0]  # two classes level, and ahead of the third
    assert_at_infinity(*fitted(soft, X, share))
    share[X[:, 3] == 1] = [0.5, 0.4, 0.1]
    assert_finite(*fitted(soft, X, share))


def test_offset_changes_nothing():
    X, y = rare()
    model = OffsetLogisticClassifier(C=INF)
    offset = np.random.default_rng(1).normal(size=len(y))
    assert_at_infinity(*fitted(model, X, y, offset=offset))
    assert_finite(*fitted(model, X[:, :3], y, offset=offset))


def test_rows_without_weight_do_not_count():
    X, y = rare()
    one = np.flatnonzero(X[:, 3])[0]
    y[one] = 1
    assert_finite(*fitted(TorchLogisticClassifier(C=INF), X, y))
    weight = np.ones(len(y))
    weight[one] = 0
    assert_at_infinity(*fitted(TorchLogisticClassifier(C=INF), X, y, sample_weight=weight))
    X, y = rare(n_classes=3)
    for label in (1, 2):
        X[np.flatnonzero(y == label)[:5], 3] = 1
    assert_finite(*fitted(TorchLogisticClassifier(C=INF), X, y))
    weight = 1.0 * ((y == 0) | (X[:, 3] == 0))
    assert_at_infinity(*fitted(TorchLogisticClassifier(C=INF), X, y, sample_weight=weight))


@pytest.mark.parametrize("C", [1.0, INF])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_class_without_weight_sends_its_intercept_away(n_classes, C):
    X, y = rare(n_classes=n_classes, held=0)
    model = TorchLogisticClassifier(C=C)
    model, texts = fitted(model, X[:, :3], y, sample_weight=1.0 * (y > 0))
    assert_at_infinity(model, texts, "that of the intercept")
    assert model.n_iter_[0] < 10


def test_a_fit_that_starts_far_out():
    """Where all probabilities of the rows concerned are zero, or nearly."""
    X, y = rare()
    model, _ = fitted(TorchLogisticClassifier(C=INF, warm_start=True), X, y)
    for coef in (model.coef_[0, 3], -60, -1000):
        model.coef_[0, 3] = coef
        assert_at_infinity(*fitted(model, X, y))


@pytest.mark.parametrize("n_classes", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_many_columns_by_conjugate_gradients(n_classes):
    rng = np.random.default_rng(0)
    X = sp.random(4000, 700, 0.01, format="csr", random_state=0)
    y = rng.integers(0, n_classes, 4000)
    mark = np.zeros((4000, 1))
    mark[np.flatnonzero(y == 1)[:20]] = 1
    model = TorchLogisticClassifier(C=INF)
    assert_finite(*fitted(model, X, y))
    model, texts = fitted(model, sp.hstack([X, mark], format="csr"), y)
    assert_at_infinity(model, texts, "columns x700")


@pytest.mark.parametrize("seed", range(80))
def test_random_designs_against_a_linear_programme(seed):
    X, y, rng = designs(seed)
    rows = separable_rows(constraints((X - X.mean(axis=0)) / X.std(axis=0).clip(1e-300), y))
    model = TorchLogisticClassifier(
        C=INF,
        tol=float(rng.choice([1e-2, 1e-4, 1e-6])),
        solver=str(rng.choice(["auto", "lbfgs", "newton-cholesky"])),
        max_iter=1000,
    )
    model, texts = fitted(model, X, y)
    assert model.converged_ == (rows < 1e-6)
    assert len(texts) == (not model.converged_)


@pytest.mark.parametrize("tol", [1e-2, 1e-4, 1e-8])
@pytest.mark.parametrize("gap", [1e-2, 1e-4, 1e-6, 1e-8, 1e-10])
def test_a_large_but_finite_optimum(gap, tol):
    """Two rows in a thousand overlap, and by little: the coefficient is the gap's logarithm."""
    for copies in (1, 200):
        X = np.repeat([[0.0], [1.0], [1.0 + gap], [2.0]], copies, axis=0)
        model = TorchLogisticClassifier(C=INF, tol=tol, max_iter=1000)
        assert_finite(*fitted(model, X, np.repeat([0, 1, 0, 1], copies)))
        model, texts = fitted(model, X, np.repeat([0, 0, 1, 1], copies))
        assert_at_infinity(model, texts, "columns x0")


LOADED = {
    "breast_cancer": load_breast_cancer, "iris": load_iris, "wine": load_wine,
    "digits": load_digits,
}  # fmt: skip


@pytest.mark.parametrize("name", LOADED)
def test_known_data_against_a_linear_programme(name):
    """All columns, and the first two, which overlap."""
    X, y = LOADED[name](return_X_y=True)
    for columns in ([0, 1], [4, 5, 6]) if name != "iris" else ([0, 1], [1]):
        part = X[:, columns][:, X[:, columns].std(axis=0) > 0]
        Z = (part - part.mean(axis=0)) / part.std(axis=0)
        truth = separable_rows(constraints(Z[:600], y[:600])) > 1e-6
        model, texts = fitted(TorchLogisticClassifier(C=INF), part[:600], y[:600])
        assert model.converged_ != truth
        assert len(texts) == truth


@pytest.mark.parametrize("name", problems.ORDINARY)
def test_an_ordinary_fit_pays_neither_a_programme_nor_a_pass(name, monkeypatch):
    from skorch_logreg.solvers import unbounded

    def refuse(*args):
        raise AssertionError("a fit that has converged was looked at")

    for function in ("find_direction", "proves_minimiser"):
        monkeypatch.setattr(unbounded, function, refuse)
    case = problems.load(name)
    factor = np.ones(case.X.shape[1])
    factor[0] = 0
    for options in ({"C": INF}, {"penalty_factor": factor}, {"C": 1.0}):
        model = TorchLogisticClassifier(**options)
        assert_finite(*fitted(model, case.X, case.y, sample_weight=case.sample_weight))


def test_models_of_a_batch_end_one_by_one():
    X, y = rare()
    Y = np.column_stack([y, X[:, 1] + np.random.default_rng(1).logistic(size=len(y)) > 0])
    with pytest.warns(ConvergenceWarning, match=r"1 of 2 labels .*separable"):
        model = MultiLabel(TorchLogisticClassifier(C=INF)).fit(X, Y)
    assert list(model.converged_) == [False, True]
    search = TorchLogisticClassifierCV(
        Cs=[1.0, INF], cv=3, l1_ratios=(0,), use_legacy_attributes=False, scoring="neg_log_loss"
    )
    with pytest.warns(ConvergenceWarning, match=r"of 7 models .*separable"):
        search.fit(X, y)
