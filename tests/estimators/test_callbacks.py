"""The bridge to scikit-learn's callbacks, for every solver."""

import numpy as np
import pytest
import torch
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning

from skorch_logreg import TorchLogisticClassifier
from tests.estimators.data import assert_same_state, binary, multi, state

pytest.importorskip("sklearn.callback")

SOLVERS = ["auto", "lbfgs", "newton-cg", "newton-cholesky", "liblinear", "sag", "saga"]


class Recorder:
    """Keeps every task's begin and end; asks to stop after some iterations."""

    def __init__(self, stop_after=None, error=None):
        self.stop_after, self.error = stop_after, error
        self.begun, self.ended, self.models, self.metadata = [], [], [], []

    def setup(self, estimator, context):
        self.root = context

    def teardown(self, estimator, context):
        self.torn_down = True

    def on_fit_task_begin(self, estimator, context, *, fitted_estimator=None, metadata=None):
        self.begun.append(context)
        self.metadata.append(metadata)
        if fitted_estimator is not None and len(self.begun) == 2:
            self.start = fitted_estimator.coef_

    def on_fit_task_end(self, estimator, context, *, X=None, fitted_estimator=None):
        self.ended.append(context)
        if context is not self.root and fitted_estimator is not None:
            self.models.append(fitted_estimator)
            assert fitted_estimator.predict(X).shape == (len(X) if X.ndim else 0,)
            if self.error is not None:
                raise self.error
        return self.stop_after == len(self.models)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_task_an_iteration_and_one_for_the_fit(solver):
    recorder = Recorder()
    model = TorchLogisticClassifier(solver=solver).set_callbacks(recorder).fit(*binary())
    assert recorder.begun[0] is recorder.ended[-1] is recorder.root
    assert sorted(map(id, recorder.begun)) == sorted(map(id, recorder.ended))
    iterations = recorder.begun[1:]
    assert all("iter" in context.task_name for context in iterations)
    assert [context.task_id for context in iterations] == list(range(len(iterations)))
    assert len(recorder.models) == model.n_iter_[0]
    assert recorder.root.max_subtasks >= len(iterations)
    assert not recorder.start.any()
    np.testing.assert_array_equal(recorder.models[-1].coef_, model.coef_)
    np.testing.assert_array_equal(recorder.models[-1].intercept_, model.intercept_)
    plain = TorchLogisticClassifier(solver=solver).fit(*binary())
    np.testing.assert_array_equal(model.coef_, plain.coef_)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_request_to_stop_is_heard(solver):
    recorder = Recorder(stop_after=2)
    model = TorchLogisticClassifier(solver=solver, tol=1e-14).set_callbacks(recorder)
    with pytest.warns(ConvergenceWarning, match="a callback asked to stop"):
        model.fit(*binary())
    assert model.n_iter_[0] == 2
    assert len(recorder.begun) == len(recorder.ended) == 3
    assert not model.converged_


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_model_that_is_shown_knows_how_far_it_is(solver):
    recorder = Recorder()
    model = TorchLogisticClassifier(solver=solver, tol=1e-8).set_callbacks(recorder)
    model.fit(*multi() if solver != "liblinear" else binary())
    optimality = [shown.optimality_ for shown in recorder.models]
    assert optimality[-1] == model.optimality_ <= 1e-8 < optimality[0]
    n_passes = [shown.n_passes_ for shown in recorder.models]
    assert n_passes == sorted(n_passes)
    assert 0 < n_passes[0] <= n_passes[-1] <= model.n_passes_


def test_no_iterations_no_tasks():
    recorder = Recorder()
    with pytest.warns(ConvergenceWarning):
        TorchLogisticClassifier(max_iter=0).set_callbacks(recorder).fit(*binary())
    assert recorder.begun == recorder.ended == [recorder.root]


def test_a_callback_that_raises_leaves_the_model_as_it_was():
    model = TorchLogisticClassifier().fit(*binary())
    before = state(model)
    recorder = Recorder(error=RuntimeError("from the callback"))
    with pytest.raises(RuntimeError, match="from the callback"):
        model.set_callbacks(recorder).fit(*multi())
    assert recorder.torn_down
    assert_same_state(state(model), before)


def test_weights_are_metadata():
    X, y = binary()
    recorder = Recorder()
    model = TorchLogisticClassifier(class_weight="balanced").set_callbacks(recorder)
    model.fit(X, y, sample_weight=np.arange(len(y)))
    for metadata in recorder.metadata:
        np.testing.assert_array_equal(metadata["sample_weight"], np.arange(len(y)))


def test_callbacks_are_outside_the_inference_mode_of_small_fits():
    """Their own tensors may want gradients, and so may the models that they are shown."""

    class Learner(Recorder):
        def on_fit_task_end(self, estimator, context, *, X=None, fitted_estimator=None):
            assert not torch.is_inference_mode_enabled()
            if fitted_estimator is not None:
                assert not fitted_estimator.module_.weight.is_inference()
                self.models.append(fitted_estimator)

    learner = Learner()
    TorchLogisticClassifier().set_callbacks(learner).fit(*binary())
    assert len(learner.models) > 1
    with config_context(array_api_dispatch=True):
        X, y = map(torch.tensor, binary())
        model = TorchLogisticClassifier().fit(X, y)
    assert not model.coef_.is_inference()
    assert not model.n_iter_.is_inference()
