"""Folds: any splitter, folds that lack a class, batches within a budget."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold, LeaveOneOut, ShuffleSplit, StratifiedKFold

from skorch_logreg import ParameterError, TorchLogisticClassifier, fitting
from skorch_logreg import TorchLogisticClassifierCV as OursCV
from skorch_logreg.fitting import ROW_BYTES
from tests.estimators.cv.comparison import (
    GRID,
    NEW,
    TIGHT,
    assert_close,
    data,
    ours,
    sample_weight,
    sklearns,
)

# ---------------------------------------------------------------- folds


@pytest.mark.parametrize(
    "cv",
    [
        KFold(4, shuffle=True, random_state=0),
        ShuffleSplit(3, random_state=1),
        LeaveOneOut(),
        [(np.arange(90) % 2 == 0, np.arange(90) % 2 == 1), (np.arange(80), np.arange(80, 90))],
        [(np.repeat(np.arange(60), 2)[:100], np.repeat(np.arange(60, 90), 3))],
    ],
    ids=["kfold", "shuffle", "leave-one-out", "masks", "repeated"],
)
def test_splitters(cv):
    X, y = data(2)
    options = {"cv": cv, "Cs": [0.1, 1.0]}
    model, expected = ours(**options).fit(X, y), sklearns(**options).fit(X, y)
    assert_close(model.scores_, expected.scores_)
    assert_close(model.coefs_paths_, expected.coefs_paths_)
    assert model.C_ == expected.C_


def test_a_generator_of_folds():
    X, y = data(2)
    folds = StratifiedKFold(3).split(X, y)
    np.testing.assert_array_equal(ours(cv=folds).fit(X, y).scores_, ours().fit(X, y).scores_)


def test_fold_numbers_are_read_as_scikit_learn_reads_them():
    X, y = data(2)
    for cv in [None, 2, 4]:
        assert len(ours(cv=cv).fit(X, y).scores_) == (cv or 5)
    with pytest.raises(ValueError, match="n_splits=80 cannot be greater"):
        ours(cv=80).fit(X, y)


def test_few_rows_give_fewer_folds_by_default():
    X, y = data(2)
    rows = np.r_[np.flatnonzero(y == 0)[:3], np.flatnonzero(y == 1)[:3]]
    with pytest.warns(UserWarning, match="no class has more than 3 members; there will be 3"):
        model = ours(cv=None).fit(X[rows], y[rows])
    assert len(model.scores_) == 3
    with pytest.raises(ValueError, match="n_splits=5 cannot be greater"):
        ours(cv=5).fit(X[rows], y[rows])


def test_folds_that_are_none():
    X, y = data(2)
    with pytest.raises(ParameterError, match="yields no folds"):
        ours(cv=[]).fit(X, y)
    with pytest.raises(ParameterError, match="Fold 1 of cv has no training row"):
        ours(cv=[(np.arange(60), np.arange(60, 90)), ([], np.arange(90))]).fit(X, y)
    weight = np.r_[np.zeros(30), np.ones(60)]
    with pytest.raises(ParameterError, match="Fold 0 of cv has no training row"):
        ours(cv=[(np.arange(30), np.arange(60, 90))]).fit(X, y, weight)
    with pytest.raises(IndexError, match="row 90"):
        ours(cv=[(np.arange(60), np.arange(60, 91))]).fit(X, y)


# ---------------------------------------------------------------- absent classes


@pytest.mark.parametrize("l1_ratio", [0, 0.5, 1])
def test_a_fold_without_a_class_has_the_limit(l1_ratio):
    """Coefficients of scikit-learn, whose intercept of the absent class stops somewhere."""
    X, y = data(3)
    lacks = np.flatnonzero(y != 2)
    cv = [(lacks, np.arange(90)), (np.arange(0, 90, 2), np.arange(1, 90, 2))]
    model = ours(cv=cv, l1_ratios=(l1_ratio,)).fit(X, y)
    if l1_ratio == 0:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            expected = sklearns(cv=cv, tol=1e-8).fit(X, y)
        assert_close(model.coefs_paths_[..., :-1], expected.coefs_paths_[..., :-1])
        assert_close(model.scores_[1], expected.scores_[1])
        shown = expected.coefs_paths_[0, 0, :, 0, -1] - expected.coefs_paths_[0, 0, :, 1, -1]
        assert_close(np.diff(model.coefs_paths_[0, 0, :, 1::-1, -1])[:, 0], shown)
    # two classes with a row each in the penalty: the ridge is half, the lasso the same
    pair = TorchLogisticClassifier(l1_ratio=1.0 if l1_ratio == 1 else 0.0, **TIGHT)
    if l1_ratio != 0.5:
        pair.set_params(C=GRID["Cs"][1] * (1 if l1_ratio else 2)).fit(X[lacks], y[lacks])
        difference = model.coefs_paths_[0, 0, 1, 1] - model.coefs_paths_[0, 0, 1, 0]
        np.testing.assert_allclose(difference[:-1], pair.coef_[0], rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(difference[-1], pair.intercept_[0], rtol=1e-6)
    path = model.coefs_paths_[0, 0]
    assert np.isfinite(path).all()
    free = slice(-1, None) if l1_ratio == 1 else slice(None)  # of the lasso's, one of many
    np.testing.assert_allclose(path.sum(axis=1)[:, free], 0, atol=1e-9)
    np.testing.assert_array_equal(path[:, 2, :-1], 0)
    for place in range(3):
        logits = X @ path[place, :, :-1].T + path[place, :, -1]
        probabilities = torch.softmax(torch.from_numpy(logits), dim=1).numpy()
        assert probabilities[:, 2].max() < np.finfo(float).eps
        score = -log_loss(y, probabilities, labels=[0, 1, 2])
        np.testing.assert_allclose(model.scores_[0, 0, place], score, rtol=1e-8)
    assert model.converged_


@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_fold_of_one_class_is_certain(n_classes):
    X, y = data(n_classes)
    only, test = np.flatnonzero(y == 1), np.arange(90)
    splits = list(StratifiedKFold(2).split(X, y))
    model = ours(cv=[(only, test), *splits]).fit(X, y)
    share = (y == 1).mean()
    eps = np.finfo(float).eps
    np.testing.assert_allclose(model.scores_[0], np.log(eps) * (1 - share), rtol=1e-8)
    np.testing.assert_array_equal(model.coefs_paths_[0, ..., :-1], 0)
    np.testing.assert_array_equal(model.n_iter_[0], 0)
    whole = ours(cv=splits).fit(X, y)
    np.testing.assert_allclose(model.scores_[1:], whole.scores_, rtol=1e-9)
    assert model.C_ == whole.C_
    model.set_params(scoring="accuracy").fit(X, y)
    np.testing.assert_allclose(model.scores_[0], share)


def test_folds_that_lack_different_classes_share_no_model():
    X, y = data(3)
    everything = np.arange(90)
    lacks = [np.flatnonzero(y != k) for k in (0, 1, 2)]
    order = [lacks[2], everything, lacks[0], lacks[1], lacks[2][::-1]]
    model = ours(cv=[(train, everything) for train in order]).fit(X, y)
    for fold, train in enumerate(order):
        alone = ours(cv=[(train, everything)]).fit(X, y)
        assert_close(model.coefs_paths_[fold], alone.coefs_paths_[0], rtol=1e-7, atol=1e-8)
        assert_close(model.scores_[fold], alone.scores_[0], rtol=1e-7, atol=1e-8)


def test_an_absent_class_without_an_intercept_has_a_minimiser():
    X, y = data(3)
    cv = [(np.flatnonzero(y != 2), np.arange(90)), (np.arange(90), np.arange(90))]
    model = ours(cv=cv, fit_intercept=False).fit(X, y)
    expected = sklearns(cv=cv, fit_intercept=False).fit(X, y)
    assert_close(model.scores_, expected.scores_)
    assert_close(model.coefs_paths_, expected.coefs_paths_)


def test_a_class_without_weight_is_absent_everywhere():
    X, y = data(3)
    weight = (y != 0).astype(float)
    model = ours(fit_intercept=True).fit(X, y, weight)
    assert model.converged_
    assert np.isfinite(model.intercept_).all()
    assert set(model.predict(X)) == {1, 2}
    assert model.predict_proba(X)[:, 0].max() < np.finfo(float).eps
    np.testing.assert_array_equal(model.coef_[0], 0)
    part = ours(class_weight={0: 0.0}, scoring="accuracy").fit(X, y)
    np.testing.assert_allclose(part.coefs_paths_, model.coefs_paths_, rtol=1e-6, atol=1e-7)


# ---------------------------------------------------------------- batches


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("at_once", [1, 2, 5, 7, 100])
def test_batches_keep_to_the_budget_and_change_nothing(monkeypatch, at_once, n_classes):
    X, y = data(n_classes)
    weight = sample_weight()
    expected = ours(cv=4).fit(X, y, weight)
    sizes = []
    fit = fitting.fit
    monkeypatch.setattr(
        fitting, "fit", lambda *a, **k: sizes.append(len(torch.as_tensor(k["C"]))) or fit(*a, **k)
    )
    budget = at_once * ROW_BYTES * 90 * (1 if n_classes == 2 else 3)
    model = ours(cv=4, memory_budget=budget).fit(X, y, weight)
    assert max(sizes) <= at_once
    assert sum(sizes) == 4 * 3 + 1
    assert len(sizes) == {1: 13, 2: 7, 5: 4, 7: 4, 100: 2}[at_once]
    np.testing.assert_allclose(model.scores_, expected.scores_, rtol=1e-9)
    np.testing.assert_allclose(model.coefs_paths_, expected.coefs_paths_, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-7, atol=1e-8)


def test_equal_penalties_are_solved_once(monkeypatch):
    X, y = data(2)
    calls = []
    fit = fitting.fit
    monkeypatch.setattr(fitting, "fit", lambda *a, **k: calls.append(1) or fit(*a, **k))
    model = ours(l1_ratios=(0.5, 0, 0.5)).fit(X, y)
    assert len(calls) == 3
    np.testing.assert_array_equal(model.scores_[:, 0], model.scores_[:, 2])


def test_passes_are_shared(monkeypatch):
    """Fifty models and the last one read X about as often as a few single fits."""
    X, y = data(2)
    found = []
    fit = fitting.fit
    monkeypatch.setattr(fitting, "fit", lambda *a, **k: found.append(fit(*a, **k)) or found[-1])
    model = OursCV(**NEW, Cs=10, cv=5).fit(X, y)
    assert model.n_passes_ == sum(solution.n_passes for solution in found)
    alone = TorchLogisticClassifier(C=model.C_).fit(X, y)
    assert model.n_passes_ < 10 * alone.n_passes_
