"""Targets of many labels: what is taken for an indicator, what is refused, what comes back."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse as sp
import torch

from skorch_logreg import (
    MultiLabel,
    TorchLogisticClassifier,
    correct_prior,
    summary,
    tune_threshold,
)
from skorch_logreg.fitting import ROW_BYTES
from skorch_logreg.inputs import indicator
from tests.estimators.labels import labels

NAMES = ["cat", "dog", "cow"]


def fit(y, **kwargs):
    return MultiLabel().fit(labels()[0], y, **kwargs)


def boolean_frame(Y):
    return pd.DataFrame(Y.astype(bool), columns=NAMES).astype("boolean")


def explicit_zeros(Y):
    made = sp.csr_array(np.ones_like(Y))
    made.data[:] = Y.ravel()
    return made


DENSE = {
    "int64": (lambda Y: Y, "int64"),
    "bool": (lambda Y: Y.astype(bool), "bool"),
    "float32": (lambda Y: Y.astype(np.float32), "float32"),
    "uint16": (lambda Y: Y.astype(np.uint16), "uint16"),
    "float16": (lambda Y: Y.astype(np.float16), "float16"),
    "big-endian": (lambda Y: Y.astype(">i4"), "int32"),
    "F": (np.asfortranarray, "int64"),
    "reversed": (lambda Y: Y[::-1].copy()[::-1], "int64"),
    "list": (lambda Y: Y.tolist(), "int64"),
    "objects": (lambda Y: Y.astype(object), "float64"),
    "tensor": (torch.tensor, "int64"),
    "pandas": (lambda Y: pd.DataFrame(Y, columns=NAMES), "int64"),
    "pandas boolean": (boolean_frame, "float64"),
    "polars": (lambda Y: pl.DataFrame(Y, schema=NAMES), "int64"),
    "pyarrow": (lambda Y: pa.table(dict(zip(NAMES, Y.T.copy(), strict=True))), "int64"),
}
SPARSE = {
    **{form: (lambda Y, form=form: sp.csr_array(Y).asformat(form), "csr_array", "int64")
       for form in ("csr", "csc", "coo", "lil", "dok", "bsr", "dia")},
    "matrix of bool": (lambda Y: sp.csc_matrix(Y.astype(bool)), "csr_matrix", "bool"),
    "float32": (lambda Y: sp.csr_array(Y.astype(np.float32)), "csr_array", "float32"),
    "explicit zeros": (explicit_zeros, "csr_array", "int64"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DENSE)
def test_dense_kinds(kind):
    """The same model, and predictions of y's own type."""
    X, Y = labels()
    make, dtype = DENSE[kind]
    expected, model = fit(Y), fit(make(Y))
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    predicted = model.predict(X)
    assert type(predicted) is np.ndarray
    assert predicted.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(predicted, expected.predict(X))
    named = kind in ("pandas", "pandas boolean", "polars", "pyarrow")
    assert getattr(model, "label_names_", np.array([])).tolist() == (NAMES if named else [])


@pytest.mark.parametrize("kind", SPARSE)
def test_sparse_kinds(kind):
    X, Y = labels()
    make, form, dtype = SPARSE[kind]
    expected, model = fit(Y), fit(make(Y))
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    predicted = model.predict(X)
    assert type(predicted) is getattr(sp, form)
    assert predicted.dtype == np.dtype(dtype)
    assert predicted.nnz == expected.predict(X).sum()
    np.testing.assert_array_equal(predicted.toarray(), expected.predict(X))


def test_names_of_another_frame_are_forgotten():
    X, Y = labels()
    model = MultiLabel().fit(X, pd.DataFrame(Y, columns=NAMES))
    assert not hasattr(model.fit(X, pd.DataFrame(Y)), "label_names_")


PREFIT = {"cv": "prefit"}
TAKES_NAMES = {
    "label_mask of fit": lambda m, X, Y, other: m.fit(X, Y, label_mask=other >= 0),
    "label_mask of tune_threshold": lambda m, X, Y, other: tune_threshold(
        m, X, Y, params={"label_mask": other >= 0}, **PREFIT
    ),
    "partial_fit": lambda m, X, Y, other: m.partial_fit(X, other),
    "score": lambda m, X, Y, other: m.score(X, other),
    "tune_threshold": lambda m, X, Y, other: tune_threshold(m, X, other, **PREFIT),
    "summary": lambda m, X, Y, other: summary(m, X, other),
    "correct_prior": lambda m, X, Y, other: correct_prior(m, [0.1, 0.2, 0.3], y=other),
}


