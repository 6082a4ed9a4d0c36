"""Scores from logits: the fast ones are scikit-learn's, held-out models are classifiers."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone, is_classifier
from sklearn.metrics import check_scoring, get_scorer, make_scorer
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.model_selection import StratifiedKFold

from skorch_logreg import TorchLogisticClassifier
from skorch_logreg.estimators.cached_logits import CachedLogitsClassifier
from skorch_logreg.scoring import FAST_METRICS, FoldRows, fast_scores, metric_name

N, P, MODELS = 60, 3, 2
LABELS = {
    2: {"int": np.array([0, 1]), "str": np.array(["no", "yes"]), "float": np.array([-1.0, 2.0])},
    3: {"int": np.array([1, 4, 7]), "str": np.array(["a", "b", "c"])},
}


def held_out(n_classes, kind="int", dtype=torch.float64, scale=1.0, ties=False):
    """Models of three folds: X, labels, rows and logits (n, folds * models, outputs)."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(N, P))
    index = np.arange(N) % n_classes
    rng.shuffle(index)
    splits = list(StratifiedKFold(3).split(X, index))
    outputs = 1 if n_classes == 2 else n_classes
    logits = torch.from_numpy(scale * rng.normal(size=(N, 3 * MODELS, outputs)))
    if ties:
        logits = logits.round()
    labels = LABELS[n_classes][kind]
    return X, labels[index], index, labels, splits, logits.to(dtype)


def models_of(fold, X_test, test, logits, classes, **parameters):
    for model in range(fold * MODELS, (fold + 1) * MODELS):
        outputs = logits.shape[2]
        fitted = {
            "classes_": classes,
            "coef_": np.full((outputs, P), np.nan),  # a prediction that reads them fails
            "intercept_": np.zeros(outputs),
        }
        template = TorchLogisticClassifier(**parameters)
        yield CachedLogitsClassifier.of(
            template, fitted, X_test, logits[torch.from_numpy(test), model]
        )


def by_scikit_learn(scorer, X, y, splits, logits, classes, weight=None, **parameters):
    found = np.empty((3, MODELS))
    for fold, (_, test) in enumerate(splits):
        X_test = X[test]
        extra = {} if weight is None else {"sample_weight": weight[test]}
        for k, model in enumerate(models_of(fold, X_test, test, logits, classes, **parameters)):
            found[fold, k] = scorer(model, X_test, y[test], **extra)
    return found


def ours(scoring, index, splits, logits, weight=None, **options):
    rows = FoldRows.of([test for _, test in splits], N)
    if weight is not None:
        weight = torch.from_numpy(weight)[rows.rows]
    taken = rows.take(logits)
    return fast_scores(
        scoring, taken, torch.from_numpy(index)[rows.rows], rows.lengths, weight, **options
    )


def weights():
    weight = np.random.default_rng(6).uniform(0, 3, N)
    weight[::7] = 0
    return weight


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("scale", [1.0, 300.0])
@pytest.mark.parametrize(("n_classes", "kind"), [(2, "int"), (2, "str"), (2, "float"), (3, "str")])
@pytest.mark.parametrize("metric", FAST_METRICS)
def test_fast_scores_are_scikit_learns(metric, n_classes, kind, scale, ties, weighted):
    X, y, index, labels, splits, logits = held_out(n_classes, kind, scale=scale, ties=ties)
    weight = weights() if weighted else None
    scorer = get_scorer(metric)
    if metric == "neg_brier_score":
        scorer = make_scorer(
            scorer._score_func,
            greater_is_better=False,
            response_method="predict_proba",
            pos_label=labels[-1],
        )
    got = ours(metric, index, splits, logits, weight)
    if metric == "roc_auc" and n_classes > 2:  # scikit-learn wants to know how to average
        assert got is None
        return
    expected = by_scikit_learn(scorer, X, y, splits, logits, labels, weight)
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("metric", ["accuracy", "neg_log_loss", "neg_brier_score"])
def test_probabilities_of_float32_are_clipped_by_its_epsilon(metric, n_classes):
    X, y, index, labels, splits, logits = held_out(n_classes, dtype=torch.float32, scale=100)
    expected = by_scikit_learn(get_scorer(metric), X, y, splits, logits, labels)
    got = ours(metric, index, splits, logits)
    # scikit-learn adds the rows up in float32
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    if metric == "neg_log_loss":
        assert np.abs(expected).max() < -np.log(np.finfo(np.float32).eps)


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.5, 1 / (1 + np.exp(-1.0)), 1.0])
@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy"])
def test_threshold_decides(metric, threshold):
    X, y, index, labels, splits, logits = held_out(2, ties=True)
    scorer = get_scorer(metric)
    expected = by_scikit_learn(scorer, X, y, splits, logits, labels, threshold=threshold)
    got = ours(metric, index, splits, logits, threshold=threshold)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


