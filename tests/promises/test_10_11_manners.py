"""Promises 10 and 11: inputs are read only, global state is unchanged."""

import gc
import os
import pickle
import random
import threading
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
import sklearn
import torch

from skorch_logreg import (
    NeuralLogisticClassifier,
    TorchLogisticClassifier,
    bootstrap,
    firth,
    influence,
    marginal_effects,
    prediction_intervals,
    profile_intervals,
    regularization_path,
    separation,
    summary,
)
from skorch_logreg.solvers import Adam
from tests.containers import CONTAINERS, DENSE, SPARSE
from tests.problems import load
from tests.promises.models import PENALTIES, TIGHT, assert_same_model, tight

METHODS = ["predict", "predict_proba", "predict_log_proba", "decision_function"]


def data(n_classes=2, dtype=np.float64):
    case = load({2: "sparse_binary", 3: "sparse_three_classes"}[n_classes])
    return case.X.toarray()[:, :12].astype(dtype), case.y.copy()


# ---------------------------------------------------------------- 10


@pytest.mark.parametrize("penalty", ["l2", "l1"])
@pytest.mark.parametrize("container", CONTAINERS)
def test_10_inputs_are_unchanged(container, penalty):
    """Values, order of indices, stored zeros, flags: all as before."""
    X, y = data()
    made, weight, factor = CONTAINERS[container](X), np.linspace(0.5, 2, len(y)), np.arange(1, 13.0)
    inputs = [made, y, weight, factor]
    before, attributes = joblib.hash(inputs), _flags(made)
    class_weight = {0: 1.0, 1: 3.0}
    model = TorchLogisticClassifier(
        class_weight=class_weight, penalty_factor=factor, **PENALTIES[penalty]
    ).fit(made, y, sample_weight=weight)
    for method in METHODS:
        getattr(model, method)(made)
    model.score(made, y, sample_weight=weight)
    assert joblib.hash(inputs) == before
    assert _flags(made) == attributes
    assert class_weight == {0: 1.0, 1: 3.0}
    assert model.class_weight is class_weight
    assert model.penalty_factor is factor


def _flags(X):
    if isinstance(X, np.ndarray):
        return X.flags.writeable, X.strides, X.dtype.str
    if hasattr(X, "indptr"):
        return X.indices.dtype, X.indptr.dtype, X.nnz, X.data.flags.writeable
    return type(X)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("container", [*DENSE, *SPARSE])
def test_10_the_fit_lives_on_without_its_inputs(container, dtype):
    """Overwriting the inputs afterwards changes nothing in the model."""
    if container in ("memmap", "read_only", "csr_read_only"):
        container = "c_order"  # the same arrays, which nobody can overwrite
    X, y = data(3, dtype)
    made, weight = CONTAINERS[container](X), np.ones(len(y))
    labels = np.array([10, 20, 30])[y]
    model = TorchLogisticClassifier().fit(made, labels, sample_weight=weight)
    before = pickle.dumps(model)
    labels[:], weight[:] = 20, 5
    if container in SPARSE:
        for part in ("data", "indices", "indptr"):
            if isinstance(getattr(made, part, None), np.ndarray):
                getattr(made, part)[...] = 1
    elif container != "nested_list":
        made[...] = 1
    assert pickle.dumps(model) == before


def test_10_no_memory_is_shared_and_nothing_keeps_the_data_alive():
    X, y = np.array(data()[0]), data()[1]
    model = TorchLogisticClassifier().fit(X, y)
    arrays = [value for value in vars(model).values() if isinstance(value, np.ndarray)]
    arrays += [parameter.detach().numpy() for parameter in model.module_.parameters()]
    assert len(arrays) >= 4
    assert not any(np.shares_memory(a, b) for a in arrays for b in (X, y))
    alive = weakref.ref(X)
    del X
    gc.collect()
    assert alive() is None


def test_10_predictions_are_the_callers():
    """What comes out can be written to without harm to the model."""
    X, y = data(3)
    model = TorchLogisticClassifier().fit(X, y)
    before = pickle.dumps(model)
    for method in METHODS:
        getattr(model, method)(X)[...] = 0
    assert pickle.dumps(model) == before


