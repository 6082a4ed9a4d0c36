"""Test the positions of contour lines against predicted probabilities."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from sklearn.datasets import load_iris, make_moons

from skorch_logreg import ParameterError, TorchLogisticClassifier
from skorch_logreg.displays import DecisionBoundaryDisplay


def points_on(contours, level):
    (place,) = np.flatnonzero(np.isclose(contours.levels, level))
    return contours.get_paths()[place].vertices


def test_lines_of_two_classes():
    X, y = make_moons(100, noise=0.2, random_state=0)
    model = TorchLogisticClassifier(threshold=0.3).fit(X, y)
    display = DecisionBoundaryDisplay.from_estimator(model, X, y)
    np.testing.assert_allclose(display.contours_.levels, np.arange(1, 10) / 10)
    for level in display.contours_.levels:
        found = model.predict_proba(points_on(display.contours_, level))[:, 1]
        np.testing.assert_allclose(found, level, atol=1e-3)
    (boundary,) = display.boundary_
    found = model.predict_proba(points_on(boundary, 0.3))[:, 1]
    np.testing.assert_allclose(found, 0.3, atol=1e-3)
    for k, points in enumerate(display.points_):
        np.testing.assert_array_equal(points.get_offsets(), X[y == k])


def test_lines_of_three_classes():
    X, y = load_iris(return_X_y=True, as_frame=True)
    X = X.iloc[:, 2:]
    model = TorchLogisticClassifier().fit(X, y)
    display = DecisionBoundaryDisplay.from_estimator(model, X, y)
    assert display.ax_.get_xlabel() == "petal length (cm)"
    for k, boundary in enumerate(display.boundary_):
        rows = pd.DataFrame(points_on(boundary, 0.0), columns=X.columns)
        found = model.predict_proba(rows)
        others = np.delete(found, k, axis=1).max(axis=1)
        np.testing.assert_allclose(found[:, k], others, atol=1e-2)


@pytest.mark.parametrize("drawn", [None, 0, 1])
def test_one_of_two_classes(drawn):
    """The line is where the decision changes, whichever probability is drawn."""
    X, y = make_moons(100, noise=0.2, random_state=0)
    model = TorchLogisticClassifier(threshold=0.3).fit(X, y)
    display = DecisionBoundaryDisplay.from_estimator(model, X, y, class_of_interest=drawn)
    (boundary,) = display.boundary_
    found = model.predict_proba(boundary.allsegs[0][0])[:, 1]
    np.testing.assert_allclose(found, 0.3, atol=1e-3)
    red, blue = (
        display.points_[k].get_facecolor()[0][0] for k in ((0, 1) if drawn == 0 else (1, 0))
    )
    assert red > blue  # the rows of the drawn class have the colour of its large probabilities


def test_one_of_three_classes_has_no_boundary():
    X, y = load_iris(return_X_y=True)
    model = TorchLogisticClassifier().fit(X[:, :2], y)
    display = DecisionBoundaryDisplay.from_estimator(model, X[:, :2], y, class_of_interest=1)
    assert display.boundary_ == []
    assert len(display.points_) == 3


def test_a_class_that_no_row_has_keeps_the_colours():
    X, y = make_moons(100, noise=0.2, random_state=0)
    model = TorchLogisticClassifier().fit(X, y)
    both = DecisionBoundaryDisplay.from_estimator(model, X, y)
    one = DecisionBoundaryDisplay.from_estimator(model, X[y == 1], y[y == 1])
    assert len(one.points_) == 1
    expected = both.points_[1].get_facecolor()
    np.testing.assert_array_equal(one.points_[0].get_facecolor(), expected)


def test_a_model_that_says_one_thing_has_no_lines():
    X, y = make_moons((75, 25), noise=0.2, random_state=0)
    model = TorchLogisticClassifier(C=1e-8).fit(X, y)  # 0.25 everywhere
    display = DecisionBoundaryDisplay.from_estimator(model, X)
    assert display.contours_ is None
    assert display.boundary_ == []


def test_names_longer_than_the_axes_are_shortened():
    X, y = make_moons(100, noise=0.2, random_state=0)
    frame = pd.DataFrame(X, columns=[f"{'a' * 60}{j}" for j in range(2)])
    y = np.array(["b" * 60 + "0", "b" * 60 + "1"])[y]
    display = DecisionBoundaryDisplay.from_estimator(
        TorchLogisticClassifier().fit(frame, y), frame, y
    )
    ax = display.ax_
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    for names, length in [([ax.get_xlabel(), ax.get_ylabel()], 45), (legend, 32)]:
        assert [(len(name), name[-1]) for name in names] == [(length, "0"), (length, "1")]


def test_names_of_many_classes_stand_at_their_rows():
    """A legend of thirty classes was taller than the figure, and left a strip to the axes."""
    X = np.random.default_rng(0).uniform(size=(360, 2))
    y = 6 * np.floor(5 * X[:, 0]) + np.floor(6 * X[:, 1])
    display = DecisionBoundaryDisplay.from_estimator(TorchLogisticClassifier().fit(X, y), X, y)
    assert display.ax_.get_legend() is None
    texts = {text.get_text(): text.get_position() for text in display.ax_.texts}
    for label in range(30):
        np.testing.assert_allclose(texts[f"{label:.1f}"], np.median(X[y == label], axis=0))


def test_axes_in_axes_out_and_drawn_again():
    X, y = make_moons(100, noise=0.2, random_state=0)
    _, ax = plt.subplots()
    model = TorchLogisticClassifier(threshold=0.2).fit(X.astype(np.float32), y)
    display = DecisionBoundaryDisplay.from_estimator(model, X, ax=ax, cmap="viridis")
    assert display.ax_ is ax
    again = display.plot()
    assert again.ax_ is not ax
    assert again.boundary_[0].levels == [0.2]
    with pytest.raises(ValueError, match="n_features must be equal to 2"):
        DecisionBoundaryDisplay.from_estimator(model, np.zeros((3, 4)))


def test_labels_that_the_model_does_not_know_are_refused():
    X, y = make_moons(100, noise=0.2, random_state=0)
    model = TorchLogisticClassifier(soft_labels=True).fit(X, 0.1 + 0.8 * y)
    for wrong in (0.1 + 0.8 * y, y + 1):
        with pytest.raises(ParameterError, match="expected classes of the model"):
            DecisionBoundaryDisplay.from_estimator(model, X, wrong)