@pytest.mark.parametrize("metric", FAST_METRICS)
def test_targets_of_every_model(metric):
    *_, index, _, splits, logits = held_out(2)
    rows = FoldRows.of([test for _, test in splits], N)
    taken, several = rows.take(logits), torch.from_numpy(np.stack([index, 1 - index]))[:, rows.rows]
    weight = torch.linspace(0.1, 1, N).double()
    for k in range(2):
        got = fast_scores(metric, taken[:, :2], several.T, rows.lengths, weight)
        one = fast_scores(metric, taken[:, k : k + 1], several[k], rows.lengths, weight)
        torch.testing.assert_close(got[:, k], one[:, 0], rtol=1e-13, atol=0)


def test_labels_that_a_fold_lacks():
    """With labels (as in LogisticRegressionCV) a score, from y alone scikit-learn's refusal."""
    X, y, index, labels, splits, logits = held_out(3)
    few = np.flatnonzero(index != 2)[:20]
    splits = [(None, few), *splits[1:]]
    options = {"greater_is_better": False, "response_method": "predict_proba"}
    for metric in ["neg_log_loss", "neg_brier_score"]:
        function = get_scorer(metric)._score_func
        told = make_scorer(function, labels=labels, **options)
        expected = by_scikit_learn(told, X, y, splits, logits, labels)
        np.testing.assert_allclose(ours(metric, index, splits, logits), expected, rtol=1e-12)
        assert ours(metric, index, splits, logits, classes=labels) is None
        with pytest.raises(ValueError, match="different number"):
            by_scikit_learn(get_scorer(metric), X, y, splits, logits, labels)
    assert ours("balanced_accuracy", index, splits, logits) is None
    assert ours("accuracy", index, splits, logits, classes=labels) is not None


def test_two_labels_of_which_a_fold_has_one():
    *_, index, labels, splits, logits = held_out(2)
    splits = [(None, np.flatnonzero(index == 1)[:20]), *splits[1:]]
    assert ours("roc_auc", index, splits, logits) is None
    assert ours("neg_log_loss", index, splits, logits, classes=labels) is None
    assert ours("neg_brier_score", index, splits, logits, classes=labels) is None
    assert ours("neg_log_loss", index, splits, logits) is not None


def test_brier_of_words_wants_a_positive_label():
    X, y, index, labels, splits, logits = held_out(2, "str")
    assert ours("neg_brier_score", index, splits, logits, classes=labels) is None
    with pytest.raises(ValueError, match="pos_label"):
        by_scikit_learn(get_scorer("neg_brier_score"), X, y, splits, logits, labels)
    X, y, index, labels, splits, logits = held_out(2, "float")
    expected = by_scikit_learn(get_scorer("neg_brier_score"), X, y, splits, logits, labels)
    got = ours("neg_brier_score", index, splits, logits, classes=labels)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


@pytest.mark.parametrize(("wrong", "rows"), [(0.0, slice(None)), (-1.0, 0), (np.nan, 0)])
def test_weights_that_scikit_learn_must_judge(wrong, rows):
    *_, index, _, splits, logits = held_out(2)
    weight = np.ones(N)
    weight[splits[1][1][rows]] = wrong
    assert ours("accuracy", index, splits, logits, weight) is None


