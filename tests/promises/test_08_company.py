"""Promise 8: a model solved in a batch is the model solved alone, whatever its neighbours do."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.exceptions import ConvergenceWarning

from skorch_logreg import ConstantLabelWarning, MultiLabel, TorchLogisticClassifier
from skorch_logreg.data import from_arrays
from skorch_logreg.fitting import ROW_BYTES, fit
from skorch_logreg.losses import Multinomial
from skorch_logreg.penalties import L2, ElasticNet
from tests.promises.models import assert_same

TOL = 1e-9  # 1e-8 leaves 1e-16 in an objective, which is 2e-8 in a coefficient
FORMS = {"dense": np.array, "F": np.asfortranarray, "csr": sp.csr_array}
PENALTIES = {
    "l2": {},
    "l1": {"l1_ratio": 1.0},
    "elastic net": {"l1_ratio": 0.5},
    "no intercept": {"fit_intercept": False},
    "l1, balanced": {"l1_ratio": 1.0, "class_weight": "balanced"},
    "features": {"penalty_factor": np.linspace(0.2, 3, 8)},
}
SHAPES = {"tall": (400, 8), "wide": (40, 60), "many": (3000, 8)}


def design(shape, seed=0):
    """Half of the entries zero."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=SHAPES[shape])
    X[rng.random(X.shape) < 0.5] = 0
    return X


def company(X, seed=1):
    """Ordinary labels and C of each, and neighbours that solvers dislike."""
    rng = np.random.default_rng(seed)
    n, p = X.shape
    signal = X @ rng.normal(size=(p, 4)) + rng.logistic(size=(n, 4))
    ordinary = signal > np.array([0.0, 0.5, -0.5, 1.0])
    apart = X[:, 0] + 0.2 * X[:, 1] > 0.1
    rare = np.arange(n) == signal[:, 0].argmax()
    nearly = apart ^ (np.arange(n) % 37 == 0)
    everywhere = np.ones(n, dtype=bool)
    Y = np.column_stack([ordinary, apart, apart, rare, nearly, everywhere, ~everywhere])
    C = [1.0, 0.1, 1.0, 5.0, 1.0, 1e5, 100.0, 1e4, 1.0, 1.0]
    return Y.astype(int), np.array(C)


def quiet(model, *data, **metadata):
    """Fit; the neighbours may complain."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantLabelWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(*data, **metadata)


def assert_as_alone(model, X, Y, C, which, rows=None, **options):
    for k in which:
        kept = slice(None) if rows is None else rows[:, k]
        alone = TorchLogisticClassifier(C=C[k], **options).fit(X[kept], Y[kept, k])
        got = np.r_[model.coef_[k], model.intercept_[k]]
        assert_same(got, np.r_[alone.coef_[0], alone.intercept_], 1e-8)


@pytest.mark.parametrize(
    ("penalty", "form", "shape"),
    [(penalty, form, "tall") for penalty in PENALTIES for form in FORMS]
    + [
        (penalty, form, shape)
        for penalty in ("l2", "l1", "elastic net")
        for form in ("dense", "csr")
        for shape in ("wide", "many")
    ],
)
def test_08_labels(penalty, form, shape):
    """Among separable, rare, nearly separable and constant labels."""
    X = design(shape)
    Y, C = company(X)
    options = PENALTIES[penalty] | {"tol": TOL, "max_iter": 1000}
    model = quiet(MultiLabel(TorchLogisticClassifier(**options), C=C), FORMS[form](X), Y)
    assert model.converged_[:4].all()
    assert_as_alone(model, FORMS[form](X), Y, C, range(4), **options)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("penalty", ["l2", "l1", "elastic net", "l1, balanced"])
def test_08_labels_with_rows_of_their_own(penalty, form):
    """Where labels are known in different rows, and rows have weights."""
    X = design("tall")
    Y, C = company(X)
    rng = np.random.default_rng(2)
    known, weight = rng.random(Y.shape) < 0.8, rng.integers(0, 4, len(X)).astype(float)
    options = PENALTIES[penalty] | {"tol": TOL, "max_iter": 1000}
    model = MultiLabel(TorchLogisticClassifier(**options), C=C)
    held = FORMS[form](X)
    model = quiet(model, held, Y, sample_weight=weight, label_mask=known)
    for k in range(4):
        rows = known[:, k]
        alone = TorchLogisticClassifier(C=C[k], **options)
        alone.fit(held[rows], Y[rows, k], sample_weight=weight[rows])
        got = np.r_[model.coef_[k], model.intercept_[k]]
        assert_same(got, np.r_[alone.coef_[0], alone.intercept_], 1e-8)


@pytest.mark.parametrize("penalty", ["l2", "l1", "elastic net"])
def test_08_any_company(penalty):
    """The same label beside others, in another order, in batches of two and of one."""
    X = design("tall")
    Y, C = company(X)
    estimator = TorchLogisticClassifier(**PENALTIES[penalty], tol=TOL, max_iter=1000)
    whole = quiet(MultiLabel(estimator, C=C), X, Y)
    others = np.random.default_rng(3).permutation(Y.shape[1])
    moved = quiet(MultiLabel(estimator, C=C[others]), X, Y[:, others])
    few = quiet(MultiLabel(estimator, C=C[:3]), X, Y[:, :3])
    pairs = quiet(MultiLabel(estimator, C=C, memory_budget=2 * ROW_BYTES * len(X)), X, Y)
    single = quiet(MultiLabel(estimator, C=C, memory_budget=1), X, Y)
    for k in range(3):
        got = [moved.coef_[others == k], few.coef_[[k]], pairs.coef_[[k]], single.coef_[[k]]]
        for coef in got:
            assert_same(coef, whole.coef_[[k]], 1e-8)


@pytest.mark.parametrize("form", [torch.tensor, sp.csr_array], ids=["dense", "csr"])
@pytest.mark.parametrize(
    "penalty", [L2(), ElasticNet(1.0), ElasticNet(0.5)], ids=["l2", "l1", "elastic net"]
)
def test_08_folds_and_strengths_of_three_classes(penalty, form):
    """Models that differ in rows and C; one fold is separable, one C slow."""
    X = design("tall")[:, :5]
    rng = np.random.default_rng(4)
    y = (X[:, :3] + rng.gumbel(size=(len(X), 3))).argmax(axis=1)
    apart = X[:, :3].argmax(axis=1) == y
    C = [0.1, 1.0, 10.0, 1e4]
    folds = [np.arange(len(X)) % 4 != i for i in range(2)] + [apart]
    weight = np.repeat(np.array(folds).T.astype(float), len(C), axis=1)
    loss = Multinomial(3)
    options = {"tol": TOL, "max_iter": 1000}
    strengths = torch.tensor(C * len(folds), dtype=torch.float64)
    batch = fit(from_arrays(form(X), y, weight), loss, penalty, C=strengths, **options)
    for fold in range(2):
        for c in range(3):
            rows = folds[fold]
            alone = fit(from_arrays(form(X[rows]), y[rows]), loss, penalty, C=C[c], **options)
            got, expected = batch.params.coef[fold * len(C) + c], alone.params.coef[0]
            assert_same(got.numpy(), expected.numpy(), 1e-8)
