"""What a batched search says while it works, and what it leaves behind."""

import time
import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV, KFold, ParameterGrid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skorch_logreg import BatchedGridSearchCV, MultiLabel, TorchLogisticClassifier, fitting
from tests.estimators.data import assert_same_state, binary, multi, state
from tests.estimators.search.test_search import CS, assert_same_search, exact


def test_one_warning_for_all_fits():
    search = BatchedGridSearchCV(
        TorchLogisticClassifier(max_iter=1, tol=1e-9), CS, cv=3, refit=False
    )
    with pytest.warns(ConvergenceWarning) as caught:
        search.fit(*binary())
    (warning,) = caught
    assert warning.filename == __file__
    assert str(warning.message).startswith("9 of 9 fits of the search failed to converge.")
    assert "max_iter was reached" in str(warning.message)


@pytest.mark.parametrize("alone", [True, False])
def test_fits_that_are_made_again_do_not_warn_twice(alone):
    X, y = multi()
    order = np.r_[np.flatnonzero(y != 2)[:80], np.flatnonzero(y == 2)[:40]]
    model = exact(max_iter=1)  # and the last fold's training rows lack a class
    model = model if alone else make_pipeline(StandardScaler(), model)
    how = {"cv": KFold(3), "error_score": 0.0, "refit": False}
    counts = []
    for search in (GridSearchCV, BatchedGridSearchCV):
        with pytest.warns() as caught:
            search(model, {}, **how).fit(X[order], y[order])
        counts.append(sum(w.category is ConvergenceWarning for w in caught))
    assert counts == [3, 3]


def test_a_refit_that_does_not_converge_says_so():
    search = BatchedGridSearchCV(TorchLogisticClassifier(max_iter=1, tol=1e-9), CS, cv=3)
    with pytest.warns(ConvergenceWarning) as caught:
        search.fit(*binary())
    assert len(caught) == 2
    assert not search.best_estimator_.converged_
    assert search.best_estimator_.warm_start is False


def test_a_search_that_fails_leaves_the_search_as_it_was():
    X, y = binary()
    search = BatchedGridSearchCV(exact(), CS, cv=3).fit(X, y)
    before = state(search)
    before.pop("scorer_")
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        search.fit(X, y[:-1])

    def interrupted(estimator, X, y):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search.set_params(scoring=interrupted, cv=4).fit(X, y)
    after = state(search)
    after.pop("scorer_")
    assert after.pop("best_estimator_") is before.pop("best_estimator_")
    assert after.pop("cv_results_") is before.pop("cv_results_")
    assert_same_state(after, before)


def test_what_is_switched_on_in_torch_does_not_matter():
    expected = BatchedGridSearchCV(exact(), CS, cv=3, scoring="f1").fit(*binary())
    with torch.inference_mode(), torch.device("meta"):
        got = BatchedGridSearchCV(exact(), CS, cv=3, scoring="f1").fit(*binary())
    assert got.batched_.all()
    assert_same_search(got, expected, atol=0)


def test_what_is_printed(capsys):
    texts = []
    for search in (GridSearchCV, BatchedGridSearchCV):
        for verbose in (1, 2, 3, 10):
            for scoring in ("accuracy", ["accuracy", "roc_auc"]):
                search(
                    exact(),
                    {"C": [0.1, 1.0]},
                    cv=2,
                    scoring=scoring,
                    refit=False,
                    verbose=verbose,
                    return_train_score=verbose == 10,
                ).fit(*binary())
        text = capsys.readouterr().out
        texts.append([line.split("total time")[0].replace(".", "") for line in text.splitlines()])
    assert texts[0] == texts[1]
    assert len(texts[0]) == 2 * (1 + 5 + 5 + 9)


class Recorder:
    """Keeps the tasks that begin and end."""

    def __init__(self):
        self.begun, self.ended = [], []

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context, *, X=None, metadata=None):
        name = type(estimator).__name__.replace("Batched", "")
        weight = None if metadata is None else metadata["sample_weight"].sum()
        rows = None if X is None else X.sum()
        self.begun.append((name, context.task_name, context.task_id, rows, weight))

    def on_fit_task_end(self, estimator, context):
        self.ended.append((type(estimator).__name__, context.task_name, context.task_id))


