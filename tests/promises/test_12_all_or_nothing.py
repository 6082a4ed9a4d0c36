"""Promise 12: bad input is refused before any work; a failed fit leaves no trace."""

import copy
import signal
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from skorch_logreg import TorchLogisticClassifier
from tests.problems import load

pytest.importorskip("sklearn.callback", reason="scikit-learn before 1.9 has no callbacks")


class Hook:
    """A callback that acts at the end of iteration number `at` and counts all of them."""

    def __init__(self, act=None, at=1):
        self.act, self.at, self.n_iter = act, at, 0

    def setup(self, estimator, context): ...

    def teardown(self, estimator, context): ...

    def on_fit_task_begin(self, estimator, context, **_): ...

    def on_fit_task_end(self, estimator, context, **_):
        if context.parent is None:
            return
        self.n_iter += 1
        if self.act is not None and self.n_iter == self.at:
            self.act()


def raising(error):
    def act():
        raise error

    return act


def interrupt():
    """What Ctrl-C does."""
    signal.raise_signal(signal.SIGINT)


def state(model):
    """Everything the estimator holds but its callbacks, which the tests put there."""
    return {
        name: joblib.hash(value) for name, value in vars(model).items() if "callback" not in name
    }


def leaves_no_trace(model, error, fit, match=None):
    before, attributes = state(model), set(vars(model))
    with pytest.raises(error, match=match) as caught:
        fit()
    assert state(model) == before
    assert set(vars(model)) == attributes
    return caught


