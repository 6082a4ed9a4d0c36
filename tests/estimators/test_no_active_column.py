"""Penalties so strong that no column is in the model: the intercepts are the classes' log-odds."""

import numpy as np
import pytest
import scipy.sparse as sp

from skorch_logreg import (
    BatchedGridSearchCV,
    MultiLabel,
    TorchLogisticClassifier,
    TorchLogisticClassifierCV,
    regularization_path,
)
from skorch_logreg.data import ArrayChunks
from skorch_logreg.penalties import GroupL2

N, P, TOL = 200, 5, 1e-8


def _dask(X):
    return pytest.importorskip("dask.array").from_array(X, chunks=(50, P))


FORMS = {
    "dense": np.asarray,
    "csr": sp.csr_array,
    "chunks": lambda X: ArrayChunks(X, rows=50),
    "sparse-chunks": lambda X: ArrayChunks(sp.csr_array(X), rows=50),
    "dask": _dask,
}
PENALTIES = {
    "lasso": {"l1_ratio": 1.0},
    "elastic-net": {"l1_ratio": 0.5},
    "group": {"penalty": GroupL2([0, 0, 1, 1, 2])},
    "bounds": {"l1_ratio": 1.0, "bounds": (-1.0, 1.0)},
}


@pytest.fixture(params=FORMS.values(), ids=FORMS.keys())
def form(request):
    return request.param


def rows():
    rng = np.random.default_rng(0)
    return rng.normal(size=(N, P)) * (rng.random((N, P)) < 0.5)


def labels(n_classes):
    """Classes of unlike numbers of rows, in no order that X would know of."""
    share = np.arange(1, n_classes + 1) / np.arange(1, n_classes + 1).sum()
    y = np.repeat(np.arange(n_classes), np.round(share * N).astype(int))[:N]
    return np.random.default_rng(1).permutation(np.r_[y, np.zeros(N - len(y), dtype=int)])


def log_odds(y):
    logs = np.log(np.bincount(y))
    return np.diff(logs) if len(logs) == 2 else logs - logs.mean()


@pytest.mark.parametrize("n_classes", [2, 3, 4])
@pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES.keys())
def test_fit(form, penalty, n_classes):
    y = labels(n_classes)
    model = TorchLogisticClassifier(C=1e-3, tol=TOL, **penalty).fit(form(rows()), y)
    assert model.converged_
    assert (model.coef_ == 0).all()
    np.testing.assert_allclose(model.intercept_, log_odds(y), rtol=0, atol=1e-12)


def test_labels(form):
    y = np.stack([labels(2), labels(2)[::-1], labels(3) == 1], axis=1).astype(int)
    model = MultiLabel(TorchLogisticClassifier(l1_ratio=1.0, C=1e-3, tol=TOL))
    model.fit(form(rows()), y)
    assert (model.coef_ == 0).all()
    expected = np.concatenate([log_odds(label) for label in y.T])
    np.testing.assert_allclose(np.ravel(model.intercept_), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("make", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_cross_validation(make, n_classes):
    y = labels(n_classes)
    model = TorchLogisticClassifierCV(
        Cs=[1e-4, 1e-3],
        cv=3,
        l1_ratios=(1.0,),
        tol=TOL,
        scoring="neg_log_loss",
        use_legacy_attributes=False,
    )
    model.fit(make(rows()), y)
    np.testing.assert_allclose(model.intercept_, log_odds(y), rtol=0, atol=1e-12)


@pytest.mark.parametrize("make", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_search(make, n_classes):
    y = labels(n_classes)
    estimator = TorchLogisticClassifier(l1_ratio=1.0, tol=TOL)
    search = BatchedGridSearchCV(estimator, {"C": [1e-4, 1e-3]}, cv=3).fit(make(rows()), y)
    assert search.batched_.all()
    np.testing.assert_allclose(search.best_estimator_.intercept_, log_odds(y), rtol=0, atol=1e-12)


@pytest.mark.parametrize("make", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
def test_path(make, n_classes, l1_ratio):
    """Its first point is the last that has no column."""
    y = labels(n_classes)
    path = regularization_path(make(rows()), y, l1_ratio=l1_ratio, Cs=5, tol=TOL)
    np.testing.assert_allclose(path.coefs[0], 0, atol=1e-12)  # it lies on the very edge
    np.testing.assert_allclose(np.ravel(path.intercepts[0]), log_odds(y), rtol=0, atol=1e-12)
