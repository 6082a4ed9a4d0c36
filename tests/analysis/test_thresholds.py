"""Test that tuned thresholds are optimal, against scores of every threshold one by one."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
import torch
from sklearn import metrics
from sklearn.exceptions import NotFittedError, UnsetMetadataPassedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, get_scorer, make_scorer
from sklearn.model_selection import (
    KFold,
    ShuffleSplit,
    StratifiedKFold,
    TunedThresholdClassifierCV,
    cross_val_predict,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skorch_logreg import (
    BatchedGridSearchCV,
    MultiLabel,
    OffsetLogisticClassifier,
    ParameterError,
    TorchLogisticClassifier,
    TunedThreshold,
    expected_cost_decision,
    tune_threshold,
)
from skorch_logreg.data import ArrayChunks
from tests.estimators.labels import labels

COSTS = np.array([[-1.0, 2.0], [9.0, 0.5]])


def rows(n=120, seed=0):
    """Overlapping classes, one in four positive, with tied rows and weights of 0 to 2."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4)).round(1)
    X[: n // 4] = X[n // 4 : 2 * (n // 4)]
    y = (X @ [1.0, -1.0, 0.5, 0.0] + rng.logistic(size=n) > 1.5).astype(int)
    return X, y, rng.integers(0, 3, n).astype(float)


def every_threshold(p):
    """All that differ for these rows, and none positive."""
    return np.r_[np.unique(p), 1.0]


SCORERS = {
    name: get_scorer(name)
    for name in (
        "accuracy", "balanced_accuracy", "f1", "f1_macro", "precision", "recall", "jaccard",
        "matthews_corrcoef", "f1_weighted",
    )
} | {
    "fbeta": make_scorer(metrics.fbeta_score, beta=2.0),
    "of the first class": make_scorer(metrics.f1_score, pos_label=0),
    "a loss": make_scorer(metrics.zero_one_loss, greater_is_better=False),
    "kappa": make_scorer(metrics.cohen_kappa_score),
    "adjusted": make_scorer(metrics.balanced_accuracy_score, adjusted=True),
    "zero division": make_scorer(metrics.precision_score, zero_division=1.0),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
@pytest.mark.parametrize("name", SCORERS)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_best_of_all_thresholds_by_scikit_learn(name, weighted):
    """The whole curve is scikit-learn's, by the predictions of the estimator itself."""
    X, y, weight = rows()
    weight = weight if weighted else None
    model = TorchLogisticClassifier().fit(X, y)
    tuned = tune_threshold(model, X, y, scoring=SCORERS[name], cv="prefit", sample_weight=weight)
    p = model.predict_proba(X)[:, 1]
    assert set(p) <= set(tuned.thresholds)
    judged = []
    for threshold in every_threshold(p):
        model.threshold = threshold
        judged.append(SCORERS[name](model, X, y, sample_weight=weight))
    assert tuned.score == pytest.approx(max(judged), abs=1e-12)
    at = np.searchsorted(tuned.thresholds, every_threshold(p))
    np.testing.assert_allclose(tuned.scores[at], judged, atol=1e-12)
    judge = SCORERS[name](tuned.estimator, X, y, sample_weight=weight)
    assert judge == pytest.approx(tuned.score, abs=1e-12)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
@pytest.mark.parametrize("scoring", ["balanced_accuracy", "f1", "matthews_corrcoef"])
def test_never_worse_than_scikit_learns_grid(scoring):
    X, y, _ = rows(300)
    model = LogisticRegression().fit(X, y)
    grid = TunedThresholdClassifierCV(model, scoring=scoring, cv="prefit", refit=False).fit(X, y)
    mine = TorchLogisticClassifier(tol=1e-8).fit(X, y)
    tuned = tune_threshold(mine, X, y, scoring=scoring, cv="prefit")
    assert tuned.score >= grid.best_score_ - 1e-12
    cv = StratifiedKFold(4, shuffle=True, random_state=0)
    held = cross_val_predict(mine, X, y, cv=cv, method="predict_proba")[:, 1]
    folds = TunedThresholdClassifierCV(mine, scoring=scoring, cv=cv).fit(X, y)
    tuned = tune_threshold(mine, X, y, scoring=scoring, cv=cv)
    score = get_scorer(scoring)._score_func
    assert tuned.score == pytest.approx(score(y, held >= tuned.threshold), abs=1e-12)
    assert tuned.score >= score(y, held >= folds.best_threshold_) - 1e-12
    assert tuned.score == pytest.approx(max(score(y, held >= t) for t in held), abs=1e-12)


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_costs(each, weighted):
    """Of all rows or of each, by a confusion matrix or one row after the other."""
    X, y, weight = rows()
    weight = weight if weighted else np.ones(len(y))
    rng = np.random.default_rng(1)
    costs = rng.normal(size=(len(y), 2, 2)) + COSTS if each else COSTS
    model = TorchLogisticClassifier().fit(X, y)
    tuned = tune_threshold(model, X, y, cost_matrix=costs, cv="prefit", sample_weight=weight)
    p = model.predict_proba(X)[:, 1]

    def cost(decided):
        if not each:
            matrix = confusion_matrix(y, decided, sample_weight=weight)
            return (matrix * COSTS).sum() / weight.sum()
        paid = [w * c[k, d] for w, c, k, d in zip(weight, costs, y, decided, strict=True)]
        return sum(paid) / weight.sum()

    judged = [cost((p >= t).astype(int)) for t in every_threshold(p)]
    assert -tuned.score == pytest.approx(min(judged), rel=1e-12)
    assert cost(tuned.estimator.predict(X)) == pytest.approx(min(judged), rel=1e-12)


def test_ties_are_positive_and_of_equal_thresholds_the_nearest_to_one_half():
    X, y = np.array([[0.0], [0.0], [1.0], [1.0], [2.0]]), np.array([0, 0, 0, 1, 1])
    model = TorchLogisticClassifier().fit(X, y)
    p = model.predict_proba(X)[:, 1]
    tuned = tune_threshold(model, X, y, scoring="recall", cv="prefit")
    assert tuned.thresholds.tolist() == sorted({*p, 0.5, 1.0})
    assert tuned.scores[np.searchsorted(tuned.thresholds, p[2])] == 1.0
    assert tuned.threshold == p[2]
    apart = tune_threshold(model, X[[0, 1, 4]], y[[0, 1, 4]], cv="prefit")
    assert apart.threshold == 0.5
    assert apart.score == 1.0


def test_none_and_all_are_among_them():
    X, y, _ = rows()
    model = TorchLogisticClassifier().fit(X, y)
    never = tune_threshold(model, X, y, cost_matrix=[[0, 1], [0, 1]], cv="prefit")
    assert not never.estimator.predict(X).any()
    always = tune_threshold(model, X, y, cost_matrix=[[1, 0], [1, 0]], cv="prefit")
    assert always.estimator.predict(X).all()


@pytest.mark.parametrize("cv", [None, 3, KFold(4), ShuffleSplit(3, random_state=0), "given"])
def test_held_out_rows(cv):
    """Rows are scored by fits that have not seen them, with their weights."""
    X, y, weight = rows()
    splits = [(np.arange(60), np.arange(60, 120)), (np.arange(60, 120), np.arange(60))]
    cv = splits if cv == "given" else cv
    start = TorchLogisticClassifier(C=0.5)
    tuned = tune_threshold(start, X, y, scoring="f1", cv=cv, sample_weight=weight)
    if cv is None or cv == 3:
        splits = StratifiedKFold(cv or 5).split(X, y)
    elif not isinstance(cv, list):
        splits = cv.split(X)
    held, truth, counted = [], [], []
    for train, test in splits:
        model = TorchLogisticClassifier(C=0.5).fit(X[train], y[train], weight[train])
        held += model.predict_proba(X[test])[:, 1].tolist()
        truth += y[test].tolist()
        counted += weight[test].tolist()
    held = np.array(held)
    judged = [
        metrics.f1_score(truth, held >= t, sample_weight=counted, zero_division=0.0) for t in held
    ]
    assert tuned.score == pytest.approx(max(judged), abs=1e-12)
    whole = TorchLogisticClassifier(C=0.5).fit(X, y, weight)
    np.testing.assert_array_equal(tuned.estimator.coef_, whole.coef_)
    assert not hasattr(start, "coef_")
    assert start.threshold == 0.5


def test_what_is_fitted_is_not_fitted_again():
    X, y, _ = rows()
    model = TorchLogisticClassifier().fit(X, y)
    model.coef_ += 1.0
    for cv in (None, "prefit"):
        tuned = tune_threshold(model, X, y, cv=cv)
        np.testing.assert_array_equal(tuned.estimator.coef_, model.coef_)
        assert tuned.estimator.coef_ is not model.coef_
        assert (model.threshold, tuned.estimator.threshold) == (0.5, tuned.threshold)


@pytest.mark.parametrize("fitted", [False, True])
def test_pipelines_frames_and_names(fitted):
    X, y, weight = rows()
    names = np.array(["no", "yes"])[y]
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = make_pipeline(StandardScaler(), TorchLogisticClassifier())
    if fitted:
        model.fit(frame, names, torchlogisticclassifier__sample_weight=weight)
    tuned = tune_threshold(model, frame, names, scoring="f1", cv=3, sample_weight=weight)
    plain = tune_threshold(
        make_pipeline(StandardScaler(), TorchLogisticClassifier()), X, y, scoring="f1", cv=3,
        sample_weight=weight,
    )  # fmt: skip
    assert isinstance(tuned, TunedThreshold)
    assert tuned.estimator[-1].threshold == tuned.threshold
    assert tuned.threshold == pytest.approx(plain.threshold, rel=1e-12)
    assert set(tuned.estimator.predict(frame)) == {"no", "yes"}
    assert model[-1].threshold == 0.5


def test_rows_in_chunks():
    """Where the estimator is fitted, rows of any kind that it predicts."""
    X, y, _ = rows()
    model = TorchLogisticClassifier().fit(X, y)
    chunks = tune_threshold(model, ArrayChunks(X, rows=50), y, cv="prefit")
    assert chunks.threshold == pytest.approx(tune_threshold(model, X, y, cv="prefit").threshold)
    with pytest.raises(ValueError, match="inconsistent"):
        tune_threshold(model, ArrayChunks(X, rows=50), y[1:], cv="prefit")


@pytest.mark.parametrize("make", [sp.csr_array, torch.from_numpy])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_containers(make, dtype):
    X, y, _ = rows()
    X = X.astype(dtype)
    targets = y if make is sp.csr_array else torch.from_numpy(y)
    model = TorchLogisticClassifier().fit(make(X), targets)
    tuned = tune_threshold(model, make(X), targets, scoring="f1", cv="prefit")
    decided = np.asarray(tuned.estimator.predict(make(X)))
    assert metrics.f1_score(y, decided) == pytest.approx(tuned.score, abs=1e-12)


def test_thresholds_may_be_given():
    X, y, _ = rows()
    tuned = tune_threshold(TorchLogisticClassifier(), X, y, thresholds=[0.6, 0.2, 0.4])
    assert tuned.thresholds.tolist() == [0.2, 0.4, 0.6]
    assert tuned.threshold in (0.2, 0.4, 0.6)


def test_metadata_reach_the_scorer():
    """Each row's amount, as scikit-learn's own classifier would have it."""
    X, y, _ = rows()
    amount = np.random.default_rng(3).uniform(1, 100, len(y))

    def gain(truth, decided, amount):
        return np.where(decided == 1, np.where(truth == 1, amount, -5), 0).sum()

    with sklearn.config_context(enable_metadata_routing=True):
        scorer = make_scorer(gain).set_score_request(amount=True)
        tuned = tune_threshold(
            TorchLogisticClassifier(), X, y, scoring=scorer, cv=3, params={"amount": amount}
        )
    costs = np.zeros((len(y), 2, 2))
    costs[:, 1, 1], costs[:, 0, 1] = -amount, 5
    by_cost = tune_threshold(TorchLogisticClassifier(), X, y, cost_matrix=costs, cv=3)
    assert tuned.threshold == by_cost.threshold
    assert tuned.score == pytest.approx(by_cost.score * len(y), rel=1e-12)


def test_metadata_reach_the_fit_and_the_weights_what_requests_them():
    X, y, weight = rows()
    with sklearn.config_context(enable_metadata_routing=True):
        model = TorchLogisticClassifier().set_fit_request(sample_weight=True)
        routed = tune_threshold(
            model, X, y, cv=3, sample_weight=weight,
            scoring=make_scorer(metrics.f1_score).set_score_request(sample_weight=True),
        )  # fmt: skip
    plain = tune_threshold(
        TorchLogisticClassifier(), X, y, scoring="f1", cv=3, sample_weight=weight
    )
    assert routed.threshold == plain.threshold
    assert routed.score == plain.score


@pytest.mark.parametrize("requested", [True, False])
def test_costs_are_weighted_whatever_fit_requests(requested):
    X, y, weight = rows()
    options = {"cv": "prefit", "cost_matrix": COSTS, "sample_weight": weight}
    plain = TorchLogisticClassifier().fit(X, y)
    expected = tune_threshold(plain, X, y, **options)
    with sklearn.config_context(enable_metadata_routing=True):
        with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
            tune_threshold(plain, X, y, **options)
        model = plain.set_fit_request(sample_weight=requested)
        found = tune_threshold(model, X, y, **options)
    assert (found.threshold, found.score) == (expected.threshold, expected.score)


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_micro_f_beta_is_the_best_of_all_combinations(beta, weighted, seed):
    """Of the thresholds of three labels, with cells that are not known."""
    X = labels()[0][:60]
    rng = np.random.default_rng(seed)
    Y = (X[:, :3] + rng.logistic(size=(60, 3)) > [0, 1, 2]).astype(float)
    Y[rng.random(Y.shape) < 0.1] = np.nan
    weight = rng.integers(0, 3, 60).astype(float) if weighted else None
    model = MultiLabel().fit(X, Y)
    tuned = tune_threshold(
        model, X, Y, cv="prefit", sample_weight=weight,
        scoring=make_scorer(metrics.fbeta_score, beta=beta, average="micro"),
    )  # fmt: skip
    p = model.predict_proba(X)
    counted = np.where(np.isnan(Y), 0.0, 1.0 if weight is None else weight[:, None])

    def tally(k, threshold):
        called = counted[:, k] * (p[:, k] >= threshold)
        return np.array([(called * (Y[:, k] == 1)).sum(), called.sum()])

    def score(right, called):
        return (1 + beta**2) * right / (beta**2 * (counted * (Y == 1)).sum() + called)

    first, second, third = (
        np.array([tally(k, t) for t in every_threshold(p[:, k])]) for k in range(3)
    )
    every = first[:, None, None] + second[:, None] + third
    most = score(every[..., 0], every[..., 1]).max()
    assert tuned.score == pytest.approx(most, rel=1e-12)
    best = [tally(k, threshold) for k, threshold in enumerate(tuned.threshold)]
    assert score(*sum(best)) == pytest.approx(most, rel=1e-12)
    for k, (thresholds, scores) in enumerate(zip(tuned.thresholds, tuned.scores, strict=True)):
        judged = [score(*(sum(best) - best[k] + tally(k, t))) for t in thresholds]
        np.testing.assert_allclose(scores, judged, rtol=1e-12)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_micro_f_beta_by_scikit_learn():
    X, Y = labels()
    tuned = tune_threshold(MultiLabel().fit(X, Y), X, Y, scoring="f1_micro", cv="prefit")
    judge = metrics.f1_score(Y, tuned.estimator.predict(X), average="micro")
    assert tuned.score == pytest.approx(judge, rel=1e-12)
    each = tune_threshold(MultiLabel().fit(X, Y), X, Y, scoring="f1", cv="prefit")
    apart = metrics.f1_score(Y, each.estimator.predict(X), average="micro")
    assert tuned.score >= apart


MACRO = make_scorer(metrics.f1_score, average="macro", zero_division=0.0)


@pytest.mark.parametrize("scoring", ["f1", "f1_macro", "balanced_accuracy", "kappa", "macro"])
@pytest.mark.parametrize("make", [np.asarray, sp.csr_array, pd.DataFrame])
def test_each_label_by_itself(scoring, make):
    """As the column alone with a classifier of two classes."""
    X, Y = labels()
    scorer = {"kappa": SCORERS["kappa"], "macro": MACRO}.get(scoring, scoring)
    tuned = tune_threshold(MultiLabel(), X, make(Y), scoring=scorer, cv=KFold(3))
    alone = [
        tune_threshold(
            TorchLogisticClassifier(), X, y, cv=KFold(3),
            scoring="f1" if "macro" in scoring else scorer,
        )
        for y in Y.T
    ]  # fmt: skip
    np.testing.assert_allclose(tuned.threshold, [t.threshold for t in alone], rtol=1e-3)
    assert tuned.score == pytest.approx(np.mean([t.score for t in alone]), rel=1e-12)
    np.testing.assert_array_equal(tuned.estimator.threshold, tuned.threshold)


def test_cells_that_are_not_known_do_not_count():
    X, Y = labels()
    mask = np.random.default_rng(0).random(Y.shape) < 0.8
    model = MultiLabel().fit(X, Y, label_mask=mask)
    unknown = np.where(mask, Y, np.nan)
    by_nan = tune_threshold(model, X, unknown, scoring="f1", cv="prefit")
    by_mask = tune_threshold(model, X, Y, scoring="f1", cv=3, params={"label_mask": mask})
    for k, known in enumerate(mask.T):
        one = TorchLogisticClassifier().fit(X[known], Y[known, k])
        alone = tune_threshold(one, X[known], Y[known, k], scoring="f1", cv="prefit")
        assert by_nan.scores[k].max() == pytest.approx(alone.score, rel=1e-12)
    folds = tune_threshold(model, X, unknown, scoring="f1", cv=3)
    np.testing.assert_array_equal(by_mask.threshold, folds.threshold)


@pytest.mark.parametrize("each", ["all", "label", "cell"])
def test_costs_of_labels(each):
    X, Y = labels()
    rng = np.random.default_rng(0)
    shape = {"all": (), "label": (3,), "cell": (len(Y), 3)}[each]
    costs = rng.uniform(0, 1, (*shape, 2, 2)) + [[0, 1], [3, 0]]
    model = MultiLabel().fit(X, Y)
    tuned = tune_threshold(model, X, Y, cost_matrix=costs, cv="prefit")
    p = model.predict_proba(X)
    own = np.broadcast_to(costs, (len(Y), 3, 2, 2))
    place = np.arange(len(Y))
    least = [
        min(
            own[place, k, Y[:, k], (p[:, k] >= t).astype(int)].mean()
            for t in every_threshold(p[:, k])
        )
        for k in range(3)
    ]
    np.testing.assert_allclose([-scores.max() for scores in tuned.scores], least, rtol=1e-12)
    assert -tuned.score == pytest.approx(np.mean(least), rel=1e-12)


def test_one_column_of_two_classes_has_one_threshold():
    X, y, _ = rows()
    names = np.array(["no", "yes"])[y]
    tuned = tune_threshold(MultiLabel(), X, names, cv=3)
    assert isinstance(tuned.threshold, float)
    plain = tune_threshold(TorchLogisticClassifier(), X, y, cv=3)
    assert tuned.threshold == pytest.approx(plain.threshold, rel=1e-3)


# scikit-learn warns of a column where fit reads it
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning")
@pytest.mark.parametrize("wrap", [lambda model: model, make_pipeline])
@pytest.mark.parametrize("make", [np.asarray, lambda y: np.array(["no", "yes"])[y]])
def test_a_column_of_classes(wrap, make):
    X, y, _ = rows()
    y, model = make(y), wrap(TorchLogisticClassifier())
    expected = tune_threshold(model, X, y)
    found = tune_threshold(model, X, pd.DataFrame({"y": y}))
    assert (found.threshold, found.score) == (expected.threshold, expected.score)


def test_decisions_of_least_expected_cost():
    """Also with a decision more than classes, and with costs of each row."""
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), 50)
    costs = rng.normal(size=(3, 4))
    slow = [min(range(4), key=lambda d: sum(q * c[d] for q, c in zip(row, costs, strict=True)))
            for row in p]  # fmt: skip
    np.testing.assert_array_equal(expected_cost_decision(p, costs), slow)
    each = np.broadcast_to(costs, (50, 3, 4)) * rng.uniform(1, 2, (50, 1, 1))
    np.testing.assert_array_equal(expected_cost_decision(p, each), slow)
    np.testing.assert_array_equal(expected_cost_decision(p, 1 - np.eye(3)), p.argmax(axis=1))