def test_what_is_recognised():
    assert metric_name(None) == "accuracy"
    for name in FAST_METRICS:
        assert metric_name(name) == name
        assert metric_name(get_scorer(name)) == name
    assert metric_name("f1") is None
    assert metric_name(lambda estimator, X, y: 0.0) is None
    assert metric_name(make_scorer(sklearn_log_loss, response_method="predict_proba")) is None
    assert metric_name(make_scorer(sklearn_log_loss, greater_is_better=False)) is None
    assert metric_name(check_scoring(TorchLogisticClassifier(), ["accuracy"])) is None
    other = copy.copy(get_scorer("neg_log_loss"))
    other._kwargs = {"normalize": False}
    assert metric_name(other) is None


@pytest.mark.parametrize("metric", FAST_METRICS)
def test_folds_of_different_lengths(metric):
    X, y, index, labels, splits, logits = held_out(2)
    splits = [(None, test[: 20 - 3 * fold]) for fold, (_, test) in enumerate(splits)]
    expected = by_scikit_learn(get_scorer(metric), X, y, splits, logits, labels)
    np.testing.assert_allclose(ours(metric, index, splits, logits), expected, rtol=1e-12)


def test_nothing_to_score():
    *_, index, _, splits, logits = held_out(2)
    assert ours("accuracy", index, [(None, np.zeros(0, int)), *splits[1:]], logits) is None


# ---------------------------------------------------------------- rows


def test_rows_of_indices_and_masks():
    indices, mask = np.array([4, -1, 4]), np.arange(6) < 2
    rows = FoldRows.of([indices, mask, [3]], 6)
    assert rows.rows.tolist() == [4, 5, 4, 0, 1, 3]
    assert rows.fold.tolist() == [0, 0, 0, 1, 1, 2]
    assert rows.lengths == (3, 2, 1)
    expected = np.zeros((6, 3))
    expected[4, 0], expected[5, 0], expected[0, 1], expected[1, 1], expected[3, 2] = 2, 1, 1, 1, 1
    np.testing.assert_array_equal(rows.counts(6), expected)


@pytest.mark.parametrize(("index", "said"), [(6, "row 6"), (-7, "row -7")])
def test_rows_that_do_not_exist(index, said):
    with pytest.raises(IndexError, match=said):
        FoldRows.of([np.array([0, index])], 6)


def test_rows_take_the_models_of_their_fold():
    logits = torch.arange(24.0).reshape(6, 4, 1)
    rows = FoldRows.of([[0, 5], [1]], 6)
    taken = rows.take(logits)
    expected = torch.stack([logits[0, :2], logits[5, :2], logits[1, 2:]])
    assert torch.equal(taken, expected)


# ---------------------------------------------------------------- held-out models


def fitted(n_classes):
    rng = np.random.default_rng(8)
    X = rng.normal(size=(40, P))
    y = rng.integers(0, n_classes, 40)
    model = TorchLogisticClassifier(C=0.3).fit(X, y)
    logits = torch.from_numpy(model.decision_function(X).reshape(40, -1))
    attributes = {name: getattr(model, name) for name in ("classes_", "coef_", "intercept_")}
    return X, y, model, CachedLogitsClassifier.of(model, attributes, X, logits + 1, C=2.0)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "method", ["decision_function", "predict", "predict_proba", "predict_log_proba"]
)
def test_held_out_predicts_from_its_logits_and_others_from_its_coefficients(method, n_classes):
    X, _, model, held = fitted(n_classes)
    other = copy.deepcopy(model)
    other.intercept_ = other.intercept_ + 1
    np.testing.assert_allclose(getattr(held, method)(X), getattr(other, method)(X), rtol=1e-12)
    np.testing.assert_array_equal(getattr(held, method)(X.copy()), getattr(model, method)(X))


def test_held_out_is_a_classifier():
    X, y, model, held = fitted(2)
    assert is_classifier(held)
    assert held.C == 2.0
    assert model.C == 0.3
    assert held.get_params() == model.get_params() | {"C": 2.0}
    assert held.module_.weight.shape == (1, P)
    both = check_scoring(held, ["neg_log_loss", "accuracy", "roc_auc"])(held, X, y)
    assert both["accuracy"] == held.score(X, y)
    assert not hasattr(clone(held), "coef_")
    again = pickle.loads(pickle.dumps(held))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))  # the rows stay behind