@pytest.mark.parametrize("name", TAKES_NAMES)
def test_columns_in_another_order_are_refused(name):
    X, Y = labels()
    Y = pd.DataFrame(Y, columns=NAMES)
    model = MultiLabel().fit(X, Y)
    TAKES_NAMES[name](model, X, Y, Y)
    words = "has the columns cow, dog, cat, which must be the labels in their order: cat, dog, cow."
    with pytest.raises(ValueError, match=words):
        TAKES_NAMES[name](model, X, Y, Y[NAMES[::-1]])


@pytest.mark.parametrize("make", [np.array, sp.csr_array, sp.coo_array, pd.DataFrame])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_nan_is_not_known(make, dtype):
    """Unknown cells count nothing: as if the rows were removed, label by label."""
    X, Y = labels()
    unknown = np.random.default_rng(0).random(Y.shape) < 0.3
    gaps = np.where(unknown, np.nan, Y).astype(dtype)
    model = MultiLabel(TorchLogisticClassifier(tol=1e-10)).fit(X, make(gaps))
    for k in range(3):
        rows = ~unknown[:, k]
        alone = TorchLogisticClassifier(tol=1e-10).fit(X[rows], Y[rows, k])
        np.testing.assert_allclose(model.coef_[k], alone.coef_[0], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("make", [np.array, sp.csr_array, pd.DataFrame, lambda M: M.astype(int)])
def test_mask_is_as_nan(make):
    X, Y = labels()
    unknown = np.random.default_rng(0).random(Y.shape) < 0.3
    model = fit(Y, label_mask=make(~unknown))
    np.testing.assert_array_equal(model.coef_, fit(np.where(unknown, np.nan, Y)).coef_)
    # both at once; what lies below the mask does not matter
    some, others = unknown.copy(), unknown.copy()
    some[::2], others[1::2] = False, False
    both = fit(np.where(some, np.nan, np.where(others, 1 - Y, Y)), label_mask=make(~others))
    np.testing.assert_array_equal(both.coef_, model.coef_)


def test_a_column_of_one_label_stays_a_column():
    X, Y = labels()
    model = fit(Y[:, :1])
    assert model.predict(X).shape == (len(X), 1)
    assert model.decision_function(X).shape == (len(X), 1)
    assert model.predict_proba(X).shape == (len(X), 1)


def test_a_sparse_y_is_never_dense_as_a_whole(monkeypatch):
    """Columns become dense a batch at a time."""
    X, Y = labels()
    wide = sp.csc_array(np.tile(Y, 20))
    made = []
    toarray = sp.csc_array.toarray
    monkeypatch.setattr(
        sp.csc_array, "toarray", lambda self, *a, **k: made.append(self.shape) or toarray(self)
    )
    model = MultiLabel(memory_budget=10 * ROW_BYTES * len(X)).fit(X, wide)
    assert max(columns for _, columns in made) <= 10
    expected = MultiLabel().fit(X, wide.toarray())
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-6, atol=1e-8)


def test_inputs_are_read_only(monkeypatch):
    """Promise 10: arrays whose memory cannot be written, and those that share it."""
    X, Y = labels()
    mask = np.ones_like(Y, dtype=bool)
    mask[0, 0] = False
    gaps = np.where(Y > 5, np.nan, Y)
    duplicated = sp.csc_array((np.zeros(2), np.array([1, 1]), np.array([0, 2, 2, 2])), Y.shape)
    for array in (mask, gaps, duplicated.data, duplicated.indices, duplicated.indptr):
        array.setflags(write=False)
    model = fit(gaps, label_mask=mask)
    assert not np.shares_memory(model.coef_, X)
    indicator.read(duplicated, None, X)
    assert duplicated.nnz == 2


