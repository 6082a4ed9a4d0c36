"""A C chosen for every label in one call: against one cross-validation a label."""

import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import make_scorer, recall_score
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skorch_logreg import (
    ConstantLabelWarning,
    MultiLabel,
    ParameterError,
    TorchLogisticClassifier,
    TorchLogisticClassifierCV,
)
from skorch_logreg.fitting import ROW_BYTES
from tests.estimators.data import assert_same_state, binary, multi, state
from tests.estimators.labels import labels

FOLDS = KFold(4, shuffle=True, random_state=0)


def searcher(**options):
    defaults = {
        "Cs": [0.01, 0.3, 10.0], "l1_ratios": (0,), "cv": FOLDS, "scoring": "neg_log_loss",
        "use_legacy_attributes": False, "tol": 1e-8, "max_iter": 1000,
    }  # fmt: skip
    return TorchLogisticClassifierCV(**defaults | options)


def assert_as_alone(model, k, alone, rtol=1e-7):
    np.testing.assert_allclose(model.scores_[k], alone.scores_, rtol=1e-7, atol=1e-9)
    assert model.C_[k] == alone.C_
    assert model.l1_ratio_[k] == alone.l1_ratio_
    np.testing.assert_allclose(model.coef_[k], alone.coef_[0], rtol=rtol, atol=1e-9)
    np.testing.assert_allclose(model.intercept_[k], alone.intercept_[0], rtol=rtol, atol=1e-9)


def refit_passes(model, X, Y, weight):
    """Passes of the fits with the chosen C alone, by their number of l1_ratios."""
    estimator = TorchLogisticClassifier(tol=1e-8, max_iter=1000)
    return MultiLabel(estimator, C=model.C_).fit(X, Y, weight).n_passes_


@pytest.mark.parametrize("form", [np.array, sp.csr_array])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"Cs": 4, "cv": 3, "scoring": "accuracy"},
        {"scoring": "roc_auc"},
        {"scoring": "average_precision"},
        {"scoring": None, "class_weight": "balanced"},
        {"scoring": make_scorer(recall_score, response_method="predict")},
        {"l1_ratios": (0, 0.5, 1), "Cs": [0.03, 1.0]},
        {"selection": "1se", "class_weight": {1: 3.0}},
        {"solver": "liblinear", "intercept_scaling": 2.0},
        {"fit_intercept": False, "Cs": [1.0, np.inf]},
        {"penalty_factor": [0.0, 1, 10, 1]},
    ],
    ids=str,
)
def test_equal_to_one_search_a_label(form, options):
    X, Y = labels()
    weight = np.random.default_rng(0).uniform(0.5, 2, len(X))
    model = MultiLabel(searcher(**options)).fit(form(X), form(Y), weight)
    # a number of folds is stratified for one label, not for many
    options = options | ({"cv": KFold(options["cv"])} if "cv" in options else {})
    for k in range(3):
        alone = searcher(**options).fit(form(X), Y[:, k], weight)
        assert_as_alone(model, k, alone)
    np.testing.assert_array_equal(model.Cs_, alone.Cs_)
    np.testing.assert_array_equal(model.l1_ratios_, alone.l1_ratios_)
    assert model.converged_.all()
    assert refit_passes(model, form(X), Y, weight) < model.n_passes_ < 3 * alone.n_passes_


@pytest.mark.parametrize("scoring", ["neg_log_loss", "roc_auc", "f1"])
def test_unknown_cells_take_part_in_neither_training_nor_scores(scoring):
    X, Y = labels()
    known = np.random.default_rng(0).random(Y.shape) < 0.7
    model = MultiLabel(searcher(scoring=scoring)).fit(X, np.where(known, Y, np.nan))
    masked = MultiLabel(searcher(scoring=scoring)).fit(X, Y, label_mask=known)
    np.testing.assert_array_equal(model.scores_, masked.scores_)
    for k in range(3):
        rows = np.flatnonzero(known[:, k])
        place = np.full(len(X), -1)
        place[rows] = np.arange(len(rows))
        splits = [
            (place[train][place[train] >= 0], place[test][place[test] >= 0])
            for train, test in FOLDS.split(X)
        ]
        alone = searcher(scoring=scoring, cv=splits).fit(X[rows], Y[rows, k])
        assert_as_alone(model, k, alone)


