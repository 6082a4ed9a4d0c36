"""Scores of cross-validated fits: any scorer, and the metadata that it asks for."""

import copy
from itertools import permutations

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    get_scorer,
    make_scorer,
)
from sklearn.model_selection import GroupKFold, StratifiedKFold

from skorch_logreg import ParameterError
from skorch_logreg.estimators.cached_logits import CachedLogitsClassifier
from skorch_logreg.estimators.cv.grid import choose
from skorch_logreg.scoring import metric_name
from tests.estimators.cv.comparison import GRID, assert_close, data, ours, sample_weight, sklearns

# ---------------------------------------------------------------- scores


def own(estimator, X, y):
    return float(np.abs(estimator.predict_proba(X)[:, 1] - (y == 1)).mean())


def own_weighted(estimator, X, y, sample_weight=None):
    return accuracy_score(y, estimator.predict(X), sample_weight=sample_weight)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "metric",
    ["accuracy", "balanced_accuracy", "neg_brier_score", "roc_auc", "roc_auc_ovr", "f1_macro",
     "f1_weighted", "precision", "top_k_accuracy", "matthews_corrcoef", "d2_log_loss_score",
     None, own],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Number of classes in 'y_true' not equal")
@pytest.mark.filterwarnings("ignore:'k' .2. greater than or equal to 'n_classes'")
def test_any_scorer(metric, n_classes):
    X, y = data(n_classes, labels=n_classes == 2 and metric in ("f1_macro", "f1_weighted"))
    only_two = metric in ("precision", "roc_auc")
    if n_classes == 3 and only_two:
        with pytest.raises(ValueError, match="multiclass|multi_class"):
            ours(scoring=metric).fit(X, y)
        return
    if (
        metric in ("f1_macro", "f1_weighted") and n_classes == 2
    ):  # scikit-learn passes pos_label twice
        expected = np.empty((3, 1, 3))
        with pytest.raises(TypeError, match="pos_label"):
            sklearns(scoring=metric).fit(X, y)
        reference = sklearns().fit(X, y)
        for fold, (_, test) in enumerate(StratifiedKFold(3).split(X, y)):
            for c in range(3):
                one = copy.deepcopy(reference)
                one.coef_ = reference.coefs_paths_[fold, 0, c, :, :-1]
                one.intercept_ = reference.coefs_paths_[fold, 0, c, :, -1]
                expected[fold, 0, c] = get_scorer(metric)(one, X[test], y[test])
    else:
        expected = sklearns(scoring=metric).fit(X, y).scores_
    model = ours(scoring=metric).fit(X, y)
    assert_close(model.scores_, expected)
    assert model.score(X, y) == (get_scorer(metric) or get_scorer("accuracy"))(model, X, y)


@pytest.mark.parametrize("metric", ["neg_log_loss", "accuracy", "f1_macro", own_weighted, None])
def test_weights_go_to_the_scorer(metric):
    X, y = data(3)
    weight = sample_weight()
    model = ours(scoring=metric).fit(X, y, weight)
    expected = sklearns(scoring=metric).fit(X, y, weight)
    assert_close(model.scores_, expected.scores_)
    assert model.score(X, y, sample_weight=weight) == pytest.approx(
        expected.score(X, y, sample_weight=weight)
    )


def test_string_labels_are_scored_by_the_second():
    X, y = data(2, labels=True)
    for metric in ["neg_brier_score", "roc_auc", "neg_log_loss"]:
        assert_close(
            ours(scoring=metric).fit(X, y).scores_, sklearns(scoring=metric).fit(X, y).scores_
        )


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_scorer_is_told_all_classes(n_classes):
    X, y = data(n_classes, labels=True)
    few = np.flatnonzero(y != "ant")
    cv = [(np.arange(60), np.arange(60, 90)), (np.arange(90), few)]
    brier = make_scorer(
        brier_score_loss,
        greater_is_better=False,
        response_method="predict_proba",
        scale_by_half=False,
    )
    assert metric_name(brier) is None
    for metric in [brier, "neg_log_loss", "neg_brier_score"]:
        model = ours(scoring=metric, cv=cv).fit(X, y)
        assert_close(model.scores_, sklearns(scoring=metric, cv=cv).fit(X, y).scores_)


def test_known_metrics_need_no_estimators(monkeypatch):
    """Neither rows of X nor a model is made for a metric that is a sum over rows."""
    X, y = data(2)
    expected = ours(scoring=make_scorer(lambda y, z: accuracy_score(y, z))).fit(X, y)
    monkeypatch.setattr(CachedLogitsClassifier, "of", None)
    with pytest.raises(TypeError, match="not callable"):
        clone(expected).fit(X, y)
    model = ours(scoring="accuracy").fit(X, y)
    np.testing.assert_allclose(model.scores_, expected.scores_, rtol=1e-12)
    for metric in ["neg_log_loss", get_scorer("neg_log_loss"), "neg_brier_score", "roc_auc", None]:
        ours(scoring=metric).fit(X, y, sample_weight())


def test_threshold_takes_part_in_scores():
    X, y = data(2)
    model = ours(scoring="accuracy", threshold=0.8).fit(X, y)
    slow = ours(scoring=make_scorer(lambda y, z: accuracy_score(y, z)), threshold=0.8).fit(X, y)
    np.testing.assert_allclose(model.scores_, slow.scores_, rtol=1e-12)
    assert (model.scores_ != ours(scoring="accuracy").fit(X, y).scores_).any()
    with pytest.raises(ParameterError, match="threshold=0.8 is for two classes"):
        ours(threshold=0.8).fit(*data(3))


