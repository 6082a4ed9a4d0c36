"""Promise 16: labels are anything that `LogisticRegression` takes."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.exceptions import DataConversionWarning
from sklearn.linear_model import LogisticRegression

from skorch_logreg import TorchLogisticClassifier
from tests.problems import load

LABELS = {
    "str": np.array(["b", "a", "c"]),
    "str of uneven length": np.array(["yes", "no", "perhaps"]),
    "not ASCII": np.array(["ü", "é", "a"]),
    "capitals": np.array(["a", "B", "C"]),
    "empty string": np.array(["", "x", " "]),
    "object str": np.array(["b", "a", "c"], dtype=object),
    "int8": np.array([7, -3, 5], dtype=np.int8),
    "uint8": np.array([255, 0, 7], dtype=np.uint8),
    "int64 large": np.array([2**62, -(2**62), 0]),
    "uint64 large": np.array([2**64 - 1, 2**63, 0], dtype=np.uint64),
    "negative": np.array([1, -1, 0]),
    "float": np.array([2.0, 7.0, -1.0]),
    "float32": np.array([2, 7, -1], dtype=np.float32),
    "big endian": np.array([2, 7, -1], dtype=">i8"),
}
TWO = {"bool": np.array([True, False])}


def containers(y):
    yield y
    yield pd.Series(y, index=range(3, 3 + len(y)))
    # Python integers that no signed type holds become objects in NumPy
    if y.dtype != np.uint64:
        yield y.tolist()
        yield tuple(y.tolist())


def same_as_scikit_learn(X, y, positions):
    """classes_, its order and dtype, and what predict gives, against LogisticRegression."""
    model = TorchLogisticClassifier(tol=1e-8).fit(X, y)
    theirs = LogisticRegression(solver="newton-cholesky", tol=1e-10).fit(X, y)
    assert type(model.classes_) is type(theirs.classes_)
    assert model.classes_.dtype == theirs.classes_.dtype
    np.testing.assert_array_equal(model.classes_, theirs.classes_)
    predicted, expected = model.predict(X), theirs.predict(X)
    assert predicted.dtype == expected.dtype
    np.testing.assert_array_equal(predicted, expected)
    assert [type(v) for v in predicted[:9]] == [type(v) for v in expected[:9]]
    assert model.score(X, y) == theirs.score(X, y)
    np.testing.assert_allclose(model.coef_, theirs.coef_, atol=1e-6)
    # the columns belong to the sorted labels
    p = model.predict_proba(X)
    assert np.mean(p.argmax(axis=1) == positions) > 0.6


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("kind", [*LABELS, *TWO])
def test_16_labels(kind, n_classes):
    if kind in TWO and n_classes == 3:
        n_classes = 2
    case = load({2: "binary", 3: "three_classes"}[n_classes])
    labels = (LABELS | TWO)[kind][:n_classes]
    y = labels[case.y]
    positions = np.unique(y, return_inverse=True)[1]
    for made in containers(y):
        same_as_scikit_learn(case.X, made, positions)


@pytest.mark.parametrize("values", [[3, 1], [True, False], ["a", 1], [b"a", b"b"], [(1,), (2,)]])
def test_16_objects_that_scikit_learn_refuses(values):
    """Not a label type to it: the same error."""
    case = load("binary")
    labels = np.empty(2, dtype=object)
    labels[:] = values
    with pytest.raises((ValueError, TypeError)) as theirs:
        LogisticRegression().fit(case.X, labels[case.y])
    with pytest.raises(type(theirs.value)) as ours:
        TorchLogisticClassifier().fit(case.X, labels[case.y])
    assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize(
    "made",
    [
        lambda y: pd.Series(y).astype("category"),
        lambda y: pd.Categorical(y, categories=["z", "b", "a"]),
        lambda y: pd.Series(y, dtype="string"),
        lambda y: pd.Series(y, dtype=object),
        lambda y: pl.Series(y.tolist()),
        lambda y: pl.Series(y.tolist(), dtype=pl.Categorical),
        lambda y: pa.array(y.tolist()),
        lambda y: pa.chunked_array([y[:9].tolist(), y[9:].tolist()]),
    ],
    ids=["category", "Categorical", "string", "object", "polars", "polars categorical",
         "pyarrow", "pyarrow chunks"],
)  # fmt: skip
def test_16_labels_of_data_frames(made):
    case = load("binary")
    y = np.array(["b", "a"])[case.y]
    same_as_scikit_learn(case.X, made(y), (y == "b").astype(int))


@pytest.mark.parametrize("dtype", ["Int64", "boolean", "Float64"])
def test_16_nullable_labels(dtype):
    case = load("binary")
    same_as_scikit_learn(case.X, pd.Series(case.y).astype(dtype), case.y)


def test_16_a_column_is_ravelled_with_scikit_learns_warning():
    case = load("binary")
    with pytest.warns(DataConversionWarning, match="A column-vector y was passed") as caught:
        model = TorchLogisticClassifier().fit(case.X, case.y[:, None])
    assert len(caught) == 1
    assert model.predict(case.X).shape == case.y.shape


def test_16_many_classes_for_few_rows_warn_as_scikit_learn_does():
    case = load("binary")
    y = np.array([f"{k:02}" for k in range(20)] + ["00", "01"] * 5)
    text = "The number of unique classes is greater than 50% of the number of samples"
    with pytest.warns(UserWarning, match=text) as caught:
        model = TorchLogisticClassifier().fit(case.X[:30], y)
    assert len(caught) == 1
    assert list(model.classes_) == sorted(set(y))


def test_16_class_weights_by_label():
    case = load("three_classes")
    y = np.array(["x", "y", "z"])[case.y]
    by_label = TorchLogisticClassifier(class_weight={"y": 3.0, "z": 0.5}).fit(case.X, y)
    by_number = TorchLogisticClassifier(class_weight={1: 3.0, 2: 0.5}).fit(case.X, case.y)
    np.testing.assert_array_equal(by_label.coef_, by_number.coef_)