def test_two_classes_are_decided_at_elkans_threshold():
    p = np.linspace(0.001, 0.999, 200)
    threshold = (COSTS[0, 1] - COSTS[0, 0]) / (
        COSTS[0, 1] - COSTS[0, 0] + COSTS[1, 0] - COSTS[1, 1]
    )
    decided = expected_cost_decision(np.c_[1 - p, p], COSTS)
    np.testing.assert_array_equal(decided, p >= threshold)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"scoring": "roc_auc"}, "scoring='roc_auc' is of probabilities"),
        ({"scoring": ["f1"]}, r"scoring is \['f1'\]"),
        ({"cv": "fitted"}, "cv is 'fitted'"),
        ({"cost_matrix": np.eye(3)}, r"cost_matrix has shape \(3, 3\), expected \(2, 2\) or \(120"),
        ({"cost_matrix": [[0, np.inf], [1, 0]]}, "finite"),
        ({"thresholds": []}, "thresholds is"),
        ({"thresholds": [0.5, 1.5]}, "thresholds is"),
    ],
)
def test_what_is_not_allowed(parameters, text):
    X, y, _ = rows()
    with pytest.raises(ParameterError, match=text):
        tune_threshold(TorchLogisticClassifier(), X, y, **parameters)


@pytest.mark.parametrize("classes", [(0, 1), (1, 2), (-1, 1), (3, 7), ("a", "b")], ids=str)
@pytest.mark.parametrize("options", [{}, {"zero_division": 0.0}], ids=str)
def test_metrics_of_one_class_are_of_the_label_1_or_the_last(classes, options):
    """Whatever way the score takes, it is scikit-learn's for the tuned estimator."""
    X, y, _ = rows()
    y = np.array(classes)[y]
    model = TorchLogisticClassifier().fit(X, y)
    scorer = make_scorer(metrics.f1_score, **options)
    tuned = tune_threshold(model, X, y, scoring=scorer, cv="prefit")
    positive = 1 if 1 in classes else classes[1]
    decided = tuned.estimator.predict(X)
    assert tuned.score == pytest.approx(metrics.f1_score(y, decided, pos_label=positive))


