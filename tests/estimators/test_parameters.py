"""The signature, scikit-learn's table of solvers and penalties, and our own parameters."""

import inspect
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from skorch_logreg import (
    BatchedGridSearchCV,
    DeviceError,
    ParameterError,
    TorchLogisticClassifier,
)
from skorch_logreg.inputs.options import SOLVERS
from skorch_logreg.solvers import LBFGS
from tests.estimators.data import binary, multi

OWN = {
    "threshold": 0.5,
    "device": None,
    "penalty_factor": None,
    "bounds": None,
    "soft_labels": False,
    "label_smoothing": 0.0,
}


def test_defaults_are_validated_once_and_others_always():
    """What is skipped in every fit is a default that is allowed; a subclass may have others."""

    class Odd(TorchLogisticClassifier):
        def __init__(self, C=-1.0, extra=None):
            super().__init__(C=C)
            self.extra = extra

    X, y = binary()
    message = "The 'C' parameter of {} must be a float in the range"
    for _ in range(2):
        with pytest.raises(ValueError, match=message.format("Odd")):
            Odd().fit(X, y)
    assert Odd(C=2.0).fit(X, y).converged_
    model = TorchLogisticClassifier().fit(X, y)
    with pytest.raises(ValueError, match=message.format("TorchLogisticClassifier")):
        model.set_params(C=-1.0).fit(X, y)


def test_signature_is_that_of_logistic_regression_and_a_few_more():
    theirs = inspect.signature(LogisticRegression).parameters
    ours = inspect.signature(TorchLogisticClassifier).parameters
    assert list(ours) == [*theirs, *OWN]
    for name, parameter in theirs.items():
        assert ours[name].kind == parameter.kind
        if name != "solver":
            assert ours[name].default == parameter.default
    assert ours["solver"].default == "auto"
    assert {name: ours[name].default for name in OWN} == OWN
    assert all(ours[name].kind == inspect.Parameter.KEYWORD_ONLY for name in OWN)


def outcome(cls, **parameters):
    """What a fit says: the error, or None and its warnings."""
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        try:
            cls(**parameters, max_iter=1000).fit(*binary())
        except ValueError as error:
            return type(error).__name__, str(error)
    seen = {(w.category, str(w.message)) for w in record}
    return None, {(c, m) for c, m in seen if c.__name__ != "ConvergenceWarning"}


@pytest.mark.parametrize("dual", [False, True])
@pytest.mark.parametrize("penalty", ["deprecated", "l1", "l2", "elasticnet", None])
@pytest.mark.parametrize("solver", [s for s in SOLVERS if s != "auto"])
def test_the_table_of_combinations_and_its_words_are_scikit_learns(solver, penalty, dual):
    for more in [{}, {"l1_ratio": 1}, {"l1_ratio": 0.5}, {"l1_ratio": None}, {"C": np.inf}]:
        if solver == "liblinear" and penalty in ("l1", "l2") and "C" in more:
            continue  # scikit-learn lets it through, and its C code does not come back
        parameters = {"solver": solver, "penalty": penalty, "dual": dual} | more
        assert outcome(TorchLogisticClassifier, **parameters) == outcome(
            LogisticRegression, **parameters
        )


@pytest.mark.parametrize("more", [{"l1_ratio": 1}, {"l1_ratio": 0.5}, {}, {"C": np.inf}])
def test_auto_takes_every_penalty(more):
    assert outcome(TorchLogisticClassifier, **more) == (None, set())


class NoSolver:
    def step(self, objective, state):
        raise NotImplementedError


@pytest.mark.parametrize("solver", [NoSolver(), NoSolver, LBFGS], ids=["object", "class", "LBFGS"])
def test_what_is_no_solver_is_refused(solver):
    with pytest.raises(ParameterError, match="is not a solver; expected one of auto, lbfgs, lib"):
        TorchLogisticClassifier(solver=solver).fit(*binary())


def test_a_solver_object_is_taken_as_it_is():
    model = TorchLogisticClassifier(solver=LBFGS())
    expected = TorchLogisticClassifier(solver="lbfgs").fit(*binary()).coef_
    np.testing.assert_array_equal(clone(model).fit(*binary()).coef_, expected)
    with pytest.raises(ValueError, match="smooth"):
        model.set_params(l1_ratio=1).fit(*binary())


