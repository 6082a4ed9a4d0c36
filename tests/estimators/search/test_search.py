"""Batched searches give what scikit-learn's searches give."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.stats import loguniform
from sklearn import config_context
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import FitFailedWarning, UnsetMetadataPassedError
from sklearn.metrics import accuracy_score, get_scorer, make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    RandomizedSearchCV,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    cross_validate,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from skorch_logreg import (
    BatchedGridSearchCV,
    BatchedRandomizedSearchCV,
    MultiLabel,
    TorchLogisticClassifier,
)
from skorch_logreg.estimators.cached_logits import CachedLogitsClassifier
from skorch_logreg.penalties import L2
from tests.estimators.data import binary, multi

CS = {"C": [0.01, 0.3, 3.0]}


def exact(**parameters):
    return TorchLogisticClassifier(tol=1e-10, **parameters)


def assert_same_search(got, expected, atol=1e-7):
    """Everything that does not depend on the clock."""
    theirs, ours = expected.cv_results_, got.cv_results_
    assert ours.keys() == theirs.keys()
    assert list(ours) == list(theirs)
    for name, column in theirs.items():
        if "_time" in name:
            assert ours[name].shape == column.shape
            assert (ours[name] >= 0).all()
        elif name.startswith(("param", "rank")):
            assert list(map(str, ours[name])) == list(map(str, column)), name
        else:
            np.testing.assert_allclose(ours[name], column, rtol=0, atol=atol, err_msg=name)
    names = ("best_index_", "best_params_", "best_score_", "multimetric_", "n_splits_")
    for name in (*names, "n_features_in_", "feature_names_in_", "classes_"):
        assert hasattr(got, name) == hasattr(expected, name), name
        if not hasattr(expected, name):
            continue
        if name == "best_score_":
            assert got.best_score_ == pytest.approx(expected.best_score_, abs=atol, nan_ok=True)
        else:
            assert str(getattr(got, name)) == str(getattr(expected, name)), name
    if hasattr(expected, "best_estimator_"):
        got, expected = got.best_estimator_, expected.best_estimator_
        assert str(got.get_params()) == str(expected.get_params())
        got, expected = (getattr(e, "steps", [(None, e)])[-1][1] for e in (got, expected))
        for name in {"coef_", "intercept_", "thresholds_"} & vars(expected).keys():
            found = getattr(got, name)
            np.testing.assert_allclose(found, getattr(expected, name), rtol=0, atol=100 * atol)


def compare(estimator, grid, data, fit_params=None, batched=True, atol=1e-7, **parameters):
    """Search both ways."""
    parameters = {"cv": 3} | parameters
    expected = GridSearchCV(estimator, grid, **parameters).fit(*data, **fit_params or {})
    got = BatchedGridSearchCV(estimator, grid, **parameters).fit(*data, **fit_params or {})
    assert_same_search(got, expected, atol)
    np.testing.assert_array_equal(got.batched_, batched)
    return got


def score_of_classes(estimator, X, y):
    """Reads what only a fitted classifier has."""
    assert estimator.coef_.shape[1] == X.shape[1] == estimator.n_features_in_
    assert estimator.optimality_ <= estimator.tol
    return {"share": estimator.score(X, y), "size": -float(np.abs(estimator.coef_).sum())}


SCORINGS = {
    "none": None,
    "log-loss": "neg_log_loss",
    "brier": "neg_brier_score",
    "balanced": "balanced_accuracy",
    "auc": "roc_auc_ovr",
    "f1": "f1_macro",
    "scorer": get_scorer("accuracy"),
    "made": make_scorer(accuracy_score, normalize=False),
    "function": lambda estimator, X, y: estimator.predict_proba(X).max(axis=1).mean(),
    "list": ["accuracy", "neg_log_loss"],
    "dict": {"a": "accuracy", "b": make_scorer(accuracy_score, greater_is_better=False)},
    "several": score_of_classes,
}
REFIT = {"list": "neg_log_loss", "dict": "a", "several": "share"}


@pytest.mark.parametrize("scoring", SCORINGS)
@pytest.mark.parametrize("data", [binary, multi], ids=["binary", "multi"])
def test_every_way_to_score(data, scoring):
    compare(
        exact(),
        CS,
        data(),
        scoring=SCORINGS[scoring],
        refit=REFIT.get(scoring, True),
        return_train_score=True,
    )


def pruned(estimator, X, y):
    """Change the coefficients in place or by assignment, and predict the same rows."""
    estimator.coef_[abs(estimator.coef_) < 0.2] = 0
    estimator.intercept_ = estimator.intercept_ + 1
    return estimator.predict_proba(X)[:, 1].std()


def refitted(estimator, X, y):
    return estimator.fit(X, y).predict_proba(X)[:, 1].std()


def moved(estimator, X, y):
    X += 1.0
    return estimator.predict_proba(X)[:, 1].mean()


@pytest.mark.parametrize("scoring", [pruned, refitted, moved])
def test_scorers_that_change_the_model_or_the_rows(scoring):
    compare(exact(), CS, binary(), scoring=scoring)
    compare(exact(), CS, binary(), scoring={"a": scoring, "b": "neg_log_loss"}, refit="b")


@pytest.mark.parametrize("scoring", ["roc_auc", "average_precision"])
def test_rows_of_equal_active_columns_have_equal_ranks(scoring):
    """Without coefficients all rows are equal, and with one of a binary column two groups."""
    X, y = binary()
    X = np.column_stack([X[:, 0] > 0, X[:, 1:]])
    grid = {"C": [1e-4, 2e-4, 5e-4, 0.02, 0.03, 10.0]}
    compare(exact(l1_ratio=1.0), grid, (X, y), scoring=scoring)


@pytest.mark.parametrize("scoring", [None, "f1", "neg_log_loss"])
def test_only_empty_test_folds(scoring):
    X, y = binary()
    search = BatchedGridSearchCV(
        TorchLogisticClassifier(), CS, cv=[(np.arange(len(y)), np.arange(0))], scoring=scoring
    )
    with pytest.warns(UserWarning, match="Scoring failed|non-finite"):
        search.fit(X, y)
    assert np.isnan(search.cv_results_["mean_test_score"]).all()


def test_weights_that_the_score_of_a_pipeline_has_not_requested_are_refused():
    X, y = binary()
    step = TorchLogisticClassifier
    with config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        final = step().set_fit_request(sample_weight=True)
        search = BatchedGridSearchCV(
            make_pipeline(scaler, final), {f"{step.__name__.lower()}__C": [1]}
        )
        with pytest.raises(UnsetMetadataPassedError, match="TorchLogisticClassifier.score"):
            search.fit(X, y, sample_weight=np.ones(len(y)))


FAST = {
    "none": None,
    "scorer": get_scorer("roc_auc"),
    "several": ["accuracy", "balanced_accuracy", "neg_brier_score", "neg_log_loss"],
}


@pytest.mark.parametrize("scoring", FAST)
def test_known_metrics_are_computed_for_all_at_once(scoring, monkeypatch):
    monkeypatch.setattr(CachedLogitsClassifier, "of", None)
    refit = "accuracy" if scoring == "several" else True
    grid = CS | {"threshold": [0.4, 0.5]}
    compare(exact(), grid, binary(), scoring=FAST[scoring], refit=refit)


@pytest.mark.parametrize("scoring", ["neg_log_loss", "balanced_accuracy", "roc_auc"])
def test_held_out_rows_of_one_class(scoring):
    X, y = binary()
    one = np.flatnonzero(y == 1)[:20]
    cv = [(np.setdiff1d(np.arange(len(y)), one), one), (np.arange(80), np.arange(80, 120))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        compare(exact(), CS, (X, y), cv=cv, scoring=scoring, error_score=-1.0)


CONTAINERS = {
    "csr": sp.csr_array,
    "csc": sp.csc_matrix,
    "f-order": np.asfortranarray,
    "list": lambda X: X.tolist(),
    "frame": lambda X: pd.DataFrame(X, columns=list("abcd")),
    "float32": lambda X: X.astype(np.float32),
    "float32-csr": lambda X: sp.csr_array(X.astype(np.float32)),
    "int": lambda X: (10 * X).astype(int),
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("data", [binary, multi], ids=["binary", "multi"])
def test_every_container(data, container):
    X, y = data()
    X = CONTAINERS[container](X)
    atol = 1e-6 if container.startswith("float32") else 1e-7
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # float32: the fits alone cannot reach 1e-10 either
        got = compare(exact(), CS, (X, y), scoring="neg_log_loss", atol=atol)
    assert got.best_estimator_.coef_.dtype == ("float32" if "float32" in container else "float64")


def test_float32_probabilities_are_clipped_as_such():
    X, y = binary()
    X = X.astype(np.float32)
    X[0] *= 100 * (1 - 2 * y[0]) * np.sign(X[0]) * [1, -1, 0, 0]  # certain, and wrong
    got = compare(TorchLogisticClassifier(tol=1e-6), CS, (X, y), scoring="neg_log_loss", atol=1e-5)
    assert got.cv_results_["split0_test_score"].min() < np.log(np.finfo("float32").eps) / 40


@pytest.mark.parametrize("labels", [["no", "yes"], [False, True], [3, -1], [1.0, 0.0]], ids=str)
@pytest.mark.parametrize("scoring", [None, "neg_log_loss", "roc_auc", "f1_macro"])
def test_labels_of_any_kind(labels, scoring):
    X, y = binary()
    compare(exact(), CS, (X, np.array(labels)[y]), scoring=scoring)
    frame = pd.DataFrame(X, index=range(7, 7 + len(y)))
    compare(exact(), CS, (frame, pd.Series(np.array(labels)[y], index=frame.index)))


GRIDS = {
    "C": {"C": [1e-3, 1, np.float32(10), np.inf]},
    "l1_ratio": {"C": [0.05, 0.2], "l1_ratio": [0, 0.5, 1.0]},
    "class_weight": {"class_weight": [None, "balanced", {0: 3.0}, {1: 0.2, 0: 2}], "C": [0.1, 1]},
    "factor": {"penalty_factor": [None, [1, 0, 2, 1], np.ones(4)], "C": [0.1], "l1_ratio": [0, 1]},
    "shared": {"C": [0.1, 1.0], "fit_intercept": [True, False]},
    "liblinear": {"C": [0.1, 1.0], "solver": ["liblinear"], "intercept_scaling": [1, 3.0]},
    "list": [{"C": [0.1, 1.0]}, {"l1_ratio": [1], "C": [0.3], "tol": [1e-9]}, {}],
}


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("data", [binary, multi], ids=["binary", "multi"])
def test_every_parameter_that_varies(data, grid):
    if grid == "liblinear" and data is multi:
        pytest.skip("liblinear is for two classes")
    compare(exact(), GRIDS[grid], data(), scoring="neg_log_loss", return_train_score=True)


@pytest.mark.parametrize("scoring", [None, "f1", ["accuracy", "balanced_accuracy", "roc_auc"]])
def test_thresholds(scoring):
    grid = {"threshold": [0.2, 0.5, 0.7], "C": [0.1, 1.0]}
    refit = scoring if scoring == "f1" else scoring is None or "balanced_accuracy"
    compare(exact(), grid, binary(), scoring=scoring, refit=refit, return_train_score=True)


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg", "newton-cholesky", "saga"])
def test_solvers_are_shared_parameters(solver):
    compare(exact(solver=solver), CS, binary(), scoring="neg_log_loss")


SPLITTERS = {
    "int": 4,
    "shuffled": KFold(3, shuffle=True, random_state=0),
    "holdout": ShuffleSplit(1, test_size=0.3, random_state=0),
    "overlapping": ShuffleSplit(3, test_size=0.5, random_state=0),
    "repeated": RepeatedStratifiedKFold(n_splits=2, n_repeats=2, random_state=0),
    "iterable": [(np.arange(80), np.arange(80, 120)), (list(range(40, 120)), list(range(40)))],
    "masks": [(np.arange(120) < 80, np.arange(120) >= 80)],
    "repeats": [
        (np.r_[0:60, 0:30], np.r_[60:120, 60, 60]),
        (np.arange(100), np.array([-1, -2, -7])),
    ],
}


@pytest.mark.parametrize("scoring", ["neg_log_loss", "f1"])
@pytest.mark.parametrize("cv", SPLITTERS)
def test_every_splitter(cv, scoring):
    got = compare(exact(), CS, binary(), cv=SPLITTERS[cv], scoring=scoring)
    assert "mean_train_score" not in got.cv_results_


@pytest.mark.parametrize("scoring", [None, "f1", ["neg_log_loss", "accuracy"]])
def test_weights_and_groups(scoring):
    X, y = binary()
    rng = np.random.default_rng(0)
    weight = rng.uniform(0, 2, len(y)).round(1)
    groups = rng.integers(0, 6, len(y))
    compare(
        exact(class_weight="balanced"),
        CS,
        (X, y),
        {"sample_weight": weight, "groups": groups},
        cv=GroupKFold(3),
        scoring=scoring,
        refit="accuracy" if isinstance(scoring, list) else True,
    )


@pytest.mark.parametrize("scoring", [None, "neg_log_loss", "f1"])
@pytest.mark.parametrize("in_pipeline", [False, True])
def test_metadata_routing(scoring, in_pipeline):
    X, y = binary()
    rng = np.random.default_rng(0)
    weight, groups = rng.uniform(0, 2, len(y)), rng.integers(0, 6, len(y))
    with config_context(enable_metadata_routing=True):
        model = exact().set_fit_request(sample_weight=True)
        model.set_score_request(sample_weight=True)
        if scoring:
            scoring = get_scorer(scoring).set_score_request(sample_weight=True)
        grid = CS
        if in_pipeline:
            model = make_pipeline(StandardScaler().set_fit_request(sample_weight=True), model)
            grid = {"torchlogisticclassifier__C": [0.1, 1.0]}
        fit_params = {"sample_weight": weight, "groups": groups}
        compare(model, grid, (X, y), fit_params, cv=GroupKFold(3), scoring=scoring)


PIPELINES = {
    "scaler": (make_pipeline(StandardScaler(), exact()), {"torchlogisticclassifier__C": [0.1, 1]}),
    "setting": (
        Pipeline([("scale", StandardScaler()), ("pca", PCA()), ("clf", exact())]),
        {
            "pca__n_components": [1, 3],
            "clf__C": [0.1, 1.0],
            "clf__class_weight": [None, "balanced"],
        },
    ),
    "step": (
        Pipeline([("scale", None), ("clf", exact())]),
        {"scale": ["passthrough", StandardScaler(), MinMaxScaler()], "clf__C": [0.1, 1.0]},
    ),
    "last": (
        Pipeline([("scale", StandardScaler()), ("clf", "passthrough")]),
        {"clf": [exact(), exact(l1_ratio=1)], "clf__C": [0.1, 1.0]},
    ),
    "alone": (Pipeline([("clf", exact())]), {"clf__C": [0.1, 1.0], "clf__fit_intercept": [False]}),
    "liblinear": (
        make_pipeline(StandardScaler(), exact(solver="liblinear")),
        {"torchlogisticclassifier__C": [0.1, 1]},
    ),
}


@pytest.mark.parametrize("scoring", ["neg_log_loss", "f1_macro"])
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_pipelines(pipeline, scoring):
    data = binary() if pipeline in ("liblinear", "last") else multi()
    compare(*PIPELINES[pipeline], data, scoring=scoring, return_train_score=True)


class CrossFitted(StandardScaler):
    """As an encoder of targets, whose `fit_transform` gives other rows than `transform`."""

    def fit_transform(self, X, y=None):
        return self.fit(X).transform(X)[::-1] + [[0.5, 0, 0, 0]]


@pytest.mark.parametrize("scoring", ["neg_log_loss", "accuracy", "f1_macro"])
def test_train_scores_are_those_of_transformed_rows(scoring):
    pipeline = make_pipeline(CrossFitted(), exact())
    grid = {"torchlogisticclassifier__C": [0.1, 1]}
    compare(pipeline, grid, binary(), scoring=scoring, return_train_score=True)


def test_a_scorer_may_look_into_the_pipeline():
    def scoring(pipeline, X, y):
        assert list(X.columns) == list("abcd")
        return pipeline[:-1].transform(X).mean() + pipeline.score(X, y) + pipeline[-1].coef_.sum()

    X, y = binary()
    X = pd.DataFrame(X, columns=list("abcd"))
    compare(*PIPELINES["scaler"], (X, y), scoring=scoring, return_train_score=True)


def test_a_weighted_pipeline_that_is_cached(tmp_path):
    pipeline, grid = PIPELINES["setting"]
    weight = np.random.default_rng(0).uniform(0, 2, 120)
    fit_params = {"clf__sample_weight": weight, "scale__sample_weight": weight}
    compare(clone(pipeline).set_params(memory=str(tmp_path)), grid, binary(), fit_params)


@pytest.mark.parametrize(
    "refit", [False, "neg_log_loss", lambda results: 1], ids=["no", "by-name", "callable"]
)
def test_refit(refit):
    scoring = ["neg_log_loss", "accuracy"]
    got = compare(exact(), CS, binary(), scoring=scoring, refit=refit)
    assert hasattr(got, "best_estimator_") == bool(refit)
    assert hasattr(got, "refit_time_") == bool(refit)
    if refit:
        assert got.best_estimator_.warm_start is False
        X, y = binary()
        np.testing.assert_array_equal(got.predict(X), got.best_estimator_.predict(X))
    if isinstance(refit, str):
        X, y = binary()
        assert got.score(X, y) == get_scorer(refit)(got.best_estimator_, X, y)


def test_randomized_search():
    parameters = {"n_iter": 6, "random_state": 3, "cv": 3, "scoring": "neg_log_loss"}
    space = {"C": loguniform(1e-3, 1e3), "l1_ratio": [0, 0.5], "class_weight": [None, "balanced"]}
    expected = RandomizedSearchCV(exact(), space, **parameters).fit(*binary())
    got = BatchedRandomizedSearchCV(exact(), space, **parameters).fit(*binary())
    assert_same_search(got, expected)
    assert got.batched_.all()


def test_a_search_travels_and_nests():
    X, y = binary()
    search = BatchedGridSearchCV(exact(), CS, cv=3, scoring="neg_log_loss")
    plain = GridSearchCV(exact(), CS, cv=3, scoring="neg_log_loss")
    got, expected = (cross_validate(s, X, y, cv=3)["test_score"] for s in (search, plain))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-7)
    assert clone(search.fit(X, y)).get_params().keys() == plain.get_params().keys()
    assert not hasattr(clone(search), "batched_")
    again = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(again.predict_proba(X), search.predict_proba(X))
    assert_same_search(again, search, atol=0)


def test_failures_are_scikit_learns():
    grid = {"C": [0.1, -1.0, 1.0], "threshold": [0.5, 2.0]}
    texts = []
    for search in (GridSearchCV, BatchedGridSearchCV):
        with pytest.warns() as caught:
            model = search(exact(), grid, cv=3, error_score=-7.0).fit(*binary())
        texts.append([str(w.message) for w in caught if w.category is FitFailedWarning])
        assert (model.cv_results_["mean_test_score"] == -7).sum() == 4
    assert texts[0] == texts[1]
    np.testing.assert_array_equal(model.batched_, [True, False, False, False, True, False])
    with pytest.raises(ValueError, match="The 'C' parameter of TorchLogisticClassifier must be"):
        BatchedGridSearchCV(exact(), {"C": [-1.0, 1.0]}, error_score="raise").fit(*binary())


def test_labels_with_centers_of_their_own():
    X, y = binary()
    Y = np.column_stack([y, X[:, 1] > 0]).astype(int)
    center = np.zeros((2, X.shape[1]))
    center[0, 0], center[1, 1] = 2.0, -3.0
    model = MultiLabel(TorchLogisticClassifier(penalty=L2(center=center), tol=1e-8))
    compare(model, {"C": [0.01, 0.1]}, (X, Y), batched=False, scoring="accuracy")
