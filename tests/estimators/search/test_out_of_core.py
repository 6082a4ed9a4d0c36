"""Searches of rows that are not in memory give the results of those in memory."""

import re
from functools import partial

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from scipy.stats import loguniform
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import GroupKFold, KFold, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, TensorDataset

from skorch_logreg import (
    BatchedGridSearchCV,
    BatchedRandomizedSearchCV,
    MultiLabel,
    NeuralLogisticClassifier,
    OrdinalLogisticClassifier,
    TorchLogisticClassifier,
    TorchLogisticClassifierCV,
)
from skorch_logreg.data import ArrayChunks
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs import datasets
from skorch_logreg.solvers import SGD
from tests.estimators.data import binary, multi


def chunks(X):
    return ArrayChunks(X, 70)


def blocks(X):
    return pytest.importorskip("dask.array").from_array(X, chunks=(70, 2))


@pytest.fixture(params=[chunks, blocks])
def wrap(request):
    return request.param


def exact(**parameters):
    return TorchLogisticClassifier(tol=1e-9, max_iter=500, **parameters)


def assert_same(found, expected):
    assert found.batched_.all()
    assert found.cv_results_.keys() == expected.cv_results_.keys()
    for name, column in expected.cv_results_.items():
        if name.startswith(("split", "mean_t", "std_t")):
            np.testing.assert_allclose(found.cv_results_[name], column, rtol=0, atol=1e-8)
    for name in ("best_index_", "best_params_", "n_splits_", "multimetric_", "n_features_in_"):
        assert getattr(found, name, None) == getattr(expected, name, None), name
    assert getattr(found, "best_score_", 0) == pytest.approx(getattr(expected, "best_score_", 0))
    if hasattr(expected, "best_estimator_"):
        found, expected = vars(found.best_estimator_), vars(expected.best_estimator_)
        for name in {"coef_", "intercept_", "thresholds_"} & expected.keys():
            np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-8)


def search_both(search, wrapped, X, y, **params):
    expected = type(search)(**search.get_params(deep=False)).fit(X, y, **params)
    assert_same(search.fit(wrapped, y, **params), expected)
    return search, expected


def most_accurate(results):
    return int(np.argmax(results["mean_test_accuracy"]))


GRID = {"C": [0.1, 2.0], "class_weight": [None, "balanced"]}
SCORING = ["accuracy", "neg_log_loss", "f1_macro"]


@pytest.mark.parametrize(
    ("data", "refit"), [(binary, most_accurate), (multi, "neg_log_loss"), (multi, False)]
)
def test_scores_of_weighted_rows_in_groups(wrap, data, refit):
    X, y = data()
    groups, weight = np.arange(len(y)) // 10, 0.5 + np.arange(len(y)) % 3
    search = BatchedGridSearchCV(
        exact(), GRID, scoring=SCORING, refit=refit, cv=GroupKFold(3), return_train_score=True
    )
    search_both(search, wrap(X), X, y, sample_weight=weight, groups=groups)


@pytest.mark.parametrize("scoring", [None, "roc_auc", make_scorer(accuracy_score, normalize=False)])
def test_thresholds_and_random_candidates(wrap, scoring):
    X, y = binary()
    y = np.array(["no", "yes"])[y]
    candidates = {"C": loguniform(0.01, 10), "threshold": [0.3, 0.5]}
    cv = ShuffleSplit(3, random_state=0)  # whose rows are not in order
    search, expected = search_both(
        BatchedRandomizedSearchCV(
            exact(), candidates, n_iter=4, random_state=0, scoring=scoring, cv=cv
        ),
        wrap(X), X, y,
    )  # fmt: skip
    assert search.score(wrap(X), y) == pytest.approx(expected.score(X, y))


