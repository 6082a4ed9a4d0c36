"""What a batched search shares, and what it leaves to ordinary fits."""

import numpy as np
import pytest
import torch
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, ParameterGrid
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skorch_logreg import BatchedGridSearchCV, MultiLabel, TorchLogisticClassifier
from skorch_logreg.inputs import problem
from tests.estimators.data import binary, multi
from tests.estimators.search.test_search import CS, assert_same_search, compare, exact


class Counted(TransformerMixin, BaseEstimator):
    """Counts its fits and the rows that it transforms."""

    fits = 0

    def __init__(self, power=1):
        self.power = power

    def fit(self, X, y=None):
        type(self).fits += 1
        return self

    def transform(self, X):
        return X**self.power


@pytest.fixture
def transformer():
    Counted.fits = 0
    return Counted()


def test_all_folds_are_one_solve(solves):
    X, y = binary()
    grid = {"C": [0.1, 1.0, 2.0], "class_weight": [None, "balanced"], "threshold": [0.3, 0.5]}
    search = BatchedGridSearchCV(TorchLogisticClassifier(), grid, cv=4, refit=False)
    search.fit(X, y)
    assert solves == [4 * 6]
    solves.clear()
    search.set_params(refit=True).fit(X, y)
    assert solves == [4 * 6, 1]


def test_a_solve_a_penalty(solves):
    grid = {"C": [0.1, 1.0], "l1_ratio": [0, 0.5], "penalty_factor": [None, [1, 2, 3, 0]]}
    BatchedGridSearchCV(exact(), grid, cv=3, refit=False).fit(*binary())
    assert solves == [6, 6, 6, 6]


def test_a_transformer_is_fitted_once_a_fold_and_setting(transformer, solves):
    pipeline = Pipeline([("power", transformer), ("scale", StandardScaler()), ("clf", exact())])
    grid = {"power__power": [1, 3], "clf__C": [0.1, 1.0, 2.0], "clf__threshold": [0.4, 0.5]}
    search = BatchedGridSearchCV(pipeline, grid, cv=4).fit(*binary())
    assert search.batched_.all()
    assert Counted.fits == 4 * 2 + 1
    assert solves == [3] * 8 + [1]


@pytest.mark.parametrize("models", [1, 2, 3, 4, 7, 100])
def test_a_budget_of_memory_cuts_the_batch(models, solves, monkeypatch):
    X, y = binary(8000)
    expected = BatchedGridSearchCV(exact(), CS, cv=3, scoring="neg_log_loss").fit(X, y)
    monkeypatch.setattr(problem, "models_at_once", lambda *args, **options: models)
    solves.clear()
    got = BatchedGridSearchCV(exact(), CS, cv=3, scoring="neg_log_loss").fit(X, y)
    assert sum(solves) == 9 + 1
    assert max(solves) <= models
    assert got.batched_.all()
    assert_same_search(got, expected)


class Sub(TorchLogisticClassifier):
    """Might fit otherwise."""


class SubPipeline(Pipeline):
    """Might transform otherwise."""


ORDINARY = {
    "pipeline subclass": (SubPipeline([("clf", exact())]), {"clf__C": [0.1, 1.0]}),
    "subclass": (Sub(tol=1e-10), CS),
    "verbose": (exact(), {"C": [0.1, 1.0], "verbose": [1]}),
    "negative": (exact(), {"C": [0.1, 1.0], "tol": [-1.0]}),
    "not a class": (exact(class_weight={7: 1.0}), CS),
    "weightless": (exact(class_weight={1: 0.0}), CS),
    "wide factor": (exact(penalty_factor=[1.0, 2.0]), CS),
    "no such parameter": (exact(), {"no": [1, 2]}),
    "solver and penalty": (exact(solver="lbfgs"), {"l1_ratio": [1.0], "C": [0.1, 1.0]}),
    "device": (exact(device="nowhere"), CS),
    "another": (LogisticRegression(), CS),
    "another last step": (make_pipeline(StandardScaler(), LogisticRegression()), {}),
    "label set": (MultiLabel(exact()), {"threshold": [2.0, -1.0]}),
}


# both searches warn of the candidates that are meant to fail; what is compared is the outcome
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", ORDINARY)
def test_unusual_candidates_are_fitted_one_by_one(case, capsys):
    estimator, grid = ORDINARY[case]
    outcomes = []
    for search in (GridSearchCV, BatchedGridSearchCV):
        model = search(estimator, grid, cv=2)
        try:
            outcomes.append(model.fit(*binary()))
        except ValueError as error:
            outcomes.append(str(error).splitlines()[-2:])
    if isinstance(outcomes[0], list):
        assert outcomes[1] == outcomes[0]
    else:
        assert_same_search(outcomes[1], outcomes[0], atol=1e-12)
        assert not outcomes[1].batched_.any()