CLASSES = ["Unknown label type", "it holds"]
REFUSED = {
    "three values": (lambda Y: Y + Y[::-1], CLASSES),
    "minus one": (lambda Y: 2 * Y - 1, CLASSES),
    "continuous": (lambda Y: Y + 0.5, CLASSES),
    "infinite": (lambda Y: np.where(Y, np.inf, 0), CLASSES),
    "sparse two": (lambda Y: 2 * sp.csr_array(Y), CLASSES),
    "dates": (
        lambda Y: pd.DataFrame({k: [datetime.date(2020, 1, 1)] * len(Y) for k in "ab"}),
        ["MultiLabelBinarizer"],
    ),
    "times": (
        lambda Y: pd.DataFrame({k: pd.date_range("2020", periods=len(Y)) for k in "ab"}),
        CLASSES,
    ),
    "text": (lambda Y: np.array(["no", "yes"])[Y], ["MultiLabelBinarizer"]),
    "strings of numbers": (lambda Y: Y.astype(str), ["'1'", "astype(int)"]),
    "bytes of numbers": (lambda Y: Y.astype("S1"), ["b'1'", "astype(int)"]),
    "strings in objects": (lambda Y: Y.astype(str).astype(object), ["'1'", "astype(int)"]),
    "sets": (lambda Y: [set(np.flatnonzero(row)) for row in Y], ["MultiLabelBinarizer"]),
    "lists": (lambda Y: [list(np.flatnonzero(row)) for row in Y], ["MultiLabelBinarizer"]),
    "tuples": (lambda Y: [("a", "b") for _ in Y], ["MultiLabelBinarizer"]),
    "series of sets": (lambda Y: pd.Series([{1} for _ in Y]), ["MultiLabelBinarizer"]),
    "three axes": (lambda Y: Y[:, :, None], ["shape"]),
    "no label": (lambda Y: Y[:, :0], ["shape"]),
    "short": (lambda Y: Y[:-1], ["inconsistent numbers of samples"]),
    "none": (lambda Y: None, ["requires y to be passed"]),
    "complex": (lambda Y: Y + 0j, ["Complex data not supported"]),
    "nan in a vector": (lambda Y: np.where(Y[:, 0], np.nan, 0.0), ["contains NaN"]),
    "one class in a vector": (lambda Y: np.ones(len(Y)), ["one class"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_indicator_is_refused(kind):
    X, Y = labels()
    make, words = REFUSED[kind]
    model = MultiLabel()
    with pytest.raises(ValueError) as error:
        model.fit(X, make(Y))
    assert all(word in str(error.value) for word in words)
    assert not any(name.endswith("_") for name in vars(model))


def test_lying_indices_are_refused():
    X, Y = labels()
    for name in ("y", "label_mask"):
        lying = sp.csr_array(Y)
        lying.indices = lying.indices.copy()
        lying.indices[3] = 1_000_000
        arguments = {"y": Y, "label_mask": None} | {name: lying}
        with pytest.raises(ValueError, match=f"{name} is a csr array .* do not fit"):
            MultiLabel().fit(X, **arguments)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (lambda Y: np.ones((len(Y), 2)), "label_mask has shape"),
        (lambda Y: np.full(Y.shape, 2), "must hold True"),
        (lambda Y: np.full(Y.shape, np.nan), "must hold True"),
        (lambda Y: np.full(Y.shape, "x"), "must hold True"),
        (lambda Y: np.arange(3) != 1 * np.ones((len(Y), 1)), "Label 1 has no known cell"),
    ],
)
def test_masks_are_checked(mask, words):
    with pytest.raises(ValueError, match=words):
        fit(labels()[1], label_mask=mask(labels()[1]))


def test_a_label_without_a_known_cell_is_named():
    X, Y = labels()
    gaps = np.where([False, True, False], np.nan, Y)
    with pytest.raises(ValueError, match="Label 'dog' has no known cell"):
        fit(pd.DataFrame(gaps, columns=NAMES))
    # known, but in no row that has a weight
    gaps = Y.astype(float)
    gaps[5:, 2] = np.nan
    with pytest.raises(ValueError, match="Label 2 has no known cell"):
        fit(gaps, sample_weight=np.r_[np.zeros(5), np.ones(len(X) - 5)])
