"""Test plotted means, errors and selected Cs against the classifier."""

import warnings

import numpy as np
import pytest
from matplotlib import pyplot as plt
from sklearn.datasets import make_classification, make_multilabel_classification
from sklearn.feature_selection import SelectFromModel
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skorch_logreg import (
    BatchedGridSearchCV,
    MultiLabel,
    ParameterError,
    TorchLogisticClassifier,
    TorchLogisticClassifierCV,
)
from skorch_logreg.displays import CVScoresDisplay

X, Y = make_classification(200, 20, flip_y=0.3, random_state=0)


def fitted(**parameters):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return TorchLogisticClassifierCV(scoring="neg_log_loss", **parameters).fit(X, Y)


@pytest.mark.parametrize("l1_ratios", [None, (0.0, 1.0)])
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("Cs", [5, [1.0, 0.01, 0.1]])
def test_both_layouts(l1_ratios, legacy, Cs):
    options = {"Cs": Cs, "l1_ratios": l1_ratios}
    model = fitted(use_legacy_attributes=legacy, **options)
    display = CVScoresDisplay.from_estimator(model)
    new = fitted(use_legacy_attributes=False, **options)
    order = np.argsort(new.Cs_)
    assert len(display.lines_) == new.scores_.shape[1]
    for k, (line, band) in enumerate(zip(display.lines_, display.bands_, strict=True)):
        scores = new.scores_[:, k, order]
        mean, error = scores.mean(axis=0), scores.std(axis=0, ddof=1) / np.sqrt(5)
        np.testing.assert_allclose(line.get_data(), [new.Cs_[order], mean])
        points = {tuple(point) for point in band.get_paths()[0].vertices}
        ends = [*zip(new.Cs_[order], mean - error), *zip(new.Cs_[order], mean + error)]  # noqa: B905
        assert set(ends) <= points
    simple = fitted(use_legacy_attributes=False, selection="1se", **options)
    assert display.best_[0] == new.C_
    assert display.simplest_[0] == simple.C_ < new.C_ or display.simplest_[0] == new.C_
    if l1_ratios is not None:
        assert display.best_[1] == new.l1_ratio_
        assert display.simplest_[1] == simple.l1_ratio_
    assert display.ax_.get_ylabel() == "neg log loss"
    assert display.ax_.get_xscale() == "log"


def test_no_penalty_stands_at_the_right_end():
    model = fitted(Cs=[1.0, np.inf, 0.1], use_legacy_attributes=False, l1_ratios=(0,))
    display = CVScoresDisplay.from_estimator(model)
    np.testing.assert_allclose(display.lines_[0].get_xdata(), [0.1, 1.0, 10.0])
    (text,) = display.ax_.texts
    assert text.get_text() == "no penalty"
    assert text.get_position()[1] > 1  # of the axes: above them, where no legend is
    assert display.best_[0] == model.C_


def test_one_label_of_many():
    X, Y = make_multilabel_classification(n_classes=3, random_state=0)
    model = MultiLabel(TorchLogisticClassifierCV(Cs=4, l1_ratios=(0,), scoring=None, cv=3)).fit(
        X, Y
    )
    display = CVScoresDisplay.from_estimator(model, label=1)
    np.testing.assert_allclose(display.lines_[0].get_ydata(), model.scores_[1, :, 0].mean(axis=0))
    assert display.best_[0] == model.C_[1]
    assert display.ax_.get_ylabel() == "accuracy"
    with pytest.raises(ParameterError, match="3 labels, and one is drawn"):
        CVScoresDisplay.from_estimator(model)