def test_a_threshold_of_its_own_scores_every_label():
    X, Y = labels()
    thresholds = [0.2, 0.5, 0.7]
    model = MultiLabel(searcher(scoring="accuracy"), threshold=thresholds).fit(X, Y)
    common = MultiLabel(searcher(scoring="accuracy"), threshold=0.2).fit(X, Y)
    for k, threshold in enumerate(thresholds):
        alone = searcher(scoring="accuracy", threshold=threshold).fit(X, Y[:, k])
        np.testing.assert_array_equal(model.scores_[k], alone.scores_)
    np.testing.assert_array_equal(common.scores_[0], model.scores_[0])
    assert (common.scores_[2] != model.scores_[2]).any()


@pytest.mark.parametrize("models", [1, 3, 5, 12, 24])
def test_any_budget_gives_the_same_choice(models):
    """Less than one label's grid, one grid at a time, or two."""
    X, Y = labels()
    expected = MultiLabel(searcher()).fit(X, Y)
    model = MultiLabel(searcher(), memory_budget=models * ROW_BYTES * len(X)).fit(X, Y)
    np.testing.assert_allclose(model.scores_, expected.scores_, rtol=1e-7)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-7)
    inner = MultiLabel(searcher(memory_budget=models * ROW_BYTES * len(X))).fit(X, Y)
    assert inner.n_passes_ == model.n_passes_


def test_rare_labels():
    """A fold may lack a label in its training rows, or in the held-out ones."""
    X, Y = labels()
    rare = np.zeros(len(X), dtype=int)
    first_test = next(FOLDS.split(X))[1]
    rare[first_test[:3]] = 1  # in no training row of the first fold, held out in no other
    together = np.c_[Y[:, 0], rare, Y[:, 1]]
    model = MultiLabel(searcher()).fit(X, together)
    assert_as_alone(model, 1, searcher().fit(X, rare))
    with pytest.warns(UserWarning, match=r"3 of 12 folds and labels .* as of labels 1:") as caught:
        ranked = MultiLabel(searcher(scoring="roc_auc")).fit(X, together)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert np.isnan(ranked.scores_[1, 1:]).all()
    np.testing.assert_array_equal(ranked.scores_[1, 0], 0.5)
    for k, column in ((0, 0), (2, 1)):
        assert_as_alone(ranked, k, searcher(scoring="roc_auc").fit(X, Y[:, column]))


def test_labels_without_any_score():
    """They get the first C, and the warning says so; constant ones are certain."""
    X, Y = labels()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        together = np.c_[Y[:, 0], np.ones(len(X))]
        model = MultiLabel(searcher(scoring="roc_auc")).fit(X, together)
    texts = {w.category: str(w.message) for w in caught}
    assert "Without any score is 1, with the first of Cs" in texts[UserWarning]
    assert "always 1: 1" in texts[ConstantLabelWarning]
    assert model.C_[1] == 0.01
    assert (model.predict_proba(X)[:, 1] == 1).all()
    with pytest.warns(ConstantLabelWarning):
        scored = MultiLabel(searcher()).fit(X, together)
    assert scored.scores_[1].max() > -1e-12


@pytest.mark.parametrize("solver", ["auto", "liblinear"])
def test_labels_that_a_fold_lacks_keep_to_the_objective(solver):
    """Also where the intercept is penalised, so that one class has a minimiser."""
    X, Y = labels()
    rare = np.zeros(len(X), dtype=int)
    rare[next(FOLDS.split(X))[1][:3]] = 1
    options = {"solver": solver, "fit_intercept": solver == "liblinear"}
    model = MultiLabel(searcher(**options)).fit(X, np.c_[rare, Y])
    assert_as_alone(model, 0, searcher(**options).fit(X, rare), rtol=1e-6)


def test_one_column_of_two_classes():
    """Stratified as for the classifier, whose model it is."""
    X, y = binary()
    y = np.array(["no", "yes"])[y]
    model = MultiLabel(searcher(cv=5, scoring="f1_macro")).fit(X, y)
    alone = searcher(cv=5, scoring="f1_macro").fit(X, y)
    assert_as_alone(model, 0, alone)
    np.testing.assert_array_equal(model.predict(X), alone.predict(X))