@pytest.mark.parametrize("grid", [CS, [CS, {"C": [-1.0]}]], ids=["batched", "mixed"])
@pytest.mark.parametrize("refit", [True, False])
def test_callbacks_hear_of_every_fit(refit, grid):
    pytest.importorskip("sklearn.callback")
    X, y = binary()
    heard = []
    for search in (GridSearchCV, BatchedGridSearchCV):
        recorder = Recorder()
        model = search(exact(), grid, cv=2, refit=refit, error_score=0.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FitFailedWarning)
            model.set_callbacks(recorder).fit(X, y, sample_weight=np.arange(len(y)))
        assert len(recorder.begun) == len(recorder.ended)
        heard.append(recorder.begun)
    assert sorted(map(str, heard[0])) == sorted(map(str, heard[1]))


def test_a_progress_bar_comes_to_its_end():
    callback = pytest.importorskip("sklearn.callback")
    search = BatchedGridSearchCV(exact(), CS, cv=2).set_callbacks(callback.ProgressBar())
    assert search.fit(*binary()).batched_.all()


def test_an_estimator_with_callbacks_is_watched():
    pytest.importorskip("sklearn.callback")
    recorder = Recorder()
    estimator = exact().set_callbacks(recorder)
    search = BatchedGridSearchCV(estimator, CS, cv=2, refit=False).fit(*binary())
    assert not search.batched_.any()
    assert sum("iter" in task[1] for task in recorder.begun) > 6


def test_times_are_shared_evenly():
    started = time.perf_counter()
    search = BatchedGridSearchCV(exact(), CS, cv=3).fit(*binary())
    elapsed = time.perf_counter() - started
    results = search.cv_results_
    assert results["mean_fit_time"][0] > 0
    assert 3 * (results["mean_fit_time"] + results["mean_score_time"]).sum() < elapsed
    np.testing.assert_allclose(results["mean_fit_time"], results["mean_fit_time"][0])
    np.testing.assert_allclose(results["std_fit_time"], 0, atol=1e-12)
    assert search.refit_time_ > 0


class TwoSteps(BatchedGridSearchCV):
    """Looks at some candidates first, and on splits of its own."""

    def _run_search(self, evaluate_candidates):
        first = evaluate_candidates(ParameterGrid({"C": [0.1, 1.0]}), more_results={"step": [1, 1]})
        assert len(first["mean_test_score"]) == 2
        evaluate_candidates(
            [{"C": 0.5}, {"C": 0.7, "tol": 1e-9}], cv=KFold(3), more_results={"step": [2, 2]}
        )


def test_a_search_of_ones_own():
    X, y = binary()
    search = TwoSteps(exact(), {}, cv=KFold(3), scoring="neg_log_loss").fit(X, y)
    expected = GridSearchCV(exact(), {"C": [0.1, 1.0, 0.5, 0.7]}, cv=KFold(3))
    expected.set_params(scoring="neg_log_loss").fit(X, y)
    got, scores = search.cv_results_, expected.cv_results_["mean_test_score"]
    np.testing.assert_allclose(got["mean_test_score"], scores, atol=1e-7)
    np.testing.assert_array_equal(got["step"], [1, 1, 2, 2])
    np.testing.assert_array_equal(search.batched_, [True] * 4)
    assert search.best_params_["C"] == expected.best_params_["C"]
    coef = expected.best_estimator_.coef_
    np.testing.assert_allclose(search.best_estimator_.coef_, coef, atol=1e-7)


def test_a_callable_that_gives_several_scores_meets_a_fit_that_fails():
    def scoring(estimator, X, y):
        return {"a": estimator.score(X, y), "b": -estimator.C}

    for search in (GridSearchCV, BatchedGridSearchCV):
        model = search(
            exact(), {"C": [0.1, -1.0]}, cv=2, scoring=scoring, refit="a", error_score=-5
        )
        with pytest.warns(FitFailedWarning):
            model.fit(*binary())
        np.testing.assert_array_equal(model.cv_results_["mean_test_b"], [-0.1, -5])
        assert model.cv_results_["mean_test_a"][1] == -5


class Lies(KFold):
    """Says that it has fewer splits than it has."""

    def get_n_splits(self, X=None, y=None, groups=None):
        return 2