def test_what_has_no_threshold():
    X, y, _ = rows()
    with pytest.raises(ParameterError, match="LogisticRegression, which has no parameter"):
        tune_threshold(LogisticRegression(), X, y)
    with pytest.raises(ParameterError, match="of a search take best_estimator_"):
        tune_threshold(BatchedGridSearchCV(TorchLogisticClassifier(), {"C": [1.0]}), X, y)
    scorer = make_scorer(metrics.f1_score, pos_label=7)
    with pytest.raises(ValueError, match="pos_label=7 is not a valid label"):
        tune_threshold(TorchLogisticClassifier(), X, y, scoring=scorer)
    with pytest.raises(ParameterError, match="y has 3 classes"):
        tune_threshold(TorchLogisticClassifier(), X, np.arange(len(y)) % 3)
    model = TorchLogisticClassifier().fit(X, y)
    with pytest.raises(NotFittedError, match='cv="prefit"'):
        tune_threshold(TorchLogisticClassifier(), X, y, cv="prefit")
    with pytest.raises(ParameterError, match="y has no two classes"):
        tune_threshold(model, X, np.zeros(len(y), dtype=int), cv="prefit")
    with pytest.raises(ParameterError, match=r"y holds \[2\], expected classes of the model"):
        tune_threshold(model, X, y + 1, cv="prefit")
    with pytest.raises(ValueError, match="inconsistent"):
        tune_threshold(model, X, y[1:], cv="prefit")