def test_ordinary_fits_have_their_weights():
    X, y = binary()
    weight = np.random.default_rng(0).uniform(0, 2, len(y))
    watched = {"C": [0.1, 1.0], "verbose": [1]}
    compare(exact(), watched, (X, y), {"sample_weight": weight}, batched=False)


@pytest.mark.parametrize("grid", [{"threshold": [0.4]}, {"solver": ["liblinear"]}], ids=str)
def test_three_classes_are_refused_as_ever(grid):
    with pytest.raises(ValueError, match="All the 2 fits failed"):
        BatchedGridSearchCV(exact(), grid, cv=2).fit(*multi())


def test_unusual_candidates_do_not_hinder_others(solves):
    grid = [{"C": [0.1, 1.0]}, {"C": [0.5], "verbose": [1]}, {"C": [-1.0]}]
    search = BatchedGridSearchCV(exact(), grid, cv=3, refit=False, error_score=0.0)
    with pytest.warns(FitFailedWarning):
        search.fit(*binary())
    np.testing.assert_array_equal(search.batched_, [True, True, False, False])
    assert solves == [6, 1, 1, 1]  # -1 fails before
    assert list(search.cv_results_["params"]) == list(ParameterGrid(grid))


# folds that lack a class make the splitter, the fits and the scorers warn, in both searches alike
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("alone", [True, False])
def test_a_fold_without_a_class_is_fitted_as_such(alone):
    X, y = multi()
    order = np.argsort(y, kind="stable")
    model = exact() if alone else Pipeline([("scale", StandardScaler()), ("clf", exact())])
    grid = CS if alone else {"clf__C": [0.1, 1.0]}
    compare(model, grid, (X[order], y[order]), cv=KFold(3), batched=False)
    rows = np.r_[np.flatnonzero(y == 0)[:40], np.flatnonzero(y == 1)[:40]]
    with pytest.raises(ValueError, match="needs samples of at least 2 classes"):
        BatchedGridSearchCV(model, grid, cv=KFold(2)).fit(X[rows], y[rows])
    with pytest.raises(ValueError, match="needs samples of at least 2 classes"):
        BatchedGridSearchCV(model, grid, cv=KFold(2)).fit(X, np.zeros_like(y))


@pytest.mark.parametrize("broken", ["fit", "transform"])
def test_a_transformer_that_fails(broken, transformer, monkeypatch):
    def fail(self, X, y=None):
        if self.power == 3:
            raise RuntimeError("no")
        return self if broken == "fit" else X

    monkeypatch.setattr(Counted, broken, fail)
    pipeline = Pipeline([("power", transformer), ("clf", exact())])
    grid = {"power__power": [1, 3], "clf__C": [0.1, 1.0]}
    with pytest.warns():
        got = BatchedGridSearchCV(pipeline, grid, cv=3).fit(*binary())
    np.testing.assert_array_equal(
        got.batched_, [p["power__power"] == 1 for p in ParameterGrid(grid)]
    )


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("grid", [CS, {"C": [0.1, 1.0], "class_weight": ["balanced"]}], ids=str)
def test_the_refit_is_the_fit_of_the_best(small, grid):
    X, y = multi(150 if small else 5000)
    weight = np.random.default_rng(0).uniform(0, 2, len(y))
    search = BatchedGridSearchCV(exact(warm_start=False), grid, cv=3)
    search.fit(X, y, sample_weight=weight)
    best, alone = search.best_estimator_, exact(**search.best_params_).fit(X, y, weight)
    assert vars(best).keys() == vars(alone).keys()
    assert best.get_params() == alone.get_params()
    assert best.converged_
    assert best.optimality_ <= 1e-10
    for name in ("coef_", "intercept_", "classes_", "n_iter_"):
        got, expected = getattr(best, name), getattr(alone, name)
        assert got.dtype == expected.dtype
        assert got.shape == expected.shape
        assert got.flags.writeable
        if name != "n_iter_":
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-7)
    if not small:
        assert best.n_iter_[0] < alone.n_iter_[0]


def test_other_array_libraries_are_searched_as_scikit_learn_does():
    X, y = binary()
    with config_context(array_api_dispatch=True):
        search = BatchedGridSearchCV(exact(), CS, cv=3)
        search.fit(torch.from_numpy(X.copy()), torch.from_numpy(y.copy()))
        assert isinstance(search.best_estimator_.coef_, torch.Tensor)
        assert not search.batched_.any()
