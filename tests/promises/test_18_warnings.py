"""Promise 18: warnings are few and true."""

import re
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning

from skorch_logreg import TorchLogisticClassifier
from tests.problems import ORDINARY, load
from tests.promises.models import PENALTIES, fit

FEW = ["binary", "three_classes", "sparse_binary", "wide", "scales"]


def the_warning(case, **options):
    """The only warning of a fit that does not converge, and the model."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = fit(case, **options)
    (warning,) = caught
    assert warning.category is ConvergenceWarning
    return str(warning.message), model


def figures(text):
    return [float(number) for number in re.findall(r"\d+\.?\d*(?:e[-+]?\d+)?", text)]


def names_the_figure(text, model):
    reached = model.optimality_
    return any(abs(number - reached) <= 0.1 * reached for number in figures(text))


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("name", ORDINARY)
def test_18_none_on_a_converged_fit(name, penalty):
    """Warnings are errors here."""
    for tol in (1e-2, 1e-4, 1e-8):
        assert fit(load(name), tol=tol, max_iter=1000, **PENALTIES[penalty]).converged_


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("name", FEW)
def test_18_max_iter(name, penalty):
    """With the figure, the limit and what to do."""
    if name == "wide" and penalty == "none":
        penalty = "l2"  # separable: another reason
    text, model = the_warning(load(name), max_iter=1, tol=1e-12, **PENALTIES[penalty])
    assert not model.converged_
    assert model.n_iter_[0] == 1
    assert names_the_figure(text, model)
    assert "max_iter" in text
    assert "Increase the number of iterations" in text


def test_18_no_iteration_at_all():
    """The starting point is zero, as in scikit-learn."""
    text, model = the_warning(load("three_classes"), max_iter=0)
    assert model.n_iter_[0] == 0
    assert not model.coef_.any()
    assert names_the_figure(text, model)


SOLVER_TEXTS = {
    "lbfgs": "lbfgs failed to converge",
    "newton-cg": "newton-cg failed to converge.* Increase the number of iterations",
    "liblinear": "Liblinear failed to converge, increase the number of iterations.",
    "sag": "The max_iter was reached which means the coef_ did not converge",
    "saga": "The max_iter was reached which means the coef_ did not converge",
    "newton-cholesky": "Newton solver did not converge after [0-9]* iterations",
}


@pytest.mark.parametrize("solver", SOLVER_TEXTS)
def test_18_scikit_learns_texts_by_solver(solver):
    """Users filter by them."""
    text, model = the_warning(load("binary"), solver=solver, max_iter=1, tol=1e-12)
    assert re.search(SOLVER_TEXTS[solver], text, re.DOTALL)
    assert names_the_figure(text, model)


@pytest.mark.parametrize("form", [np.array, sp.csr_array])
@pytest.mark.parametrize("name", ["separable", "separable_three_classes"])
def test_18_separable_data_without_penalty(name, form):
    """Stops early, says why, and returns a finite model that separates the rows."""
    case = load(name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = TorchLogisticClassifier(C=np.inf).fit(form(case.X), case.y)
    (warning,) = caught
    assert warning.category is ConvergenceWarning
    assert "separable" in str(warning.message)
    assert names_the_figure(str(warning.message), model)
    assert not model.converged_
    assert model.n_iter_[0] < 100
    assert np.isfinite(model.coef_).all()
    np.testing.assert_array_equal(model.predict(form(case.X)), case.y)


@pytest.mark.parametrize("name", ["binary", "three_classes"])
def test_18_the_floor_of_the_precision_is_told_from_being_slow(name):
    """tol=0 asks for what no arithmetic has: it ends by itself, long before max_iter."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = fit(load(name), tol=0.0, max_iter=10_000)
    assert model.n_iter_[0] < 200
    if model.converged_:
        assert model.optimality_ == 0
        assert not caught
        return
    (warning,) = caught
    assert "precision" in str(warning.message)
    assert names_the_figure(str(warning.message), model)
    assert model.optimality_ < 1e-12


def test_18_stopped_by_a_callback():
    pytest.importorskip("sklearn.callback", reason="scikit-learn before 1.9 has no callbacks")

    class Stop:
        def setup(self, estimator, context): ...

        def teardown(self, estimator, context): ...

        def on_fit_task_begin(self, estimator, context, **_): ...

        def on_fit_task_end(self, estimator, context, **_):
            return context.parent is not None

    case = load("three_classes")
    model = TorchLogisticClassifier(tol=1e-12).set_callbacks(Stop())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(case.X, case.y)
    (warning,) = caught
    assert warning.category is ConvergenceWarning
    assert "callback" in str(warning.message)
    assert names_the_figure(str(warning.message), model)
    assert model.n_iter_[0] == 1
    assert not model.converged_


def test_18_a_stop_at_the_minimum_is_no_failure():
    """What has converged has converged, whoever asked to stop."""
    case = load("binary")
    model = TorchLogisticClassifier(max_iter=1000).fit(case.X, case.y)
    again = TorchLogisticClassifier(max_iter=int(model.n_iter_[0])).fit(case.X, case.y)
    assert again.converged_
    np.testing.assert_array_equal(again.coef_, model.coef_)


def test_18_the_warning_points_at_the_call():
    case = load("binary")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        TorchLogisticClassifier(max_iter=1, tol=1e-12).fit(case.X, case.y)
    assert caught[0].filename == __file__
