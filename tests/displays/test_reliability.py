"""Test the calibration curve against scikit-learn, and the histogram against row counts."""

import numpy as np
import pytest
from matplotlib import pyplot as plt
from sklearn.calibration import calibration_curve

from skorch_logreg import TorchLogisticClassifier
from skorch_logreg.displays import ReliabilityDisplay
from tests.estimators.data import binary


@pytest.mark.parametrize("positions", [False, True])
def test_curve_and_histogram(positions):
    X, y = binary()
    model = TorchLogisticClassifier(C=0.01).fit(X, y)
    ax = plt.figure().add_axes((0.1, 0.1, 0.8, 0.8)) if positions else None
    display = ReliabilityDisplay.from_estimator(model, X, y, n_bins=4, ax=ax)
    probability = model.predict_proba(X)[:, 1]
    expected = calibration_curve(y, probability, n_bins=4)
    np.testing.assert_array_equal(display.line_.get_data(), expected[::-1])
    counts = np.histogram(probability, np.linspace(0, 1, 11))[0]
    np.testing.assert_array_equal(display.bars_.datavalues, counts)
    assert ax is None or display.ax_ is ax
    above, below = display.ax_.get_position(), display.ax_histogram_.get_position()
    assert below.y1 < above.y0
    assert (below.x0, below.x1) == pytest.approx((above.x0, above.x1))
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["Perfectly calibrated", "TorchLogisticClassifier"]


def test_the_diagonal_is_seen_on_a_dark_background():
    with plt.style.context("dark_background"):
        display = ReliabilityDisplay.from_predictions([0, 1, 1], [0.2, 0.4, 0.9])
    assert display.reference_.get_color() == (1.0, 1.0, 1.0, 1.0)


def test_labels_of_a_long_class_do_not_overlap():
    y, name = ["a"] * 3 + ["b" * 60] * 3, "b" * 60
    display = ReliabilityDisplay.from_predictions(y, np.linspace(0, 1, 6), pos_label=name)
    display.figure_.draw_without_rendering()
    below = display.ax_histogram_
    upper, lower = (ax.yaxis.label.get_window_extent() for ax in (display.ax_, below))
    assert upper.y0 > lower.y1
    text = below.xaxis.label.get_window_extent()
    assert 0 < text.x0 < text.x1 < display.figure_.bbox.x1


def test_predictions_of_dask():
    dask = pytest.importorskip("dask.array")
    X, y = binary()
    model = TorchLogisticClassifier().fit(X, y)
    expected = ReliabilityDisplay.from_estimator(model, X, y).bars_.datavalues
    found = ReliabilityDisplay.from_estimator(model, dask.from_array(X, chunks=(30, -1)), y)
    np.testing.assert_array_equal(found.bars_.datavalues, expected)


def test_a_class_that_is_missing():
    X, y = binary()
    model = TorchLogisticClassifier().fit(X, y)
    display = ReliabilityDisplay.from_estimator(model, X[y == 1], y[y == 1], ref_line=False)
    assert (np.asarray(display.line_.get_ydata()) == 1).all()
    assert display.reference_ is None