# ---------------------------------------------------------------- 11


def world():
    return {
        "torch dtype": torch.get_default_dtype(),
        "torch device": torch.get_default_device(),
        "torch threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "torch rng": torch.get_rng_state().numpy().tobytes(),
        "torch grad": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "torch deterministic": torch.are_deterministic_algorithms_enabled(),
        "torch anomaly": torch.is_anomaly_enabled(),
        "torch autocast": torch.is_autocast_enabled("cpu"),
        "matmul precision": torch.get_float32_matmul_precision(),
        "flush denormal": bool(torch.tensor([1e-310], dtype=torch.float64) * 1.0 == 0),
        "numpy err": np.geterr(),
        "numpy rng": pickle.dumps(np.random.get_state()),
        "numpy print": np.get_printoptions(),
        "python rng": pickle.dumps(random.getstate()),
        "filters": list(warnings.filters),
        "sklearn": sklearn.get_config(),
        "environment": dict(os.environ),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "directory": os.getcwd(),
    }


def visit(X, y, **options):
    model = TorchLogisticClassifier(**options).fit(X, y, sample_weight=np.ones(len(y)))
    for method in METHODS:
        getattr(model, method)(X)
    return model.module_


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("container", ["c_order", "csr_array"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_11_the_world_is_left_as_found(n_classes, container, penalty):
    X, y = data(n_classes)
    made = CONTAINERS[container](X)
    visit(made, y, **PENALTIES[penalty])  # lazy imports are done
    before = world()
    visit(made, y, random_state=0, **PENALTIES[penalty])
    after = world()
    for name, state in before.items():
        assert after[name] == state, name


@pytest.mark.parametrize("shape", [(60_000, 30), (3_000, 400)], ids=["tall", "square"])
def test_11_the_world_is_left_as_found_by_large_fits(shape):
    """Where threads, samples and low precision would pay."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=shape).astype(np.float32)
    y = (X[:, 0] + rng.logistic(size=shape[0]) > 0).astype(int)
    visit(X[:200], y[:200])
    before = world()
    visit(X, y)
    after = world()
    for name, state in before.items():
        assert after[name] == state, name


@pytest.mark.parametrize("kind", ["bad data", "not converged", "callback"])
def test_11_the_world_is_left_as_found_by_failures(kind):
    callback = pytest.importorskip("sklearn.callback", reason="scikit-learn before 1.9")
    assert callback is not None
    X, y = data()
    model = TorchLogisticClassifier(tol=1e-14, max_iter=2)
    if kind == "bad data":
        X[0, 0] = np.nan
    if kind == "callback":
        model.set_callbacks(_Raising())
    visit(*data())
    before = world()
    with pytest.raises((ValueError, RuntimeError, Warning)):
        model.fit(X, y)  # pytest has made warnings errors
    after = world()
    for name, state in before.items():
        assert after[name] == state, name


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("penalty", ["l2", "l1"])
def test_11_a_thread_that_starts_during_a_fit_has_the_callers_count(two_threads, penalty):
    """And an overlapping fit the same bits (promise 9): its blocks are those of two threads."""
    pytest.importorskip("sklearn.callback", reason="scikit-learn before 1.9")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60_000, 30))
    y = (X[:, :5].sum(axis=1) + rng.logistic(size=60_000) > 0).astype(int)
    expected = tight(X, y, **PENALTIES[penalty])
    counts, overlapping = [], []

    def start():
        def other():
            counts.append(torch.get_num_threads())
            overlapping.append(tight(X, y, **PENALTIES[penalty]))
            counts.append(torch.get_num_threads())

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    model = TorchLogisticClassifier(tol=TIGHT, max_iter=1000, **PENALTIES[penalty])
    model.set_callbacks(_Once(start)).fit(X, y)
    assert counts == [2, 2]
    assert torch.get_num_threads() == 2
    for found in (model, overlapping[0]):
        assert found.coef_.tobytes() == expected.coef_.tobytes()
        assert found.intercept_.tobytes() == expected.intercept_.tobytes()


class _Once:
    """Calls something after the first iteration."""

    def __init__(self, call):
        self.call, self.done = call, False

    def setup(self, estimator, context): ...

    def on_fit_task_begin(self, estimator, context, **_): ...

    def on_fit_task_end(self, estimator, context, **_):
        if not self.done:
            self.done = True
            self.call()

    def teardown(self, estimator, context): ...


class _Raising:
    def setup(self, estimator, context): ...

    def on_fit_task_begin(self, estimator, context, **_): ...

    def on_fit_task_end(self, estimator, context, **_):
        raise RuntimeError("from the callback")

    def teardown(self, estimator, context): ...


@pytest.mark.parametrize("container", ["c_order", "csr_array"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_11_the_world_does_not_reach_into_the_fit(n_classes, container):
    """A caller's settings change neither the result nor its dtype."""
    X, y = data(n_classes)
    made = CONTAINERS[container](X)
    expected = tight(made, y)
    torch.set_default_dtype(torch.float16)
    try:
        assert_same_model(tight(made, y), expected)
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.no_grad():
        assert_same_model(tight(made, y), expected)
    with torch.inference_mode():
        inside = tight(made, y)
    assert_same_model(inside, expected)
    inside.coef_ *= 1.0
    assert all(not parameter.is_inference() for parameter in inside.module_.parameters())
    with np.errstate(all="raise"):
        assert_same_model(tight(made, y), expected)
        expected.predict_proba(made)
    with torch.device("meta"):
        assert_same_model(tight(made, y), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_same_model(tight(made, y), expected)
    with torch.autograd.set_detect_anomaly(True, check_nan=False):
        assert_same_model(tight(made, y), expected)
    for precision in ("medium", "highest"):
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(precision)
        try:
            assert_same_model(tight(made, y), expected)
        finally:
            torch.set_float32_matmul_precision(before)


def test_11_analysis_is_that_of_the_default_modes():
    X, y = data(2)
    X = X[:, :4]
    model = tight(X, y, C=np.inf)
    expected = summary(model, X, y)
    with torch.device("meta"), torch.inference_mode():
        found = summary(model, X, y)
        for analyse in (profile_intervals, influence, marginal_effects):
            analyse(model, X, y)
        prediction_intervals(model, X, y, X[:3])
        bootstrap(model, X, y, n_resamples=2)
        firth(X, y)
        separation(X, y)
        regularization_path(X, y, l1_ratio=1.0)
    np.testing.assert_array_equal(found.covariance, expected.covariance)


def test_11_nothing_is_printed(capfd):
    for name in ("binary", "three_classes", "sparse_binary"):
        case = load(name)
        TorchLogisticClassifier().fit(case.X, case.y)
    assert capfd.readouterr() == ("", "")


def test_11_threads_may_share_a_model_and_fit_their_own():
    """Predict is thread-safe, and fits beside each other do not meet."""
    X, y = data(3)
    S = sp.csr_array(X)
    expected = {C: tight(X, y, C=C) for C in (0.1, 1.0, 10.0)}
    shared = expected[1.0]
    p = shared.predict_proba(X)
    before = world()
    results, failures = [], []

    def work(C):
        try:
            for _ in range(5):
                assert_same_model(tight(S, y, C=C), expected[C])
                np.testing.assert_array_equal(shared.predict_proba(X), p)
            results.append(C)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(C,)) for C in expected for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(results) == 6
    after = world()
    for name, state in before.items():
        assert after[name] == state, name


def test_11_networks_beside_each_other_draw_their_own_numbers():
    X, y = data(2)

    def proba(_):
        network = NeuralLogisticClassifier(
            (4,), dropout=0.3, random_state=0, solver=Adam(epochs=5, batch_size=20)
        )
        return network.fit(X, y).predict_proba(X)

    alone, before = proba(0), world()
    with ThreadPoolExecutor(3) as threads:
        for found in threads.map(proba, range(6)):
            np.testing.assert_array_equal(found, alone)
    assert world() == before
