"""Curves of ordered classes are those of the model, and points the shares of rows."""

import numpy as np
import pytest

from skorch_logreg import OrdinalLogisticClassifier, ParameterError, TorchLogisticClassifier
from skorch_logreg.displays import CumulativeProbabilityDisplay
from tests.estimators.test_ordinal import problem


def test_curves_and_points():
    X, y = problem()
    model = OrdinalLogisticClassifier().fit(X, y)
    display = CumulativeProbabilityDisplay.from_estimator(model, X, y, n_groups=4, linewidth=3)
    below = 1 / (1 + np.exp(display.scores[:, None] - model.thresholds_))
    np.testing.assert_allclose(display.cumulative, below)
    assert [line.get_linewidth() for line in display.lines_] == [3] * 3
    order = model.linear_predictor(X).argsort(kind="stable")
    shares = [[(y[part] <= k).mean() for k in range(3)] for part in np.split(order, 4)]
    np.testing.assert_allclose(display.group_shares, shares)
    np.testing.assert_allclose(display.points_[1].get_ydata(), np.array(shares)[:, 1])
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == ["P(y ≤ 0)", "P(y ≤ 1)", "P(y ≤ 2)"]
    assert CumulativeProbabilityDisplay.from_estimator(model, X).points_ == []


def test_errors():
    X, y = problem()
    with pytest.raises(ParameterError, match="has no thresholds_"):
        CumulativeProbabilityDisplay.from_estimator(TorchLogisticClassifier().fit(X, y), X)
    model = OrdinalLogisticClassifier().fit(X, y)
    with pytest.raises(ParameterError, match="y holds 7"):
        CumulativeProbabilityDisplay.from_estimator(model, X, np.full(len(y), 7))
