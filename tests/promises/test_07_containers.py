"""Promise 7: the container does not matter."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from sklearn import config_context

from tests.containers import CONTAINERS, FRAMES, feature_names
from tests.problems import load
from tests.promises.models import PENALTIES, assert_same, assert_same_model, parameters, tight

FITTED: dict[tuple, tuple] = {}


def dense_problem(n_classes, dtype):
    """Sparse enough for the sparse containers to leave something out."""
    name = {2: "sparse_binary", 3: "sparse_three_classes"}[n_classes]
    case = load(name)
    return case.X.toarray()[:, :12].astype(dtype), case.y


def expected_model(n_classes, dtype, penalty):
    """Fit of the float64 C-ordered array with the same numbers, remembered."""
    key = n_classes, np.dtype(dtype), penalty
    if key not in FITTED:
        X, y = dense_problem(n_classes, dtype)
        FITTED[key] = tight(X.astype(np.float64), y, **PENALTIES[penalty])
    return FITTED[key]


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("penalty", ["l2", "elastic net"])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("container", CONTAINERS)
def test_7_same_model_and_same_probabilities(container, n_classes, penalty, dtype):
    """To 1e-8 in float64; in float32 to 1e-4, which is the rounding of what comes out."""
    X, y = dense_problem(n_classes, dtype)
    made = CONTAINERS[container](X)
    expected = expected_model(n_classes, dtype, penalty)
    model = tight(made, y, **PENALTIES[penalty])
    assert_same_model(model, expected, 1e-8 if model.coef_.dtype == np.float64 else 1e-4)
    assert type(model.coef_) is np.ndarray
    # predicting reads the same container
    tolerance = 1e-8 if model.coef_.dtype == np.float64 else 1e-4
    plain = X.astype(np.float64)
    assert_same(model.predict_proba(made), expected.predict_proba(plain), tolerance)
    assert_same(model.decision_function(made), expected.decision_function(plain), tolerance)
    sure = np.sort(expected.predict_proba(plain), axis=1)
    sure = sure[:, -1] - sure[:, -2] > 1e-3
    np.testing.assert_array_equal(model.predict(made)[sure], expected.predict(plain)[sure])
    assert hasattr(model, "feature_names_in_") == (container in FRAMES)
    if container in FRAMES:
        np.testing.assert_array_equal(model.feature_names_in_, feature_names(X))


# lists and objects hold Python floats; the others scikit-learn reads as float64
WIDENED = ["big_endian", "objects", "nested_list", "pandas_sparse_frame", "polars_frame",
           "pyarrow_table"]  # fmt: skip


@pytest.mark.parametrize("container", [name for name in CONTAINERS if name not in WIDENED])
def test_7_float32_stays_float32(container):
    X, y = dense_problem(2, np.float32)
    model = tight(CONTAINERS[container](X), y)
    assert model.coef_.dtype == model.intercept_.dtype == np.float32
    for method in ("predict_proba", "predict_log_proba", "decision_function"):
        assert getattr(model, method)(CONTAINERS[container](X)).dtype == np.float32


INTEGERS = [bool, np.int8, np.uint8, np.int32, np.int64, np.uint64]


@pytest.mark.parametrize(
    ("container", "dtype"),
    [(c, d) for c in ("c_order", "f_order") for d in (*INTEGERS, np.float16, np.longdouble)]
    # SciPy's sparse arrays hold neither float16 nor longdouble reliably
    + [("csr_array", d) for d in INTEGERS],
)
def test_7_other_numbers_become_float64(container, dtype):
    case = load("binary")
    X = (np.abs(case.X).round() > 0) if dtype is bool else np.abs(case.X * 2).round()
    X = X.astype(dtype)
    model = tight(CONTAINERS[container](X), case.y)
    assert model.coef_.dtype == np.float64
    assert_same_model(model, tight(X.astype(np.float64), case.y))


def test_7_torch_threads_do_not_matter():
    case = load("three_classes")
    X, y = np.tile(case.X, (50, 1)), np.tile(case.y, 50)
    before = torch.get_num_threads()
    models = []
    try:
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            models.append(tight(X, y))
    finally:
        torch.set_num_threads(before)
    assert_same_model(*models)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", ["binary", "three_classes"])
def test_7_array_api_tensors_come_back_as_tensors(name, dtype):
    """With dispatch on, fitted arrays live in X's namespace and equal the NumPy fit."""
    case = load(name)
    X, y = torch.tensor(case.X, dtype=dtype), torch.tensor(case.y)
    expected = tight(X.numpy(), case.y)
    with config_context(array_api_dispatch=True):
        for view in (X, X.T.contiguous().T, X.repeat(1, 2)[:, : X.shape[1]]):
            model = tight(view, y)
            for name_ in ("coef_", "intercept_", "classes_", "n_iter_"):
                assert isinstance(getattr(model, name_), torch.Tensor)
            assert model.coef_.dtype == dtype
            p = model.predict_proba(view)
            assert isinstance(p, torch.Tensor)
            assert p.dtype == dtype
            tolerance = 1e-8 if dtype == torch.float64 else 1e-4
            assert_same_model(model, expected, tolerance)
            assert_same(p.numpy(), expected.predict_proba(X.numpy()), tolerance)


TARGETS = {
    "list": list,
    "read-only": lambda y: _read_only(y),
    "strided": lambda y: np.repeat(y, 2)[::2],
    "reversed": lambda y: y[::-1].copy()[::-1],
    "big endian": lambda y: y.astype(">i4"),
    "float": lambda y: y.astype(float),
    "pandas": lambda y: pd.Series(y, index=range(5, 5 + len(y))),
    "pandas nullable": lambda y: pd.Series(y, dtype="Int64"),
    "polars": pl.Series,
    "pyarrow": lambda y: pa.chunked_array([y[:9], y[9:]]),
    "torch": lambda y: torch.tensor(y),
}


def _read_only(array):
    made = array.copy()
    made.setflags(write=False)
    return made


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("name", ["binary", "three_classes"])
def test_7_targets(name, kind):
    case = load(name)
    assert_same_model(tight(case.X, TARGETS[kind](case.y)), tight(case.X, case.y))


WEIGHTS = {
    "list": list,
    "read-only": _read_only,
    "strided": lambda w: np.repeat(w, 2)[::2],
    "big endian": lambda w: w.astype(">f8"),
    "int8": lambda w: w.astype(np.int8),
    "float32": lambda w: w.astype(np.float32),
    "pandas": lambda w: pd.Series(w, index=range(5, 5 + len(w))),
    "polars": pl.Series,
    "torch": lambda w: torch.tensor(w),
}


@pytest.mark.parametrize("kind", WEIGHTS)
def test_7_weights(kind):
    case = load("binary")
    weight = np.random.default_rng(0).integers(0, 4, size=len(case.y)).astype(float)
    model = tight(case.X, case.y, WEIGHTS[kind](weight))
    assert_same_model(model, tight(case.X, case.y, weight))


@pytest.mark.parametrize("kind", ["float64", "float32", "int", "list", "read-only", "pandas"])
def test_7_strengths(kind):
    case = load("binary")
    factor = np.array([1.0, 2, 3, 1, 2, 4])
    made = {
        "float64": factor, "float32": factor.astype(np.float32), "int": factor.astype(int),
        "list": factor.tolist(), "read-only": _read_only(factor), "pandas": pd.Series(factor),
    }[kind]  # fmt: skip
    model = tight(case.X, case.y, penalty_factor=made)
    np.testing.assert_allclose(
        parameters(model), parameters(tight(case.X, case.y, penalty_factor=factor)), rtol=1e-8
    )