def test_splits_that_are_none_or_not_as_many_as_said():
    with pytest.raises(ValueError, match="inconsistent results. Expected 2 splits, got 3"):
        BatchedGridSearchCV(exact(), CS, cv=Lies(3)).fit(*binary())
    with pytest.raises(ValueError, match="No fits were performed"):
        BatchedGridSearchCV(exact(), CS, cv=[]).fit(*binary())
    beyond = [(np.arange(100), np.array([500]))]
    with pytest.raises(IndexError, match="500"):
        BatchedGridSearchCV(exact(), CS, cv=beyond, error_score="raise").fit(*binary())


def test_a_score_that_fails():
    def scoring(estimator, X, y):
        if estimator.C > 1:
            raise RuntimeError("no")
        return get_scorer("accuracy")(estimator, X, y)

    for search in (GridSearchCV, BatchedGridSearchCV):
        with pytest.warns(UserWarning, match="Scoring failed") as caught:
            model = search(exact(), CS, cv=3, scoring=scoring, error_score=-1.0).fit(*binary())
        assert len(caught) == 3
        assert model.cv_results_["mean_test_score"][2] == -1
        with pytest.raises(RuntimeError, match="no"):
            model.set_params(error_score="raise").fit(*binary())
    assert model.batched_.all()


class _UnexpectedError(Exception):
    """What no part of a search expects."""


def _fail_where(monkeypatch, fails):
    """Let the core's fits of some strengths raise."""
    whole = fitting.fit

    def fit(*args, C, **how):
        if fails(torch.as_tensor(C, dtype=torch.float64).flatten().tolist()):
            raise _UnexpectedError("It cannot be done.")
        return whole(*args, C=C, **how)

    monkeypatch.setattr(fitting, "fit", fit)


@pytest.mark.parametrize("several", ["classifier", "pipeline", "labels"])
def test_a_batch_that_raises_anything_is_fitted_one_by_one(several, monkeypatch):
    """And gives what the batch would have given."""
    X, y = binary()
    final = exact()
    model = {
        "classifier": final,
        "pipeline": make_pipeline(StandardScaler(), final),
        "labels": MultiLabel(final),
    }[several]
    names = {"pipeline": "torchlogisticclassifier__C", "labels": "estimator__C"}
    grid = {names.get(several, "C"): [0.1, 1.0]}
    y = np.stack([y, y[::-1]], axis=1) if several == "labels" else y
    expected = GridSearchCV(model, grid, cv=2).fit(X, y)
    _fail_where(monkeypatch, lambda strengths: len(set(strengths)) > 1)
    got = BatchedGridSearchCV(model, grid, cv=2, error_score=0.0).fit(X, y)
    assert not got.batched_.any()
    assert_same_search(got, expected)


@pytest.mark.parametrize("several", ["classifier", "labels"])
def test_fits_that_fail_in_any_way_count_as_error_score(several, monkeypatch):
    X, y = binary()
    model, name = (
        (exact(), "C") if several == "classifier" else (MultiLabel(exact()), "estimator__C")
    )
    y = np.stack([y, y[::-1]], axis=1) if several == "labels" else y
    _fail_where(monkeypatch, lambda strengths: 0.1 in strengths)
    texts = []
    for search in (GridSearchCV, BatchedGridSearchCV):
        with pytest.warns(FitFailedWarning, match="2 fits failed out of a total of 4") as caught:
            got = search(model, {name: [0.1, 1.0]}, cv=2, error_score=0.0).fit(X, y)
        texts.append([str(w.message) for w in caught])
        assert got.cv_results_["mean_test_score"][0] == 0
        assert got.cv_results_["mean_test_score"][1] > 0
        assert got.best_params_ == {name: 1.0}
    assert "_UnexpectedError: It cannot be done." in texts[1][0]
    assert len(texts[0]) == len(texts[1]) == 1
    with pytest.raises(_UnexpectedError):
        BatchedGridSearchCV(model, {name: [0.1, 1.0]}, cv=2, error_score="raise").fit(X, y)


def test_an_interrupt_of_a_batch_comes_through(monkeypatch):
    def fit(*args, **how):
        raise KeyboardInterrupt

    monkeypatch.setattr(fitting, "fit", fit)
    with pytest.raises(KeyboardInterrupt):
        BatchedGridSearchCV(exact(), CS, cv=2, error_score=0.0).fit(*binary())
