"""Test that the plotted points are the largest coefficients, in order and with their names."""

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt
from sklearn.datasets import (
    load_breast_cancer,
    load_digits,
    load_wine,
    make_multilabel_classification,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skorch_logreg import (
    MultiLabel,
    NeuralLogisticClassifier,
    OrdinalLogisticClassifier,
    ParameterError,
    TorchLogisticClassifier,
    firth,
    summary,
)
from skorch_logreg.analysis import profile_intervals
from skorch_logreg.displays import CoefficientDisplay
from tests.estimators.data import binary


def drawn(points):
    return np.asarray(points.lines[0].get_xdata())


def names(display):
    return [label.get_text() for label in display.ax_.get_yticklabels()]


def test_the_largest_come_first_and_by_name():
    X, y = binary()
    model = TorchLogisticClassifier().fit(pd.DataFrame(X).add_prefix("column "), y)
    display = CoefficientDisplay.from_estimator(model, n_features=3)
    order = sorted(range(X.shape[1]), key=lambda j: -abs(model.coef_[0, j]))[:3]
    assert names(display) == [f"column {j}" for j in order]
    np.testing.assert_array_equal(drawn(display.points_[0]), model.coef_[0, order])
    top, bottom = display.ax_.get_ylim()[::-1]
    assert top < 0 < 2 < bottom  # the first row is the upper one


def test_a_colour_a_class():
    X, y = load_wine(return_X_y=True)
    model = make_pipeline(StandardScaler(), TorchLogisticClassifier()).fit(X, y)
    display = CoefficientDisplay.from_estimator(model)
    coef = model[-1].coef_
    assert len(display.points_) == 3
    for k, points in enumerate(display.points_):
        np.testing.assert_array_equal(drawn(points), coef[k, display.features_])
    assert len({points.lines[0].get_color() for points in display.points_}) == 3
    legend = display.ax_.get_legend().get_texts()
    assert [text.get_text() for text in legend] == ["0", "1", "2"]
    one = CoefficientDisplay.from_estimator(model, class_of_interest=1)
    np.testing.assert_array_equal(drawn(one.points_[0]), coef[1, one.features_])


def test_the_legend_of_classes_hides_no_point():
    X, y = load_wine(return_X_y=True)
    display = CoefficientDisplay.from_estimator(TorchLogisticClassifier().fit(X, y))
    display.figure_.draw_without_rendering()
    legend = display.ax_.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["0", "1", "2"]
    assert legend.get_window_extent().y0 >= display.ax_.get_window_extent().y1


def test_names_come_from_the_steps_before():
    X, y = load_wine(return_X_y=True, as_frame=True)
    model = make_pipeline(StandardScaler(), TorchLogisticClassifier()).fit(X, y)
    assert "proline" in names(CoefficientDisplay.from_estimator(model))


def test_intervals_are_the_ends_of_the_bars():
    X, y = binary()
    model = TorchLogisticClassifier().fit(X, y)
    ends = np.column_stack([model.coef_[0] - 0.5, model.coef_[0] + 0.25])
    display = CoefficientDisplay.from_estimator(model, intervals=ends)
    (bars,) = display.points_[0].lines[2]
    found = np.array([segment[:, 0] for segment in bars.get_segments()])
    np.testing.assert_allclose(found, ends[display.features_])
    with pytest.raises(ParameterError, match=r"intervals has shape \(2,\).*expected"):
        CoefficientDisplay.from_estimator(model, intervals=ends[0])


@pytest.mark.parametrize("odds_ratios", [False, True])
@pytest.mark.parametrize("make", [summary, profile_intervals, firth])
def test_intervals_of_an_inference(make, odds_ratios):
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    X = X[["mean texture", "mean smoothness"]] / [5, 0.01]
    model = TorchLogisticClassifier(C=np.inf, tol=1e-8).fit(X, y)
    result = make(X, y) if make is firth else make(model, X, y)
    display = CoefficientDisplay.from_inference(result, odds_ratios=odds_ratios)
    scale = np.exp if odds_ratios else np.asarray
    np.testing.assert_array_equal(drawn(display.points_[0]), scale(result.coef[display.features_]))
    (bars,) = display.points_[0].lines[2]
    found = np.array([segment[:, 0] for segment in bars.get_segments()])
    np.testing.assert_allclose(found, scale(result.interval[display.features_]))
    assert set(names(display)) == set(X)
    assert display.ax_.get_xscale() == ("log" if odds_ratios else "linear")
    assert display.ax_.get_xlabel() == ("odds ratio" if odds_ratios else "coefficient")


def test_classes_of_an_inference_are_in_the_names():
    X, y = load_wine(return_X_y=True, as_frame=True)
    X = X[["hue", "alcohol"]]
    result = summary(TorchLogisticClassifier(C=np.inf, tol=1e-6).fit(X, y), X, y)
    found = names(CoefficientDisplay.from_inference(result))
    assert set(found) == {f"{k}: {name}" for k in (1, 2) for name in X}


def test_thresholds_are_no_coefficients_and_a_column_may_be_called_intercept():
    X, y = load_wine(return_X_y=True, as_frame=True)
    X = X[["hue", "alcohol"]].rename(columns={"hue": "intercept"})
    ordered = summary(OrdinalLogisticClassifier(C=np.inf).fit(X, y), X, y)
    assert set(names(CoefficientDisplay.from_inference(ordered))) == set(X)
    for model in (
        TorchLogisticClassifier(C=np.inf),
        TorchLogisticClassifier(C=np.inf, fit_intercept=False),
    ):
        found = summary(model.fit(X, y > 0), X, y > 0)
        assert set(names(CoefficientDisplay.from_inference(found))) == set(X)


@pytest.mark.parametrize("odds_ratios", [False, True])
def test_many_classes_are_a_heat_map(odds_ratios):
    X, y = load_digits(return_X_y=True)
    model = TorchLogisticClassifier(C=0.01).fit(X, y)
    display = CoefficientDisplay.from_estimator(model, n_features=5, odds_ratios=odds_ratios)
    np.testing.assert_array_equal(display.image_.get_array(), model.coef_[:, display.features_].T)
    low, high = display.image_.get_clim()
    assert -low == high == np.abs(model.coef_).max()
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == [*map(str, range(10))]
    assert names(display) == [f"x{j}" for j in display.features_]
    assert display.points_ == []
    display.figure_.canvas.draw()
    bar = [text.get_text() for text in display.image_.colorbar.ax.get_yticklabels()]
    assert ("1" in bar) == odds_ratios  # exp(0)


def test_long_class_names_leave_room_for_the_heat_map():
    coef = np.random.default_rng(0).standard_normal((7, 4))
    heights = []
    for long in (False, True):
        classes = [f"{k} department of the town" if long else f"{k}" for k in range(7)]
        display = CoefficientDisplay(coef, classes=classes).plot()
        figure = display.figure_
        figure.canvas.draw()  # a warning, which is an error here, if the axes have no room
        heights.append(display.ax_.get_window_extent().height)
        for label in display.ax_.get_xticklabels():
            assert label.get_window_extent().y0 >= 0
    assert heights[1] == pytest.approx(heights[0], rel=0.1)
    _, ax = plt.subplots(figsize=(9, 7))
    CoefficientDisplay(coef, classes=classes).plot(ax)
    assert ax.figure.get_figheight() == 7


@pytest.mark.parametrize("kind", ["sparse", "float32", "torch"])
def test_every_kind_of_coef(kind):
    X, y = binary()
    model = TorchLogisticClassifier(C=0.05, l1_ratio=1.0).fit(X.astype(np.float32), y)
    coef = np.array(model.coef_[0], dtype=np.float64)
    if kind == "sparse":
        model.sparsify()
    if kind == "torch":
        model.coef_ = torch.tensor(model.coef_)
    display = CoefficientDisplay.from_estimator(model)
    assert 0 < len(display.features_) == (coef != 0).sum()
    np.testing.assert_array_equal(drawn(display.points_[0]), coef[display.features_])


def test_many_features_are_few_rows():
    coef = np.random.default_rng(0).standard_normal(2000)
    display = CoefficientDisplay(coef).plot()
    assert len(names(display)) == 20
    assert names(display)[0] == f"x{np.abs(coef).argmax()}"


def test_nothing_but_zeros_says_so():
    display = CoefficientDisplay(np.zeros(3)).plot()
    assert [text.get_text() for text in display.ax_.texts] == ["all coefficients are zero"]
    assert CoefficientDisplay(np.zeros((9, 3))).plot().ax_.texts
    assert not CoefficientDisplay(np.ones(3)).plot(n_features=0).ax_.texts


def test_labels_by_name():
    X, Y = make_multilabel_classification(n_classes=3, random_state=0)
    model = MultiLabel().fit(X, pd.DataFrame(Y, columns=["a", "b", "c"]))
    display = CoefficientDisplay.from_estimator(model, class_of_interest="b")
    np.testing.assert_array_equal(drawn(display.points_[0]), model.coef_[1, display.features_])
    with pytest.raises(ParameterError, match="class_of_interest is 'd'; it must be one of 'a'"):
        CoefficientDisplay.from_estimator(model, class_of_interest="d")


def test_axes_in_axes_out():
    _, ax = plt.subplots()
    display = CoefficientDisplay([1.0, -2.0], feature_names=["a", "b"]).plot(ax, color="red")
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    assert display.points_[0].lines[0].get_color() == "red"
    with pytest.raises(ParameterError, match=r"feature_names has shape \(1,\)"):
        CoefficientDisplay([1.0, -2.0], feature_names=["a"]).plot()


def test_a_network_has_none():
    model = NeuralLogisticClassifier((4,)).fit(*binary())
    with pytest.raises(ParameterError, match="has no coef_"):
        CoefficientDisplay.from_estimator(model)