@pytest.mark.parametrize("scoring", ["f1_samples", "f1_weighted", "jaccard_micro"])
def test_averages_that_no_label_has_a_threshold_for(scoring):
    X, Y = labels()
    with pytest.raises(ParameterError, match=f"scoring='{scoring}' averages"):
        tune_threshold(MultiLabel(), X, Y, scoring=scoring)
    with pytest.raises(ParameterError, match=r"expected \(2, 2\) or \(3, 2, 2\)"):
        tune_threshold(MultiLabel(), X, Y, cost_matrix=np.zeros((len(Y), 2, 2)))
    with pytest.raises(ParameterError, match=r"y has shape \(120, 2\), but .* 3 labels"):
        tune_threshold(MultiLabel().fit(X, Y), X, Y[:, :2], cv="prefit")


def test_scores_that_are_no_numbers():
    X, y, _ = rows()

    def scoring(model, X, y):
        return np.nan if model.predict(X).mean() > 0.25 else model.predict(X).mean()

    tuned = tune_threshold(TorchLogisticClassifier(), X, y, scoring=scoring)
    assert 0.2 < tuned.score <= 0.25
    with pytest.raises(ParameterError, match="no threshold a finite score"):
        tune_threshold(TorchLogisticClassifier(), X, y, scoring=lambda model, X, y: np.nan)