@pytest.mark.filterwarnings("ignore::skorch_logreg.exceptions.ConstantLabelWarning")
@pytest.mark.parametrize(
    ("kind", "scoring"),
    [(np.asarray, "roc_auc_ovr"), (sp.csr_array, None), (sp.csr_array, "f1_micro")],
)
def test_many_labels(wrap, kind, scoring):
    X, y = binary()
    constant = np.ones(len(y)) if scoring is None else y
    Y = kind(np.c_[y, X[:, 0] > 0.2, constant, X[:, 1] < X[:, 2]].astype(int))
    known = np.random.default_rng(0).random(Y.shape) < 0.9
    grid = {"estimator__C": [0.1, 1.0], "class_weight": [None, "balanced"], "threshold": [0.4, 0.5]}
    search = BatchedGridSearchCV(
        MultiLabel(exact()), grid, scoring=scoring, cv=KFold(3), return_train_score=True
    )
    search, expected = search_both(search, wrap(X), X, Y, label_mask=known)
    assert search.score(wrap(X), Y) == pytest.approx(expected.score(X, Y))


@pytest.mark.parametrize("data", [binary, multi])
def test_ordered_classes(wrap, data):
    X, y = data()
    model = OrdinalLogisticClassifier(tol=1e-9, max_iter=500)
    search = BatchedGridSearchCV(model, GRID, scoring=SCORING, refit="accuracy", cv=3)
    search, expected = search_both(search, wrap(X), X, y)
    assert search.score(wrap(X), y) == pytest.approx(expected.score(X, y))


@pytest.mark.parametrize(("data", "budget"), [(binary, None), (multi, 100_000)])
def test_one_column_of_classes_as_labels(wrap, data, budget):
    X, y = data()
    model = MultiLabel(exact(), memory_budget=budget)
    search = BatchedGridSearchCV(model, {"C": [0.1, 1.0]}, scoring=SCORING, refit="accuracy", cv=3)
    search_both(search, wrap(X), X, y)


@pytest.mark.parametrize(
    ("make", "in_memory"), [(lambda rows: rows, True), (partial(DataLoader, batch_size=32), False)]
)
def test_data_sets_of_torch(make, in_memory, monkeypatch):
    X, y = binary()
    weight = 0.5 + np.arange(len(y)) % 3
    rows = make(TensorDataset(*(torch.tensor(array) for array in (X, y, weight))))
    grid = {"C": [0.1, 2.0], "l1_ratio": [0.0, 0.5]}
    search = BatchedGridSearchCV(exact(), grid, scoring="neg_log_loss", cv=3)
    expected = BatchedGridSearchCV(**search.get_params(deep=False))
    expected.fit(X, y, sample_weight=weight)
    if not in_memory:
        read = partial(datasets.read, max_memory_bytes=100, chunk_bytes=40 * 32)
        monkeypatch.setattr(datasets, "read", read)
    assert_same(search.fit(rows), expected)
    with pytest.raises(ParameterError, match="y is given in addition to a data set"):
        search.fit(rows, y)


def test_a_dask_frame_has_names_and_unknown_lengths():
    dataframe = pytest.importorskip("dask.dataframe")
    X, y = binary()
    frame = pd.DataFrame(X, columns=list("abcd"))
    both = dataframe.from_pandas(frame.assign(y=y, weight=0.5 + y), npartitions=3)
    search = BatchedGridSearchCV(exact(), {"C": [0.1, 1.0]}, cv=KFold(3))
    search.fit(both[list("abcd")], both["y"], sample_weight=both["weight"])
    expected = BatchedGridSearchCV(**search.get_params(deep=False))
    assert_same(search, expected.fit(frame, y, sample_weight=0.5 + y))
    assert search.feature_names_in_.tolist() == list("abcd")
    assert search.score(both[list("abcd")], both["y"]) == expected.score(frame, y)


def test_temporary_files_are_removed(tmp_path):
    X, y = binary()
    rows = ArrayChunks(X, 50, scratch=tmp_path)
    search_both(BatchedGridSearchCV(exact(), {"C": [0.1, 1.0]}), rows, X, y)
    assert not list(tmp_path.iterdir())