@pytest.fixture(autouse=True)
def _interrupts_are_raised():
    """A shell that starts a command in the background lets it ignore them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


STARTS = ["fresh", "fitted", "fitted, warm start"]


def start(kind, **options):
    """An estimator, and the data of its next fit: other features, other classes."""
    model = TorchLogisticClassifier(warm_start="warm" in kind, **options)
    case = load("three_classes")
    if kind != "fresh":
        frame = pd.DataFrame(case.X).add_prefix("f")
        model.fit(frame, np.array(["a", "b", "c"])[case.y])
    other = case if "warm" in kind else load("binary")
    return model, other.X.copy(), other.y.copy()


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize(
    "act", [interrupt, raising(MemoryError("no memory")), raising(RuntimeError("no reason"))]
)
@pytest.mark.parametrize("kind", STARTS)
def test_12_an_interrupted_fit_leaves_the_estimator_as_it_was(kind, act, at):
    """KeyboardInterrupt comes through at once: the iteration after it never begins."""
    model, X, y = start(kind)
    model.set_params(tol=1e-12, max_iter=50)
    hook = Hook(act, at)
    model.set_callbacks(hook)
    errors = (KeyboardInterrupt, MemoryError, RuntimeError)
    caught = leaves_no_trace(model, errors, lambda: model.fit(X, y))
    assert (caught.type is KeyboardInterrupt) == (act is interrupt)
    assert hook.n_iter == at
    # and the estimator is as good as new
    model.set_callbacks()
    model.set_params(warm_start=False, tol=1e-4, max_iter=100).fit(X, y)
    fresh = TorchLogisticClassifier().fit(X, y)
    np.testing.assert_array_equal(model.coef_, fresh.coef_)


@pytest.mark.parametrize("kind", STARTS)
def test_12_a_warning_made_an_error_leaves_no_trace(kind):
    model, X, y = start(kind)
    model.set_params(max_iter=0, tol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        leaves_no_trace(model, ConvergenceWarning, lambda: model.fit(X, y))


def spoiled(X, value):
    X = X.copy()
    X[3, 1] = value
    return X


def bad_fits(X, y):
    """Name -> (arguments of fit, parameters). Each is refused by scikit-learn too."""
    n = len(y)
    return {
        "NaN": ((spoiled(X, np.nan), y), {}),
        "inf": ((spoiled(X, np.inf), y), {}),
        "NaN sparse": ((sp.csr_array(spoiled(X, np.nan)), y), {}),
        "inf sparse": ((sp.csc_array(spoiled(X, -np.inf)), y), {}),
        "NaN float32": ((spoiled(X.astype(np.float32), np.nan), y), {}),
        "1-D X": ((X[:, 0], y), {}),
        "3-D X": ((X[None], y), {}),
        "0-D X": ((np.array(1.0), y), {}),
        "no rows": ((X[:0], y[:0]), {}),
        "no columns": ((X[:, :0], y), {}),
        "complex X": ((X + 1j, y), {}),
        "strings": ((X.astype(str).astype(object)[:, :1] + "x", y), {}),
        "ragged": (([[1.0, 2.0], [3.0]], [0, 1]), {}),
        "None X": ((None, y), {}),
        "dict X": (({"a": 1}, y), {}),
        "short y": ((X, y[:-1]), {}),
        "long y": ((X, np.r_[y, y]), {}),
        "no y": ((X, None), {}),
        "NaN y": ((X, np.where(y == 1, np.nan, 0.0)), {}),
        "inf y": ((X, np.where(y == 1, np.inf, 0.0)), {}),
        "None in y": ((X, np.where(y == 1, None, "a")), {}),
        "continuous y": ((X, y + 0.5 * np.arange(n)), {}),
        "two-column y": ((X, np.c_[y, y]), {}),
        "mixed y": ((X, np.array(["a", 1] * (n // 2), dtype=object)), {}),
        "one class": ((X, y * 0), {}),
        "one row": ((X[:1], y[:1]), {}),
        "complex y": ((X, y + 1j), {}),
        "short weights": ((X, y, np.ones(3)), {}),
        "2-D weights": ((X, y, np.ones((n, 2))), {}),
        "NaN weights": ((X, y, np.full(n, np.nan)), {}),
        "inf weights": ((X, y, np.full(n, np.inf)), {}),
        "string weights": ((X, y, np.full(n, "a")), {}),
        "zero weights": ((X, y, np.zeros(n)), {}),
        "unknown class weight": ((X, y), {"class_weight": {0: 1.0, 7: 2.0}}),
        "C zero": ((X, y), {"C": 0}),
        "C negative": ((X, y), {"C": -1.0}),
        "C NaN": ((X, y), {"C": np.nan}),
        "C string": ((X, y), {"C": "1"}),
        "tol negative": ((X, y), {"tol": -1e-4}),
        "tol inf": ((X, y), {"tol": np.inf}),
        "max_iter negative": ((X, y), {"max_iter": -1}),
        "max_iter float": ((X, y), {"max_iter": 10.5}),
        "l1_ratio large": ((X, y), {"l1_ratio": 1.5}),
        "l1_ratio negative": ((X, y), {"l1_ratio": -0.5}),
        "fit_intercept": ((X, y), {"fit_intercept": "yes"}),
        "class_weight": ((X, y), {"class_weight": "heavy"}),
        "intercept_scaling": ((X, y), {"intercept_scaling": 0}),
        "random_state": ((X, y), {"random_state": "x"}),
        "dual": ((X, y), {"dual": True, "solver": "lbfgs"}),
        "warm_start": ((X, y), {"warm_start": 2}),
        "verbose": ((X, y), {"verbose": -1}),
        "lbfgs with L1": ((X, y), {"solver": "lbfgs", "l1_ratio": 1.0}),
        "newton-cg with L1": ((X, y), {"solver": "newton-cg", "l1_ratio": 0.5}),
        "liblinear without penalty": ((X, y), {"solver": "liblinear", "C": np.inf}),
        "liblinear elastic net": ((X, y), {"solver": "liblinear", "l1_ratio": 0.5}),
        "liblinear three classes": ((X, np.arange(n) % 3), {"solver": "liblinear"}),
    }


BAD = sorted(bad_fits(load("binary").X, load("binary").y))


@pytest.mark.parametrize("kind", STARTS[:2])
@pytest.mark.parametrize("name", BAD)
def test_12_bad_input_is_refused_as_by_scikit_learn_before_any_work(name, kind):
    """The same type, the same text but for the class's name, no iteration, no trace."""
    case = load("binary")
    arguments, options = bad_fits(case.X, case.y)[name]
    with pytest.raises((ValueError, TypeError)) as theirs:
        LogisticRegression(**options).fit(*arguments)
    model, *_ = start(kind)
    model.set_params(**options)
    hook = Hook()
    model.set_callbacks(hook)
    caught = leaves_no_trace(model, (ValueError, TypeError), lambda: model.fit(*arguments))
    assert hook.n_iter == 0
    assert issubclass(caught.type, theirs.type.__mro__[1] if name == "tol inf" else theirs.type)
    expected = str(theirs.value).replace("LogisticRegression", "TorchLogisticClassifier")
    if name == "liblinear three classes":
        # scikit-learn's own check wants this sentence as well
        assert "Only binary classification is supported." in str(caught.value)
        expected = "The 'liblinear' solver does not support multiclass classification"
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"solver": "adam"}, "The 'solver' parameter of TorchLogisticClassifier must be"),
        ({"penalty": "l3"}, "The 'penalty' parameter of TorchLogisticClassifier must be"),
        ({"threshold": -0.1}, "threshold"),
        ({"threshold": 1.1}, "threshold"),
        ({"threshold": np.nan}, "threshold"),
        ({"threshold": "0.5"}, "threshold"),
        ({"threshold": None}, "threshold"),
        ({"device": "no such device"}, "device"),
        ({"penalty_factor": [1.0, 2.0, 3.0]}, r"penalty_factor has shape \(3,\), expected"),
        ({"penalty_factor": np.ones((6, 1))}, r"penalty_factor has shape \(6, 1\), expected"),
        ({"penalty_factor": [1, 1, 1, 1, 1, -1.0]}, "penalty_factor"),
        ({"penalty_factor": [1, 1, 1, 1, 1, np.nan]}, "penalty_factor"),
        ({"penalty_factor": [1, 1, 1, 1, 1, -np.inf]}, "penalty_factor"),
        ({"penalty_factor": ["a"] * 6}, "penalty_factor"),
    ],
    ids=str,
)
def test_12_our_own_parameters_are_checked_alike(options, text):
    case = load("binary")
    model = TorchLogisticClassifier(**options)
    hook = Hook()
    model.set_callbacks(hook)
    leaves_no_trace(model, (ValueError, TypeError), lambda: model.fit(case.X, case.y), text)
    assert hook.n_iter == 0


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba",
                                    "decision_function", "score"])  # fmt: skip
