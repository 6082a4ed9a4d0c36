"""Test plotted optimality and history against the fit."""

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skorch_logreg import (
    NeuralLogisticClassifier,
    ParameterError,
    TorchLogisticClassifier,
    TorchLogisticClassifierCV,
)
from skorch_logreg.displays import ConvergenceDisplay
from skorch_logreg.solvers import Adam
from tests.estimators.data import binary


def test_the_history_of_a_training():
    model = NeuralLogisticClassifier((4,), solver=Adam(epochs=5)).fit(*binary())
    display = ConvergenceDisplay.from_estimator(model, name="network")
    np.testing.assert_array_equal(display.line_.get_xdata(), np.arange(1, 6))
    np.testing.assert_array_equal(display.line_.get_ydata(), model.history_["loss"])
    assert display.ax_.get_yscale() == "log"
    assert display.tol_line_ is None
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == ["network"]
    with pytest.raises(ParameterError, match=r"value is 'gain'; history_ has learning_rate, loss"):
        ConvergenceDisplay.from_estimator(model, value="gain")


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_iterations_of_a_fit(wrapped):
    pytest.importorskip("sklearn.callback")
    X, y = binary()
    model = TorchLogisticClassifier(solver="lbfgs", tol=1e-6)
    fitted = make_pipeline(StandardScaler(), model) if wrapped else model
    display = ConvergenceDisplay.from_fit(fitted, X, y)
    assert not hasattr(model, "coef_")
    alone = TorchLogisticClassifier(solver="lbfgs", tol=1e-6)
    alone.fit(StandardScaler().fit_transform(X) if wrapped else X, y)
    x, values = display.line_.get_data()
    assert len(values) == alone.n_iter_[0]
    assert values[-1] == alone.optimality_ <= 1e-6 < values[:-1].min()
    assert (np.diff(x) > 0).all()
    assert x[-1] <= alone.n_passes_
    assert (np.asarray(display.tol_line_.get_ydata()) == 1e-6).all()
    assert display.ax_.get_yscale() == "log"


def test_two_fits_share_their_axes():
    pytest.importorskip("sklearn.callback")
    first = ConvergenceDisplay.from_fit(TorchLogisticClassifier(), *binary(), name="auto")
    model = TorchLogisticClassifier(solver="newton-cg")
    second = ConvergenceDisplay.from_fit(model, *binary(), name="newton-cg", ax=first.ax_)
    assert second.ax_ is first.ax_
    assert second.tol_line_ is None  # drawn once
    texts = [text.get_text() for text in second.ax_.get_legend().get_texts()]
    assert texts == ["auto", "newton-cg"]


def test_weights_reach_the_fit():
    pytest.importorskip("sklearn.callback")
    X, y = binary()
    weight = np.random.default_rng(0).uniform(size=len(y))
    display = ConvergenceDisplay.from_fit(
        TorchLogisticClassifier(), X, y, fit_params={"sample_weight": weight}
    )
    model = TorchLogisticClassifier().fit(X, y, weight)
    assert display.values[-1] == model.optimality_


def test_what_has_nothing_to_draw():
    X, y = binary()
    with pytest.raises(ParameterError, match="has no history_.*from_fit"):
        ConvergenceDisplay.from_estimator(TorchLogisticClassifier().fit(X, y))
    with pytest.raises(ParameterError, match="TorchLogisticClassifierCV takes no callbacks"):
        ConvergenceDisplay.from_fit(TorchLogisticClassifierCV(), X, y)
    pytest.importorskip("sklearn.callback")
    with pytest.raises(ParameterError, match="no iteration was proven"):
        ConvergenceDisplay.from_fit(NeuralLogisticClassifier((4,), solver=Adam(epochs=2)), X, y)


def test_values_that_are_not_positive_have_a_linear_axis():
    assert ConvergenceDisplay([1, 2], [-0.3, -0.2]).plot().ax_.get_yscale() == "linear"
    zero = ConvergenceDisplay([1, 2], [0.3, 0.0], tol=1e-4).plot()
    assert zero.ax_.get_yscale() == "log"
    zero.figure_.canvas.draw()
