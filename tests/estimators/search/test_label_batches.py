"""Searches over `MultiLabel`: labels, folds and settings in common solves."""

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from sklearn import config_context
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline

from skorch_logreg import (
    BatchedGridSearchCV,
    ConstantLabelWarning,
    MultiLabel,
    TorchLogisticClassifier,
    fitting,
)
from tests.estimators.data import binary, multi
from tests.estimators.search.test_search import compare, exact


@pytest.mark.parametrize(
    ("kind", "scoring"),
    [(np.asarray, "roc_auc"), (sp.csr_array, None), (pd.DataFrame, "f1_macro")],
)
def test_many_labels(kind, scoring):
    X, y = multi()
    Y = kind(np.c_[y == 0, y == 1, y + X[:, 3] > 1].astype(int))
    grid = {
        "estimator__C": [0.1, 1.0],
        "estimator__class_weight": [None, "balanced"],
        "threshold": [0.5, [0.3, 0.4, 0.5]],
    }
    compare(MultiLabel(exact()), grid, (X, Y), scoring=scoring, return_train_score=True)


def test_many_labels_behind_a_transformer():
    X, y = multi()
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y))
    Y = np.c_[y == 0, y == 1, y == 2].astype(float)
    Y[::7, 1] = np.nan
    pipeline = Pipeline([("pca", PCA()), ("clf", MultiLabel(exact()))])
    grid = {
        "pca__n_components": [2, 3],
        "clf__C": [0.1, [0.1, 1.0, 2.0]],
        "clf__class_weight": [None],
    }

    def score(model, X, y):
        return -np.nanmean((model.predict_proba(X) - y) ** 2)

    fit_params = {"clf__sample_weight": weight}
    how = {"cv": KFold(3), "scoring": score, "return_train_score": True}
    compare(pipeline, grid, (X, Y), fit_params, **how)


@pytest.mark.parametrize("models", [1, 5, 100])
def test_a_budget_cuts_labels_too(models, solves, monkeypatch):
    X, y = multi()
    Y = np.c_[y == 0, y == 1, y == 2].astype(int)
    monkeypatch.setattr(fitting, "models_at_once", lambda *args: models)
    monkeypatch.setattr(fitting, "at_once", lambda *args: models)
    grid = {"estimator__C": [0.1, 1.0], "C": [None, [1, 2, 3]]}
    compare(MultiLabel(exact()), grid, (X, Y))
    solves.clear()
    BatchedGridSearchCV(MultiLabel(exact()), grid, cv=2, refit=False).fit(X, Y)
    assert sum(solves) == 3 * 3 * 2  # the estimator's C has no effect where there is another
    assert max(solves) <= models


def test_one_warning_for_all_constant_labels():
    X, _ = binary()
    Y = np.zeros((len(X), 3), dtype=int)
    Y[::2, 0] = Y[:30, 1] = 1
    with pytest.warns(ConstantLabelWarning) as caught:
        search = BatchedGridSearchCV(
            MultiLabel(exact()), {"C": [0.1, 1.0]}, cv=KFold(2), refit=False
        ).fit(X, Y)
    (warning,) = caught
    assert "2 labels have one value in the training rows of a fold" in str(warning.message)
    assert warning.filename == __file__
    assert search.batched_.all()


@pytest.mark.parametrize("data", [binary, multi], ids=["binary", "multi"])
def test_a_column_of_classes(data):
    grid = {"estimator__C": [0.1, 1.0]}
    compare(MultiLabel(exact()), grid, data(), cv=KFold(3), scoring="neg_log_loss")


def test_a_fold_without_a_class_is_fitted_as_such():
    X, y = binary()
    order = np.r_[np.flatnonzero(y == 0)[:20], np.flatnonzero(y == 1)[:60]]
    search = BatchedGridSearchCV(MultiLabel(exact()), {"estimator__C": [0.1, 1.0]}, cv=KFold(4))
    with pytest.warns(FitFailedWarning, match="2 fits failed out of a total of 8"):
        search.set_params(error_score=0.0).fit(X[order], y[order])
    assert not search.batched_.any()


@pytest.mark.parametrize("container", [np.float32, np.asfortranarray, sp.csr_array])
def test_rows_of_any_kind(container):
    X, y = multi()
    Y = np.c_[y == 0, y == 1].astype(int)
    X = X.astype(np.float32) if container is np.float32 else container(X)
    estimator = MultiLabel(exact(solver="liblinear", intercept_scaling=2.0))
    grid = {"estimator__C": [0.1, 1.0], "estimator__l1_ratio": [0, 1]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # float32 does not reach 1e-10
        compare(estimator, grid, (X, Y), scoring="roc_auc", cv=KFold(3), atol=1e-5)


@pytest.mark.parametrize("grid", [{"estimator__C": [0.1, 1.0]}, {"C": [0.1, 1.0]}], ids=str)
def test_an_estimator_of_none_is_the_default(grid):
    X, y = multi()
    Y = np.c_[y == 0, y == 1].astype(int)
    got = compare(MultiLabel(), grid, (X, Y), cv=KFold(3), atol=1e-4)
    expected = compare(MultiLabel(TorchLogisticClassifier()), grid, (X, Y), cv=KFold(3), atol=1e-4)
    np.testing.assert_array_equal(got.best_estimator_.coef_, expected.best_estimator_.coef_)


def test_known_cells():
    X, y = multi()
    rng = np.random.default_rng(0)
    Y = np.c_[y == 0, y == 1, y == 2].astype(int)
    fit_params = {
        "label_mask": rng.random(Y.shape) < 0.8,
        "sample_weight": rng.uniform(0, 2, len(y)),
    }
    grid = {"class_weight": ["balanced", [None, {0: 2.0}, "balanced"]], "C": [1.0, [0.1, 1, 2]]}
    estimator = MultiLabel(exact(penalty_factor=[1, 2, 0, 1]))
    compare(estimator, grid, (X, Y), fit_params, cv=KFold(3))


def test_labels_of_other_array_libraries_are_searched_as_scikit_learn_does():
    X, y = multi()
    Y = np.c_[y == 0, y == 1].astype(int)
    with config_context(array_api_dispatch=True):
        search = BatchedGridSearchCV(MultiLabel(exact()), {"C": [0.1, 1.0]}, cv=KFold(3))
        search.fit(torch.from_numpy(X.copy()), torch.from_numpy(Y))
        assert isinstance(search.best_estimator_.coef_, torch.Tensor)
        assert not search.batched_.any()
