"""Test plotted optimality and history against the fit."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
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
    X, y = binary()
    model = TorchLogisticClassifier(solver="lbfgs", tol=1e-6)
    fitted = make_pipeline(StandardScaler(), model) if wrapped else model
    display = ConvergenceDisplay.from_fit(fitted, X, y)
    assert not hasattr(model, "coef_")
    alone = TorchLogisticClassifier(solver="lbfgs", tol=1e-6)
    alone.fit(StandardScaler().fit_transform(X) if wrapped else X, y)
    x, values = display.line_.get_data()
    assert len(values) == 1 + alone.n_iter_[0]  # the start is the first
    assert values[-1] == alone.optimality_ <= 1e-6 < values[:-1].min()
    assert alone.history_ == {"n_passes": list(x), "optimality": list(values)}
    assert (np.diff(x) > 0).all()
    assert x[-1] <= alone.n_passes_
    assert (np.asarray(display.tol_line_.get_ydata()) == 1e-6).all()
    assert display.ax_.get_yscale() == "log"


def test_the_trace_is_what_callbacks_see():
    callback = pytest.importorskip("sklearn.callback")
    seen = []

    class Recorder:
        setup = teardown = on_fit_task_begin = lambda *args, **kwargs: None

        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            if context.task_name == "solver-iter" and fitted_estimator is not None:
                seen.append((fitted_estimator.n_passes_, fitted_estimator.optimality_))

    assert isinstance(Recorder(), callback.FitCallback)
    model = TorchLogisticClassifier().set_callbacks(Recorder()).fit(*binary())
    assert list(zip(*model.history_.values(), strict=True))[1:] == seen


@pytest.mark.parametrize("shape", [(20, 500), (2, 1)])
def test_a_start_that_is_optimal_is_drawn(shape):
    X = np.random.default_rng(0).standard_normal(shape)
    model = TorchLogisticClassifier().fit(X, np.arange(len(X)) % 2)
    display = ConvergenceDisplay.from_estimator(model)
    assert len(display.values) >= 1
    assert display.values[-1] == model.optimality_


def test_two_fits_share_their_axes():
    first = ConvergenceDisplay.from_fit(TorchLogisticClassifier(), *binary(), name="auto")
    model = TorchLogisticClassifier(solver="newton-cg")
    second = ConvergenceDisplay.from_fit(model, *binary(), name="newton-cg", ax=first.ax_)
    assert second.ax_ is first.ax_
    assert second.tol_line_ is None  # drawn once
    texts = [text.get_text() for text in second.ax_.get_legend().get_texts()]
    assert texts == ["auto", "newton-cg"]


def test_weights_reach_the_fit():
    X, y = binary()
    weight = np.random.default_rng(0).uniform(size=len(y))
    display = ConvergenceDisplay.from_fit(
        TorchLogisticClassifier(), X, y, fit_params={"sample_weight": weight}
    )
    model = TorchLogisticClassifier().fit(X, y, weight)
    assert display.values[-1] == model.optimality_


def test_what_has_nothing_to_draw():
    X, y = binary()
    with pytest.raises(NotFittedError):
        ConvergenceDisplay.from_estimator(TorchLogisticClassifier())
    model = TorchLogisticClassifierCV(
        l1_ratios=(0,), scoring="neg_log_loss", use_legacy_attributes=False
    )
    with pytest.raises(ParameterError, match="TorchLogisticClassifierCV has no history_"):
        ConvergenceDisplay.from_fit(model, X, y)


def test_values_that_are_not_positive_have_a_linear_axis():
    assert ConvergenceDisplay([1, 2], [-0.3, -0.2]).plot().ax_.get_yscale() == "linear"
    zero = ConvergenceDisplay([1, 2], [0.3, 0.0], tol=1e-4).plot()
    assert zero.ax_.get_yscale() == "log"
    zero.figure_.canvas.draw()
