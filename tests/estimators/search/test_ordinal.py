"""Batched searches of ordered classes give what scikit-learn's searches give."""

import numpy as np
import pytest
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skorch_logreg import OrdinalLogisticClassifier
from skorch_logreg.penalties import L2
from tests.estimators.data import binary, multi
from tests.estimators.search.test_search import compare


def exact(**parameters):
    return OrdinalLogisticClassifier(tol=1e-10, max_iter=500, **parameters)


def largest_effect(estimator, X, y):
    """Reads what only a model of ordered classes has."""
    assert estimator.converged_
    assert estimator.n_features_in_ == X.shape[1]
    return float(estimator.thresholds_[-1] + estimator.linear_predictor(X).max())


GRID = {"C": [0.1, 2.0], "class_weight": [None, "balanced"], "l1_ratio": [0.0, 0.5]}


@pytest.mark.parametrize(
    "scoring", [None, "neg_log_loss", "roc_auc_ovr", ["accuracy", "f1_macro"], largest_effect]
)
@pytest.mark.parametrize("data", [binary, multi])
def test_every_way_to_score(data, scoring, solves):
    refit = "accuracy" if isinstance(scoring, list) else True
    compare(exact(), GRID, data(), scoring=scoring, refit=refit, return_train_score=True)
    fits, batches = 3 * 8 + 1, 2 + 1
    assert len(solves) == fits + batches


@pytest.mark.parametrize("scoring", ["neg_log_loss", "f1_macro"])
def test_after_transformers(scoring):
    model = make_pipeline(StandardScaler(), exact(penalty_factor=[1.0, 0.0, 2.0, 1.0]))
    grid = {"ordinallogisticclassifier__C": [0.1, 2.0]}
    compare(model, grid, multi(), scoring=scoring, return_train_score=True)


def test_weights_and_other_parameters():
    X, y = multi()
    grid = {"bounds": [None, (-0.2, 0.2)], "C": [0.1, 1.0]}
    weight = {"sample_weight": 0.5 + np.arange(len(y)) % 3}
    compare(exact(), grid, (X, y), weight, scoring="neg_log_loss")
    compare(exact(), {"penalty": ["elasticnet", L2()], "max_iter": [400, 500]}, (X, y))


def test_categories():
    X, y = multi()
    compare(exact(categories=[0, 1, 2]), {"C": [0.1, 1.0]}, (X, y))
    compare(exact(), {"C": [1.0], "categories": [[2, 1, 0]]}, (X, y), batched=False)


def test_a_fold_without_a_class_is_fitted_individually():
    X, y = multi()
    order = np.argsort(y, kind="stable")
    compare(exact(), {"C": [1.0]}, (X[order], y[order]), batched=False, cv=KFold(3))