REFUSED = {
    "pipeline": (make_pipeline(StandardScaler(), exact()), {}, {}, "estimator=Pipeline"),
    "network": (NeuralLogisticClassifier(), {}, {}, "estimator=NeuralLogisticClassifier()"),
    "scikit-learn's": (LogisticRegression(), {}, {}, "estimator=LogisticRegression()"),
    "callable": (exact(), {}, {"scoring": lambda model, X, y: 0.0}, "scoring=<function"),
    "mini-batches": (exact(), {"solver": ["auto", SGD()]}, {}, "solver=SGD()"),
    "another estimator": (
        *(MultiLabel(exact()), {"estimator": [exact(), TorchLogisticClassifierCV()]}, {}),
        "estimator=TorchLogisticClassifierCV()",
    ),
    "smoothing": (exact(), {"label_smoothing": [0.0, 0.1]}, {}, "label_smoothing=0.1"),
    "liblinear": (exact(), {"solver": ["auto", "liblinear"]}, {}, "solver='liblinear' needs rows"),
    "labels": (MultiLabel(exact(solver="liblinear")), {}, {}, "solver='liblinear' needs rows"),
    "unsorted": (
        *(OrdinalLogisticClassifier(categories=[1, 0]), {}, {}),
        "categories=[1, 0] are not sorted",
    ),
    "verbose": (exact(verbose=1), {}, {}, "verbose=1"),
    "cross-validated": (
        *(MultiLabel(TorchLogisticClassifierCV()), {}, {}),
        "estimator=TorchLogisticClassifierCV()",
    ),
    "absent class": (exact(), {}, {"cv": KFold(2)}, "A fold lacks a class"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_needs_rows_in_memory_is_refused_before_any_fit(wrap, case, solves):
    estimator, grid, options, message = REFUSED[case]
    X, y = binary()
    if case == "absent class":
        X, y = X[np.argsort(y)], np.sort(y)
    search = BatchedGridSearchCV(estimator, grid, **options)
    with pytest.raises(ParameterError, match=re.escape(message)):
        search.fit(wrap(X), y)
    assert not solves
    assert not hasattr(search, "cv_results_")


def test_labels_are_required(wrap):
    with pytest.raises(ValueError, match="pass the labels of all rows as y"):
        BatchedGridSearchCV(exact(), {"C": [1.0]}).fit(wrap(binary()[0]))


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
@pytest.mark.parametrize(
    "wrong", [{"C": [-1.0]}, {"solver": ["lbfgs"], "l1_ratio": [0.5]}, {"penalty_factor": [[1.0]]}]
)
def test_a_candidate_that_fails_has_the_error_score(wrap, wrong):
    X, y = binary()
    grid = [{"C": [0.1, 1.0]}, wrong]
    search = BatchedGridSearchCV(exact(), grid, cv=3, scoring=SCORING, refit="accuracy")
    with pytest.warns(FitFailedWarning, match="3 fits failed out of a total of 9"):
        expected = BatchedGridSearchCV(**search.get_params(deep=False)).fit(X, y)
    with pytest.warns(FitFailedWarning, match="3 fits failed out of a total of 9"):
        search.fit(wrap(X), y)
    np.testing.assert_array_equal(search.batched_, [True, True, False])
    for name in ("split0_test_accuracy", "mean_test_f1_macro"):
        np.testing.assert_allclose(search.cv_results_[name], expected.cv_results_[name])
    search.set_params(error_score="raise", param_grid=wrong)
    with pytest.raises(ValueError) as theirs:  # noqa: PT011  (the error in memory, whichever it is)
        search.fit(X, y)
    with pytest.raises(type(theirs.value), match=re.escape(str(theirs.value))):
        search.fit(wrap(X), y)


def test_rows_that_cannot_be_read_leave_no_results():
    class Broken(ArrayChunks):
        def chunk(self, index):
            if index == 1:
                raise OSError("no such block")
            return super().chunk(index)

    X, y = binary()
    search = BatchedGridSearchCV(exact(), {"C": [0.1, 1.0]})
    with pytest.raises(
        ValueError, match=r"10 fits failed with the following error(.|\n)*no such block"
    ):
        search.fit(Broken(X, 50), y)
    assert not hasattr(search, "cv_results_")
