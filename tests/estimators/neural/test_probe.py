"""Searches over the head of a frozen network: one batch, the scores of ordinary fits."""

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from skorch_logreg import BatchedGridSearchCV, NeuralLogisticClassifier
from skorch_logreg.solvers import Adam
from tests.estimators.data import binary, multi

# with less C balanced classes are tied, and rounding would predict
GRID = {"C": [0.1, 1.0], "class_weight": [None, "balanced"]}


def probe(**parameters):
    return NeuralLogisticClassifier((6,), freeze_backbone=True, tol=1e-9, **parameters)


@pytest.mark.parametrize("data", [binary, multi])
@pytest.mark.parametrize("piped", [False, True])
@pytest.mark.parametrize("scoring", ["neg_log_loss", "f1_macro"])
def test_08_a_batch_finds_what_ordinary_fits_find(data, piped, scoring):
    X, y = data()
    model, grid = probe(l1_ratio=0.3), GRID
    if piped:
        model = make_pipeline(StandardScaler(), model)
        grid = {f"neurallogisticclassifier__{name}": values for name, values in GRID.items()}
    ours = BatchedGridSearchCV(model, grid, cv=3, scoring=scoring).fit(X, y)
    theirs = GridSearchCV(model, grid, cv=3, scoring=scoring).fit(X, y)
    assert ours.batched_.all()
    for name in ("mean_test_score", "split2_test_score"):
        np.testing.assert_allclose(ours.cv_results_[name], theirs.cv_results_[name], atol=1e-7)
    assert type(ours.best_estimator_) is type(theirs.best_estimator_)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6)


def test_features_are_computed_once_for_all_folds():
    X, y = binary()
    rows = []

    class Counting(nn.Linear):
        def forward(self, X):
            rows.append(len(X))
            return super().forward(X)

    model = NeuralLogisticClassifier(module=Counting(4, 5), freeze_backbone=True)
    BatchedGridSearchCV(model, {"C": [0.1, 1.0, 10.0]}, cv=5, refit=False).fit(X, y)
    assert sum(rows) <= len(y) + 4  # and a trial of a few


@pytest.mark.parametrize(
    "model",
    [
        NeuralLogisticClassifier((4,), solver=Adam(epochs=2, learning_rate=0.1)),
        probe(solver=Adam(epochs=2, finish="exact")),
        probe(random_state=np.random.RandomState(0)),
        probe(label_smoothing=0.1),
    ],
)
def test_what_folds_do_not_share_is_fitted_fold_by_fold(model):
    search = BatchedGridSearchCV(model, {"C": [0.1, 1.0]}, cv=2).fit(*binary())
    assert not search.batched_.any()


def test_a_scorer_that_looks_into_the_model_gets_the_model():
    def scorer(estimator, X, y):
        assert isinstance(estimator.module_.backbone, nn.Module)
        return estimator.score(X, y)

    search = BatchedGridSearchCV(probe(), {"C": [0.1, 1.0]}, cv=2, scoring=scorer).fit(*binary())
    assert not search.batched_.any()