def test_indicators_that_do_not_fit():
    X, Y = labels()
    with pytest.raises(ParameterError, match="not an indicator"):
        tune_threshold(MultiLabel(), X, Y + 1)
    known = np.where([[True, False, True]], Y, np.nan)
    with pytest.raises(ParameterError, match="no known cell of label 1"):
        tune_threshold(MultiLabel().fit(X, Y), X, known, cv="prefit")
    with pytest.raises(ParameterError, match="one column of classes"):
        tune_threshold(TorchLogisticClassifier().fit(X, Y[:, 0]), X, Y, cv="prefit")


def test_refused_before_any_fit(monkeypatch):
    X, Y = labels()

    def fit(self, X, y):
        pytest.fail("fitted")

    monkeypatch.setattr(MultiLabel, "fit", fit)
    with pytest.raises(ParameterError, match="cost_matrix"):
        tune_threshold(MultiLabel(), X, Y, cost_matrix=np.zeros((2, 2, 2)))
    with pytest.raises(ParameterError, match="averages"):
        tune_threshold(MultiLabel(), X, Y, scoring="f1_weighted")


@pytest.mark.parametrize("wrap", [lambda model: model, make_pipeline])
def test_an_offset_is_not_forgotten(wrap):
    X, y, _ = rows()
    model = wrap(OffsetLogisticClassifier())
    name = "offset" if not hasattr(model, "steps") else "offsetlogisticclassifier__offset"
    with pytest.raises(ParameterError, match="params has an offset"):
        tune_threshold(model, X, y, params={name: np.ones(len(y))})
    model.fit(X, y, **{name: np.ones(len(y))})
    for cv in ("prefit", 3):
        with pytest.raises(ParameterError, match="fitted with an offset"):
            tune_threshold(model, X, y, cv=cv)


@pytest.mark.filterwarnings("ignore::scipy.sparse.SparseEfficiencyWarning")
@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "dia", "lil", "dok"])
@pytest.mark.parametrize("kind", ["array", "matrix"])
def test_folds_of_every_sparse_format(form, kind):
    X, y, _ = rows()
    Z = getattr(sp, f"{form}_{kind}")(X)
    # with the zeros that blocks store, which may change the order of sums
    expected = tune_threshold(TorchLogisticClassifier(), sp.csr_array(Z), y, cv=3)
    assert tune_threshold(TorchLogisticClassifier(), Z, y, cv=3).threshold == expected.threshold
