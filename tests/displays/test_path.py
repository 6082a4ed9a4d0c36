"""Test that the plotted lines are the regularization path."""

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.text import Text
from sklearn.datasets import load_iris

from skorch_logreg import ParameterError, regularization_path
from skorch_logreg.displays import CoefficientPathDisplay
from tests.estimators.data import binary


@pytest.fixture
def path():
    return regularization_path(*binary(), Cs=[0.1, 0.01, 1.0])


@pytest.mark.parametrize("against", ["C", "lambda"])
def test_every_line_is_a_coefficient_in_the_order_of_C(path, against):
    display = CoefficientPathDisplay.from_path(path, against=against, n_labels=2)
    order = np.argsort(path.Cs)
    x = path.Cs[order] if against == "C" else 1 / path.Cs[order]
    assert len(display.features_) == 2
    largest = np.argsort(-np.abs(path.coefs[path.Cs.argmax()]))[:2]
    assert set(display.features_) == set(largest)
    for line, j in zip(display.lines_, display.features_, strict=True):
        np.testing.assert_array_equal(line.get_xdata(), x)
        np.testing.assert_array_equal(line.get_ydata(), path.coefs[order, j])
        assert line.get_label() == f"x{j}"
    others = np.array([segment[:, 1] for segment in display.others_.get_segments()])
    rest = [j for j in range(path.coefs.shape[1]) if j not in display.features_]
    rest = [j for j in rest if path.coefs[:, j].any()]
    assert sorted(map(tuple, others)) == sorted(map(tuple, path.coefs[order][:, rest].T))
    assert display.ax_.get_xscale() == "log"
    assert display.ax_.get_xlim() == (x[0], x[-1])  # weak penalties on the right


def test_names_do_not_overlap():
    coefs = np.linspace(1, 1.01, 8) * np.array([[0.0], [1.0]])
    long = [f"a name that is longer than any axes are wide, of column {j}" for j in range(8)]
    display = CoefficientPathDisplay([0.1, 1.0], coefs, feature_names=long).plot()
    display.figure_.canvas.draw()
    boxes = sorted(
        (Text.get_window_extent(text) for text in display.ax_.texts), key=lambda box: box.y0
    )
    assert len(boxes) == 8
    assert all(low.y1 <= high.y0 + 1 for low, high in zip(boxes, boxes[1:], strict=False))
    assert max(box.x1 for box in boxes) <= display.figure_.bbox.x1


def test_three_classes_are_a_norm_or_one_of_them():
    X, y = load_iris(return_X_y=True)
    path = regularization_path(X, y, Cs=[0.1, 1.0])
    display = CoefficientPathDisplay.from_path(path)
    for line, j in zip(display.lines_, display.features_, strict=True):
        np.testing.assert_allclose(
            line.get_ydata(), np.sqrt((path.coefs[:, :, j] ** 2).sum(axis=1))
        )
    one = CoefficientPathDisplay.from_path(path, class_of_interest=2)
    for line, j in zip(one.lines_, one.features_, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), path.coefs[:, 2, j])


def test_the_first_of_two_classes_has_the_other_sign(path):
    display = CoefficientPathDisplay.from_path(path, class_of_interest=path.classes[0])
    j = display.features_[0]
    np.testing.assert_array_equal(display.lines_[0].get_ydata()[-1], -path.coefs[2, j])


def test_thousands_of_features_are_one_artist():
    coefs = np.random.default_rng(0).standard_normal((4, 2000)).astype(np.float32)
    display = CoefficientPathDisplay([1, 2, 3, 4], coefs).plot()
    assert len(display.lines_) == 8
    assert len(display.others_.get_segments()) == 1992
    assert len(display.ax_.texts) == 8


def test_an_empty_path_says_so():
    display = CoefficientPathDisplay([1.0, 2.0], np.zeros((2, 3))).plot()
    assert [text.get_text() for text in display.ax_.texts] == ["all coefficients are zero"]


@pytest.mark.parametrize("n_labels", [0, 1, 8])
def test_no_text_where_only_labels_are_not_wanted(path, n_labels):
    display = CoefficientPathDisplay.from_path(path, n_labels=n_labels)
    texts = [text.get_text() for text in display.ax_.texts]
    assert texts == [f"x{j}" for j in display.features_]
    assert len(texts) == min(n_labels, path.coefs.shape[1])


@pytest.mark.parametrize("against", ["C", "lambda"])
@pytest.mark.parametrize("coef", [[0.0, 0.0, 0.0], [1.0, 0.0, -2.0]])
def test_a_path_of_one_C(coef, against):
    display = CoefficientPathDisplay([1e-4], [coef]).plot(n_labels=1, against=against)
    display.figure_.canvas.draw()
    low, high = display.ax_.get_xlim()
    x = 1e-4 if against == "C" else 1e4
    assert low < x < high
    if any(coef):
        (line,) = display.lines_
        np.testing.assert_array_equal(line.get_xydata(), [[x, -2.0]])
        assert line.get_marker() == "o"
        (other,) = display.others_.get_segments()
        np.testing.assert_array_equal(other, [[x, 1.0]])
        drawn = [tuple(point) for line in display.ax_.lines for point in line.get_xydata()]
        assert (x, 1.0) in drawn  # as a marker
    else:
        assert [text.get_text() for text in display.ax_.texts] == ["all coefficients are zero"]


def test_axes_in_axes_out(path):
    _, ax = plt.subplots()
    display = CoefficientPathDisplay.from_path(path, ax=ax, linewidth=3)
    assert display.ax_ is ax
    assert display.lines_[0].get_linewidth() == 3
    with pytest.raises(ParameterError, match="against is 'alpha'; it must be 'C' or 'lambda'"):
        display.plot(against="alpha")
    with pytest.raises(ParameterError, match="class_of_interest is 7"):
        CoefficientPathDisplay.from_path(path, class_of_interest=7)