@pytest.mark.parametrize(
    ("factor", "text"),
    [
        ([1.0, 2.0], r"penalty_factor has shape \(2,\), expected \(n_features,\) = \(4,\)\."),
        (np.ones((4, 1)), r"penalty_factor has shape \(4, 1\)"),
        ([1, 1, -1, 1], r"penalty_factor\[2\] is -1\.0; factors must be non-negative"),
        ([1, 1, 1, np.nan], r"penalty_factor\[3\] is nan"),
        (["a", "b", "c", "d"], "penalty_factor must hold numbers"),
        (np.array([1, 1, 2, 1 + 1j]), "penalty_factor must hold numbers: complex data"),
    ],
)
def test_penalty_factor_that_does_not_fit(factor, text):
    with pytest.raises(ParameterError, match=text):
        TorchLogisticClassifier(penalty_factor=factor).fit(*binary())


@pytest.mark.parametrize("kind", [list, np.asarray, torch.tensor])
def test_penalty_factor_is_a_scaling_of_columns(kind):
    X, y = binary()
    factor = [4.0, 1.0, 0.25, 9.0]
    given = kind(factor)
    model = TorchLogisticClassifier(penalty_factor=given, tol=1e-9).fit(X, y)
    assert model.penalty_factor is given
    scale = np.sqrt(factor)
    scaled = TorchLogisticClassifier(tol=1e-9).fit(X / scale, y)
    np.testing.assert_allclose(model.coef_ * scale, scaled.coef_, rtol=1e-7)
    assert list(clone(model).penalty_factor) == factor


def test_penalty_factor_zero_is_no_penalty():
    X, y = binary()
    free = TorchLogisticClassifier(C=1e-6, penalty_factor=[0, 1, 1, 1], tol=1e-9).fit(X, y)
    alone = TorchLogisticClassifier(C=np.inf, tol=1e-9).fit(X[:, :1], y)
    np.testing.assert_allclose(free.coef_[0, 0], alone.coef_[0, 0], rtol=1e-3)
    assert np.abs(free.coef_[0, 1:]).max() < 1e-3


@pytest.mark.parametrize("device", ["cuda:99", "no such device", "hpu", "mps", "meta"])
def test_a_device_that_is_not_there_is_named_before_any_work(device):
    with pytest.raises(DeviceError, match=f"device='{device}'") as error:
        TorchLogisticClassifier(device=device).fit(None, None)
    assert len(str(error.value)) < 200  # without torch's list of device types


def test_sparse_data_stay_on_the_cpu(monkeypatch):
    X, y = binary()
    from skorch_logreg.inputs import options

    monkeypatch.setattr(options, "resolve_device", lambda device: torch.device("cuda"))
    with pytest.raises(DeviceError, match="takes dense data only"):
        TorchLogisticClassifier(device="cuda").fit(sp.csr_array(X), y)


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_device_cpu_changes_nothing(device):
    model = TorchLogisticClassifier(device=device).fit(*binary())
    np.testing.assert_array_equal(model.coef_, TorchLogisticClassifier().fit(*binary()).coef_)
    assert type(model.coef_) is np.ndarray


def test_threshold_is_for_two_classes():
    with pytest.raises(ParameterError, match=r"threshold=0\.4 is for two classes, but y has 3"):
        TorchLogisticClassifier(threshold=0.4).fit(*multi())
    model = TorchLogisticClassifier().fit(*multi())
    with pytest.raises(ParameterError, match="is for two classes"):
        model.set_params(threshold=0.4).predict(multi()[0])


def test_verbose_prints_a_line_an_iteration(capsys):
    model = TorchLogisticClassifier(verbose=1).fit(*binary())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == model.n_iter_[0]
    assert lines[0].startswith("[TorchLogisticClassifier] iteration 1: objective ")
    TorchLogisticClassifier().fit(*binary())
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_numpy_scalars_are_parameters_as_those_of_python(n_classes, l1_ratio):
    """As samplers of parameters draw them."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 4)), rng.integers(0, n_classes, 60)
    parameters = {"fit_intercept": False, "tol": 2.0**-14, "C": 0.5, "max_iter": 500}
    parameters |= {"l1_ratio": l1_ratio, "warm_start": False}
    kinds = np.bool_, np.float32, np.float32, np.int32, np.float32, np.bool_
    drawn = {name: kind(parameters[name]) for kind, name in zip(kinds, parameters, strict=True)}
    plain = TorchLogisticClassifier(**parameters).fit(X, y)
    found = TorchLogisticClassifier(**drawn).fit(X, y)
    assert np.array_equal(found.coef_, plain.coef_)
    grid = {name: [value] for name, value in drawn.items()}
    search = BatchedGridSearchCV(TorchLogisticClassifier(), grid, cv=2).fit(X, y)
    np.testing.assert_allclose(search.best_estimator_.coef_, plain.coef_, atol=1e-3)