def test_12_bad_input_at_prediction(method):
    """scikit-learn's texts there too, and the model is untouched."""
    case = load("binary")
    model = TorchLogisticClassifier().fit(case.X, case.y)
    theirs = LogisticRegression().fit(case.X, case.y)
    inputs = [
        case.X[:, :3], np.c_[case.X, case.X], spoiled(case.X, np.nan), spoiled(case.X, np.inf),
        case.X[:, 0], case.X[:0], case.X + 1j, [["a"] * 6] * len(case.y), None,
        sp.csr_array(spoiled(case.X, np.nan)),
    ]  # fmt: skip
    for X in inputs:
        arguments = (X, case.y) if method == "score" else (X,)
        with pytest.raises((ValueError, TypeError)) as expected:
            getattr(theirs, method)(*arguments)
        text = str(expected.value).replace("LogisticRegression", "TorchLogisticClassifier")

        def call(arguments=arguments):
            getattr(model, method)(*arguments)

        caught = leaves_no_trace(model, type(expected.value), call)
        assert str(caught.value) == text


def test_12_warm_start_refuses_another_shape():
    model = TorchLogisticClassifier(warm_start=True)
    case, other = load("binary"), load("three_classes")
    model.fit(case.X, case.y)
    text = "Initialization coef is of shape"
    leaves_no_trace(model, ValueError, lambda: model.fit(case.X[:, :3], case.y), text)
    leaves_no_trace(model, ValueError, lambda: model.fit(other.X, other.y), text)


def test_12_fit_does_not_touch_parameters():
    case = load("binary")
    model = TorchLogisticClassifier(C=2, class_weight="balanced", penalty_factor=[1] * 6)
    before = copy.deepcopy(model.get_params())
    model.fit(case.X, case.y)
    assert model.get_params() == before