def test_one_column_of_more_classes():
    X, y = multi()
    model = MultiLabel(searcher()).fit(X, y)
    for k in range(3):
        assert_as_alone(model, k, searcher().fit(X, y == k))


def test_any_splitter():
    """Splitters get y as it was given; folds may be masks."""
    X, Y = labels()
    seen = []

    class Recorder(KFold):
        def split(self, X, y=None, groups=None):
            seen.append(y)
            return super().split(X, y, groups)

    expected = MultiLabel(searcher(cv=KFold(3))).fit(X, Y)
    recorded = MultiLabel(searcher(cv=Recorder(3))).fit(X, Y)
    assert seen[0] is Y
    masks = [
        (~np.isin(np.arange(len(X)), test), np.isin(np.arange(len(X)), test))
        for _, test in KFold(3).split(X)
    ]
    for model in (recorded, MultiLabel(searcher(cv=masks)).fit(X, Y)):
        np.testing.assert_array_equal(model.scores_, expected.scores_)
    known = np.random.default_rng(0).random(Y.shape) < 0.7
    expected = MultiLabel(searcher(cv=KFold(3))).fit(X, Y, label_mask=known)
    model = MultiLabel(searcher(cv=masks)).fit(X, Y, label_mask=known)
    np.testing.assert_array_equal(model.scores_, expected.scores_)
    with pytest.raises(ParameterError, match="yields no folds"):
        MultiLabel(searcher(cv=iter([]))).fit(X, Y)


def test_attributes_of_another_fit_are_forgotten():
    X, Y = labels()
    model = MultiLabel(searcher()).fit(X, Y)
    assert model.scores_.shape == (3, 4, 1, 3)
    assert model.C_.shape == model.l1_ratio_.shape == model.n_iter_.shape == (3,)
    travelled = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(travelled.C_, model.C_)
    model.set_params(estimator=TorchLogisticClassifier()).fit(X, Y)
    assert not {"scores_", "C_", "Cs_", "l1_ratio_", "l1_ratios_"} & vars(model).keys()


def test_pipeline():
    X, Y = labels()
    pipe = make_pipeline(StandardScaler(), MultiLabel(searcher()))
    pipe.fit(X, Y)
    cloned = clone(pipe).set_params(multilabel__estimator__Cs=[0.5]).fit(X, Y)
    assert cloned[-1].C_.tolist() == [0.5] * 3


def test_changes_of_scikit_learn_are_not_announced():
    X, Y = labels()
    model = MultiLabel(TorchLogisticClassifierCV(cv=2, Cs=2)).fit(X, Y)
    assert model.l1_ratios_.tolist() == [None]


def test_one_convergence_warning():
    X, Y = labels()
    with pytest.warns(ConvergenceWarning, match=r"39 of 39 models of labels \(0, 1, 2\)") as caught:
        MultiLabel(searcher(max_iter=1, tol=1e-12)).fit(X, Y)
    assert len(caught) == 1
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"C": 1.0}, "leave C=None"),
        ({"estimator__refit": False}, "leave refit=True"),
        ({"estimator__threshold": 0.3}, "MultiLabel's that decides"),
        ({"estimator__Cs": [0.0]}, "Cs"),
        ({"estimator__cv": 1000}, "n_splits=1000"),
        ({"estimator__tol": -1}, "The 'tol' parameter of TorchLogisticClassifierCV"),
    ],
)
def test_what_is_refused(parameters, words):
    X, Y = labels()
    model = MultiLabel(searcher()).fit(X, Y)
    before = state(model)
    with pytest.raises(ValueError, match=words):
        model.set_params(**parameters).fit(X, Y)
    assert_same_state(state(model), before)


def test_a_fold_without_a_known_training_cell():
    X, Y = labels()
    test = next(FOLDS.split(X))[1]
    known = np.ones_like(Y, dtype=bool)
    known[:, 2] = np.isin(np.arange(len(X)), test)
    with pytest.raises(ParameterError, match="Fold 0 of cv has no training row .* label 2 is"):
        MultiLabel(searcher()).fit(X, Y, label_mask=known)