@pytest.mark.parametrize("score", ["good", {"a": 1.0}, np.ones(2), 1j])
def test_a_score_is_a_number(score):
    X, y = data(2)
    with pytest.raises(ValueError, match="scoring must return a number|can only convert an array"):
        ours(scoring=lambda *_: score).fit(X, y)


def test_scores_that_are_not_finite_are_the_worst():
    X, y = data(2)

    def fickle(estimator, X, y):
        return np.nan if estimator.C == 1.0 else estimator.C

    for refit, C in [(True, 10.0), (False, 10.0)]:
        with pytest.warns(UserWarning, match="non-finite"):
            assert ours(scoring=fickle, refit=refit).fit(X, y).C_ == C
    with pytest.warns(UserWarning, match="non-finite"):
        assert ours(scoring=lambda *_: np.nan).fit(X, y).C_ == GRID["Cs"][0]


def test_scorers_that_change_the_model_or_the_rows():
    X, y = data(2)

    def pruned(estimator, X, y):
        estimator.coef_[abs(estimator.coef_) < 0.5] = 0
        return estimator.predict_proba(X)[:, 1].std()

    def refitted(estimator, X, y):
        return estimator.fit(X, y).predict_proba(X)[:, 1].std()

    for scoring in (pruned, refitted):
        expected = sklearns(scoring=scoring).fit(X, y).scores_
        np.testing.assert_allclose(ours(scoring=scoring).fit(X, y).scores_, expected, rtol=1e-3)


def test_the_choice_is_by_sums_of_scores():
    """Rounded means of these are equal; LogisticRegressionCV compares sums."""
    n_ties = 0
    for values in permutations([0.7, 0.1, 0.2, 0.6, 0.3]):
        scores = np.array([values, sorted(values)]).T[:, None]
        total, mean = scores.sum(axis=0)[0], scores.mean(axis=0)[0]
        n_ties += mean[0] == mean[1] and total[0] < total[1]
        assert choose(scores, np.array([1.0, 2.0]), "best") == (0, int(total[1] > total[0]))
    assert n_ties > 0


# ---------------------------------------------------------------- routing


def test_groups_go_to_the_splitter():
    X, y = data(2)
    groups = np.arange(90) % 6
    with config_context(enable_metadata_routing=True):
        options = {"cv": GroupKFold(3)}
        model = ours(**options).fit(X, y, groups=groups)
        expected = sklearns(**options).fit(X, y, groups=groups)
        assert_close(model.scores_, expected.scores_)
    with pytest.raises(
        ValueError, match=r"\[groups\] are passed but are not explicitly|enable_meta"
    ):
        ours(**options).fit(X, y, groups=groups)


@pytest.mark.parametrize("metric", ["accuracy", "f1"])
@pytest.mark.parametrize("wanted", [True, False])
def test_the_scorer_asks_for_weights(metric, wanted):
    X, y = data(2)
    weight = sample_weight()
    with config_context(enable_metadata_routing=True):
        scorer = get_scorer(metric)
        with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
            ours(scoring=scorer).fit(X, y, sample_weight=weight)
        scorer.set_score_request(sample_weight=wanted)
        model = ours(scoring=scorer).set_fit_request(sample_weight=True)
        model.fit(X, y, sample_weight=weight)
        expected = sklearns(scoring=scorer).set_fit_request(sample_weight=True)
        expected.fit(X, y, sample_weight=weight)
        assert_close(model.scores_, expected.scores_)
        unweighted = ours(scoring=metric).fit(X, y)
        assert (model.scores_ != unweighted.scores_).any()
        if wanted:
            assert model.score(X, y, sample_weight=weight) == pytest.approx(
                expected.score(X, y, sample_weight=weight)
            )


def test_other_metadata_of_the_scorer():
    X, y = data(2)
    cost = np.linspace(0, 1, 90)

    def costly(y, z, cost=None):
        return -((y != z) * cost).mean()

    with config_context(enable_metadata_routing=True):
        scorer = make_scorer(costly).set_score_request(cost=True)
        model = ours(scoring=scorer).fit(X, y, cost=cost)
        expected = sklearns(scoring=scorer).fit(X, y, cost=cost)
        assert_close(model.scores_, expected.scores_)
        assert model.score(X, y, cost=cost) == pytest.approx(expected.score(X, y, cost=cost))
    with pytest.raises(ValueError, match="cost"):
        model.fit(X, y, cost=cost)
    model.scoring = lambda estimator, X, y, cost=None: 0.0
    with pytest.raises(ValueError, match="cost"):
        model.score(X, y, cost=cost)


def test_metadata_of_a_known_metric():
    X, y = data(3)
    with config_context(enable_metadata_routing=True):
        scorer = get_scorer("balanced_accuracy").set_score_request(adjusted=True)
        model = ours(scoring=scorer).fit(X, y, adjusted=True)
        expected = sklearns(scoring=scorer).fit(X, y, adjusted=True)
        assert_close(model.scores_, expected.scores_)
    assert (model.scores_ != ours(scoring="balanced_accuracy").fit(X, y).scores_).all()