@pytest.mark.parametrize("search", [GridSearchCV, BatchedGridSearchCV])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_search(search, wrapped):
    model, prefix = TorchLogisticClassifier(), ""
    if wrapped:
        model, prefix = make_pipeline(StandardScaler(), model), "torchlogisticclassifier__"
    grid = [
        {f"{prefix}C": [0.1, 0.001, 1.0]},
        {f"{prefix}C": [0.1, 10.0], f"{prefix}class_weight": ["balanced"]},
    ]
    found = search(model, grid, scoring="neg_log_loss", cv=3).fit(X, Y)
    display = CVScoresDisplay.from_estimator(found)
    mean = found.cv_results_["mean_test_score"]
    plain, balanced = display.lines_
    np.testing.assert_allclose(plain.get_data(), [[0.001, 0.1, 1.0], mean[[1, 0, 2]]])
    np.testing.assert_allclose(balanced.get_data(), [[0.1, 10.0], mean[3:]])
    best = {name.removeprefix(prefix): value for name, value in found.best_params_.items()}
    assert display.best_ == (best.pop("C"), best)
    assert display.ax_.get_ylabel() == "neg log loss"
    assert display.lines_[1].get_label() == "class_weight = balanced"


def test_a_search_draws_the_best_settings_of_the_metric_of_refit():
    grid = {"C": [0.1, 1.0], "threshold": np.linspace(0.01, 0.6, 12)}
    search = BatchedGridSearchCV(
        TorchLogisticClassifier(), grid, scoring=["f1", "recall"], refit="f1", cv=3
    ).fit(X, Y)
    display = CVScoresDisplay.from_estimator(search)
    assert len(display.lines_) == 10
    best = search.cv_results_["mean_test_f1"]
    assert max(line.get_ydata().max() for line in display.lines_) == best.max()
    assert min(line.get_ydata().max() for line in display.lines_) > np.sort(best)[2]
    assert display.ax_.get_ylabel() == "f1"
    with pytest.raises(ParameterError, match="several metrics"):
        CVScoresDisplay.from_estimator(search.set_params(refit=False))
    search = BatchedGridSearchCV(TorchLogisticClassifier(), {"threshold": [0.1, 0.2]}).fit(X, Y)
    with pytest.raises(ParameterError, match="BatchedGridSearchCV has candidates without one C"):
        CVScoresDisplay.from_estimator(search)


@pytest.mark.parametrize("last", ["clf", "zclf"])  # before and after "select" in the alphabet
def test_parameters_of_two_steps_with_the_same_name(last):
    lasso = LogisticRegression(l1_ratio=1, solver="liblinear")
    steps = [("select", SelectFromModel(lasso)), (last, TorchLogisticClassifier())]
    grid = {
        f"{last}__C": [1e-3, 1e-2, 0.1],
        f"{last}__tol": [1e-4],
        "select__estimator__C": [1.0, 0.1],
    }
    search = GridSearchCV(Pipeline(steps), grid, scoring="neg_log_loss", cv=3).fit(X, Y)
    display = CVScoresDisplay.from_estimator(search)
    drawn = {}
    for line, setting in zip(display.lines_, display.l1_ratios, strict=True):
        assert setting.pop("tol") == 1e-4
        ((name, selected),) = setting.items()
        assert name == "select__estimator__C"
        drawn |= {(C, selected): score for C, score in zip(*line.get_data(), strict=True)}
    expected = {
        (params[f"{last}__C"], params[name]): score
        for params, score in zip(
            search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
        )
    }
    assert drawn == pytest.approx(expected)
    assert display.best_[0] == search.best_params_[f"{last}__C"]


def test_one_fold_has_no_error():
    display = CVScoresDisplay([0.1, 1.0], [[[0.5, 0.7]]]).plot()
    assert display.bands_ == []
    assert display.simplest_ is None
    assert display.best_ == (1.0, None)


def test_axes_in_axes_out():
    _, ax = plt.subplots()
    model = fitted(use_legacy_attributes=False, Cs=3)
    display = CVScoresDisplay.from_estimator(model, ax=ax, color="red")
    assert display.ax_ is ax
    assert display.lines_[0].get_color() == "red"
    with pytest.raises(ParameterError, match="has no scores_"):
        CVScoresDisplay.from_estimator(TorchLogisticClassifier().fit(X, Y))
    with pytest.raises(ParameterError, match="label is 1, but the model has none"):
        CVScoresDisplay.from_estimator(model, label=1)
